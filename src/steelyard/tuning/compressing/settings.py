"""What a compression is asked to do beside its parts: texts, and how it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from steelyard.errors import UsageError
from steelyard.parts import nearest
from steelyard.tuning.compressing.quality import ITEMS
from steelyard.tuning.compressing.texts import Source


class CompressOptions(TypedDict, total=False):
    """The keyword settings of :func:`steelyard.compress`; :class:`CompressSettings` says what each means."""

    calibration: Source | None
    held_out: Source | None
    quick: int
    max_loss: float | None
    force: bool
    check: bool


@dataclass(frozen=True, slots=True)
class CompressSettings:
    """Settings of a compression.

    Attributes:
        calibration: Texts, or where to read them, for the parts that need them.
        held_out: Texts, or where to read them, to measure on. They should not be the calibration texts, on which a
            calibrated part looks better than it is.
        quick: Items asked of every task of the quick suite (40 is nearly all of it, 0 leaves it out); the texts
            are always measured.
        max_loss: The most that may be lost, as a share: 0.02 is a rise of bits per byte by 2%, and a drop of
            accuracy by two points. The upper end of the paired 95% interval of both must stay within it.
        force: Save what is over the limit, with that in its record and its model card.
        check: Without it nothing is measured, which the record and the model card say.
    """

    calibration: Source | None = None
    held_out: Source | None = None
    quick: int = ITEMS
    max_loss: float | None = None
    force: bool = False
    check: bool = True

    def __post_init__(self) -> None:
        if self.max_loss is not None and not 0 <= self.max_loss < 1:
            raise UsageError(f"max_loss {self.max_loss:g} must be a share from 0 to below 1, such as 0.02 for 2%")
        if self.quick < 0:
            raise UsageError(f"quick {self.quick} must be 0 or more: items of every task of the quick suite")
        if not self.check and (self.max_loss is not None or self.held_out is not None):
            raise UsageError("max_loss and held_out texts are for the check, which is switched off; leave out one")

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> CompressSettings:
        """Check options; an unknown one is refused with the nearest real one."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise UsageError(f"compress has no setting {name!r}{nearest(name, known)}")
        return cls(**options)

    def words(self) -> list[str]:
        """The command line's options for all of this, as far as it differs from what is usual."""
        paths = (("--calibration", self.calibration), ("--held-out", self.held_out))
        words = [word for name, path in paths if isinstance(path, str | Path) for word in (name, str(path))]
        words += ["--quick", str(self.quick)] if self.quick != ITEMS else []
        words += ["--max-loss", str(self.max_loss)] if self.max_loss is not None else []
        return [*words, *(["--force"] if self.force else []), *([] if self.check else ["--no-check"])]
