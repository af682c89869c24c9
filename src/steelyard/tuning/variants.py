"""Weights ready to be weighed: loaded once, parts applied, kept in memory while there is room."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence

from steelyard.compression.apply import apply_parts
from steelyard.contracts import LanguageModel, Progress
from steelyard.systems.loading import load
from steelyard.tuning.candidates import Variant


class Variants:
    """Loads variants on demand and forgets the least recently used beyond ``memory_budget`` bytes."""

    def __init__(
        self, calibration: Sequence[str], *, memory_budget: int | None = None, progress: Progress | None = None
    ) -> None:
        self._calibration = calibration
        self._budget = memory_budget
        self._progress = progress
        self._loaded: OrderedDict[str, LanguageModel] = OrderedDict()

    def get(self, variant: Variant) -> LanguageModel:
        """The model of ``variant``; data-dependent parts are applied once and cached on disk."""
        if variant.key in self._loaded:
            self._loaded.move_to_end(variant.key)
            return self._loaded[variant.key]
        if self._progress is not None:
            self._progress.note(f"preparing {variant.label}")
        model = self.get(Variant(variant.model)) if variant.weights else load(variant.model)
        if variant.weights:
            model = apply_parts(model, variant.weights, self._calibration)
        self._loaded[variant.key] = model
        self._forget()
        return model

    def _forget(self) -> None:
        budget = self._budget or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        while len(self._loaded) > 1 and self._bytes() > budget:
            self._loaded.popitem(last=False)

    def _bytes(self) -> int:
        return sum(model.card.memory_bytes or 0 for model in self._loaded.values())
