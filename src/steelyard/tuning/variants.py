"""Weights ready to be weighed: loaded once, parts applied, kept in memory while there is room."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence

from steelyard.compression.apply import apply_parts
from steelyard.contracts import LanguageModel, Progress
from steelyard.systems.loading import limited, load
from steelyard.tuning.candidates import Variant


class Variants:
    """Loads variants on demand and forgets the least recently used.

    With ``memory`` the forward passes of each are planned to stay within so many bytes, weights included, and
    no more variants are kept than fit; without, they may fill half of the machine's memory.
    """

    def __init__(
        self, calibration: Sequence[str], *, memory: int | None = None, progress: Progress | None = None
    ) -> None:
        self._calibration = calibration
        self._memory = memory
        self._progress = progress
        self._loaded: OrderedDict[str, LanguageModel] = OrderedDict()
        self._planned: dict[str, LanguageModel] = {}

    def get(self, variant: Variant) -> LanguageModel:
        """The model of ``variant``; data-dependent parts are applied once and cached on disk."""
        model = self._unplanned(variant)
        if self._memory is None or "weights" not in model.card.capabilities:
            return model
        if variant.key not in self._planned:
            self._planned[variant.key] = limited(model, self._memory)
        return self._planned[variant.key]

    def _unplanned(self, variant: Variant) -> LanguageModel:
        if variant.key in self._loaded:
            self._loaded.move_to_end(variant.key)
            return self._loaded[variant.key]
        if self._progress is not None:
            self._progress.note(f"preparing {variant.label}")
        model = self._unplanned(Variant(variant.model)) if variant.weights else load(variant.model)
        if variant.weights:
            model = apply_parts(model, variant.weights, self._calibration)
        self._loaded[variant.key] = model
        self._forget()
        return model

    def _forget(self) -> None:
        budget = self._memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        while len(self._loaded) > 1 and self._bytes() > budget:
            forgotten, _ = self._loaded.popitem(last=False)
            self._planned.pop(forgotten, None)

    def _bytes(self) -> int:
        return sum(model.card.memory_bytes or 0 for model in self._loaded.values())
