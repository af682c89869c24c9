"""An embedder without a model: random vectors of words, summed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np


class WordEmbedder:
    """Unit vectors of width 16 in which texts that share words are near; counts how many texts it has seen."""

    def __init__(self, width: int = 16) -> None:
        self.width = width
        self.texts = 0

    def embed(self, texts: Sequence[str], role: str = "document") -> Any:
        self.texts += len(texts)
        vectors = np.stack([self._one(text) for text in texts]) if texts else np.zeros((0, self.width))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def _one(self, text: str) -> Any:
        seeds = [int.from_bytes(hashlib.sha256(w.encode()).digest()[:4], "little") for w in text.lower().split()]
        return sum((np.random.default_rng(s).normal(size=self.width) for s in seeds), np.full(self.width, 1e-3))
