"""What a tune is asked to do: the settings of ``steelyard tune``, of a recipe, and of :func:`steelyard.tune`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steelyard.errors import UsageError
from steelyard.parts import nearest
from steelyard.tuning.strategies import Strategy

By = Literal["latency", "memory", "operations"]
DEFAULT_SEARCH: Strategy = "ucb-e"


class TuneOptions(TypedDict, total=False):
    """The keyword settings of :func:`steelyard.tune`; :class:`TuneSettings` says what each means."""

    styles: Sequence[str] | None
    shots: Sequence[int] | None
    weights: Sequence[Any]
    docs: str | Path | None
    index: str | Path | None
    ground: Sequence[Any] | None
    limits: Sequence[str] | Mapping[str, str]
    calibration: str | Path | None
    metric: str | None
    by: str
    tolerance: float
    target: float | None
    search: str
    exhaustive: bool
    seed: int
    timing_samples: int
    memory: str | int | None


class TuneSettings(BaseModel):
    """Settings of a tune.

    ``styles`` x ``shots`` are the prompts: plain and chat, with 0 and 3 examples, unless given (texts, which are
    scored as they stand, have one), ``weights`` the weight parts (``"none"``, ``"sleb:remove=3+int8"``
    or a list such as ``[{sleb: {remove: 3}}, {int8: {}}]``). With documents in ``docs`` or an ``index``,
    ``ground`` says how they are used: ``"none"``, ``"lexical"``, ``"hybrid:k=8+upr"`` or a ``ground`` section of a
    system file without its documents; by default none, lexical and hybrid. ``by`` says what cheapest means;
    ``tolerance`` how far below the best still is good enough, ``target`` which quality is, whatever the best
    reaches. ``search`` names how cells are spent (:mod:`steelyard.tuning.search`).
    ``memory`` is the most that weights and one forward pass may take while measuring (such as ``"900MB"``); unlike
    ``limits`` it rules nothing out, but a system that cannot keep it fails.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    styles: tuple[str, ...] | None = Field(None, min_length=1)
    shots: tuple[int, ...] | None = Field(None, min_length=1)
    weights: tuple[str | list[dict[str, Any]], ...] = Field(("none", "int8"), min_length=1)
    docs: Path | None = None
    index: Path | None = None
    ground: tuple[str | dict[str, Any], ...] | None = Field(None, min_length=1)
    limits: tuple[str, ...] | dict[str, str] = ()
    calibration: Path | None = None
    metric: str | None = None
    by: By = "latency"
    tolerance: float = Field(0.02, ge=0)
    target: float | None = None
    search: Strategy = DEFAULT_SEARCH
    exhaustive: bool = False
    seed: int = 0
    timing_samples: int = Field(8, ge=1)
    memory: str | int | None = None

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> TuneSettings:
        """Check options; the first problem becomes a :class:`UsageError` that names it."""
        known = list(cls.model_fields)
        for name in options:
            if name not in known:
                raise UsageError(f"tune has no setting {name!r}{nearest(name, known)}")
        try:
            return cls(**options)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UsageError(f"tune setting {place}: {first['msg']}, not {first['input']!r}") from error

    def plan(self, task_fingerprint: str, models: Sequence[str]) -> str:
        """Identifies what is to be done: an unfinished run of the same plan is continued, with any memory."""
        documents = {name for name in ("docs", "index", "ground") if getattr(self, name) is None}
        settings = self.model_dump(mode="json", exclude={"memory", *documents})
        record = {"task": task_fingerprint, "models": list(models), **settings}
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
