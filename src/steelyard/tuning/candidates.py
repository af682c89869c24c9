"""Candidates: models x weight parts x groundings x prompt styles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, TypeVar

from steelyard import parts
from steelyard.contracts import PromptStyle
from steelyard.errors import UsageError
from steelyard.evaluation.prompting import check_style
from steelyard.systems.ground_section import GroundSection
from steelyard.tuning.groundings import grounding_label

T = TypeVar("T")
WeightParts = tuple[Mapping[str, Mapping[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """Weights to weigh: a model and the parts applied to it, in order.

    ``detailed`` puts every setting into the label; otherwise each part shows its first.
    """

    model: str
    weights: WeightParts = ()
    detailed: bool = False

    @property
    def key(self) -> str:
        """Canonical text: equal for equal variants."""
        return json.dumps([self.model, self.weights], sort_keys=True, default=str)

    @property
    def label(self) -> str:
        """``"smollm2-135m, sleb remove=3, int8"``."""
        name = PurePath(self.model).name if "://" not in self.model else self.model
        most = None if self.detailed else 1
        words = [_word(part, settings, most) for entry in self.weights for part, settings in entry.items()]
        return ", ".join([name, *words])


@dataclass(frozen=True, slots=True)
class Candidate:
    """One system to weigh."""

    id: str
    variant: Variant
    style: PromptStyle
    ground: GroundSection | None = None

    @property
    def label(self) -> str:
        """What the report calls it."""
        shots = f", {self.style.shots} shot{'s' if self.style.shots != 1 else ''}" if self.style.shots else ""
        documents = f", {grounding_label(self.ground)}" if self.ground is not None else ""
        return f"{self.variant.label}, {self.style.style}{shots}{documents}"


def grid(
    models: Sequence[str],
    weights: Sequence[WeightParts],
    styles: Sequence[PromptStyle],
    grounds: Sequence[GroundSection | None] = (None,),
) -> list[Candidate]:
    """Every combination, in a fixed order; the first is the reference that speed ratios are taken against."""
    if not models:
        raise UsageError("no model to weigh: give at least one --model")
    variants = [Variant(model, parts) for model in dict.fromkeys(models) for parts in _distinct(weights or [()])]
    labels = [variant.label for variant in variants]
    variants = [replace(v, detailed=labels.count(v.label) > 1) for v in variants]
    combinations = [
        (variant, style, ground)
        for variant in variants
        for ground in _distinct(grounds)
        for style in dict.fromkeys(styles or [PromptStyle()])
    ]
    width = len(str(len(combinations)))
    return [
        Candidate(f"c{number:0{max(2, width)}d}", variant, style, ground)
        for number, (variant, style, ground) in enumerate(combinations, 1)
    ]


def parse_weights(text: str) -> WeightParts:
    """Read ``"none"``, ``"int8"`` or ``"sleb:remove=3+int8"``; names and settings are checked.

    >>> parse_weights("sleb:remove=3+int8")
    ({'sleb': {'remove': 3}}, {'int8': {}})
    """
    if text.strip() == "none":
        return ()
    entries = []
    for piece in text.split("+"):
        name, settings = parts.parse_use(piece)
        entries.append({parts.find(name, "compressor").name: settings})
    return checked_weights(entries)


def checked_weights(entries: Sequence[Mapping[str, Any]]) -> WeightParts:
    """Check the ``weights`` list of a recipe or system file and convert its settings."""
    checked = []
    for entry in entries:
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise UsageError(
                f"weights: {entry!r} is not one part with its settings, such as {{sleb: {{remove: 3}}}}"
            )
        ((name, settings),) = entry.items()
        info = parts.find(name, "compressor")
        checked.append({info.name: parts.validate(info.name, settings or {})})
    return tuple(checked)


def styles_of(styles: Sequence[str], shots: Sequence[int], seed: int) -> list[PromptStyle]:
    """Prompt styles from the words and numbers of a command line."""
    for style in styles:
        for count in shots:
            check_style(style, count)
    return [PromptStyle(style=style, shots=count, seed=seed) for style in styles for count in shots]  # type: ignore[arg-type]


def _distinct(entries: Sequence[T]) -> list[T]:
    found: list[T] = []
    for entry in entries:
        if entry not in found:
            found.append(entry)
    return found


def _word(part: str, settings: Mapping[str, Any], most: int | None) -> str:
    return " ".join([part, *[f"{name}={value}" for name, value in settings.items()][:most]])
