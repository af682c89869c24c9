"""Unit vectors of passages: three ways to keep them, exact search, and a graph where there are many."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import UsageError
from steelyard.retrieval.index.bm25 import Scored, top
from steelyard.retrieval.index.columns import Arrays
from steelyard.retrieval.index.settings import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 8192
"""Rows multiplied at once: small enough for the cache, large enough for the matrix product."""
OVERSAMPLED: Mapping[Storage, int] = {"float32": 2, "int8": 4, "binary": 16}
"""Candidates that a graph is asked for, per result: the coarser its distances, the more."""
FEW = 0.1
"""With a smaller share of allowed rows the graph leads nowhere, and these rows are compared one by one."""


class Vectors:
    """Unit vectors of one segment.

    ``float32`` keeps them as they are. ``int8`` keeps round(127 v / max |v|) and the scale max |v| / 127 of each
    vector: a quarter of the space. ``binary`` keeps the sign of every component, a 32nd, and takes
    sign(v) / sqrt(d) for the vector. Queries are never quantized.
    """

    def __init__(self, storage: Storage, width: int, codes: NDArray[Any], scales: NDArray[np.float32]) -> None:
        self.storage: Storage = storage
        self.width = width
        self.codes = codes
        self.scales = scales

    @classmethod
    def of(cls, vectors: NDArray[np.float32], storage: Storage) -> Vectors:
        """Encode float32 (n, d) unit vectors."""
        none = np.zeros(0, np.float32)
        if storage == "float32":
            return cls(storage, vectors.shape[1], np.ascontiguousarray(vectors, dtype=np.float32), none)
        if storage == "binary":
            return cls(storage, vectors.shape[1], np.packbits(vectors > 0, axis=1), none)
        scales = (np.abs(vectors).max(axis=1, initial=0.0) / 127.0).astype(np.float32)
        safe = np.where(scales > 0, scales, 1.0)
        return cls(storage, vectors.shape[1], np.rint(vectors / safe[:, None]).astype(np.int8), scales)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], storage: Storage, width: int) -> Vectors:
        """The vectors kept by :meth:`arrays`."""
        return cls(storage, width, arrays["vectors.codes"], arrays["vectors.scales"])

    def arrays(self) -> Arrays:
        """What is written into a segment."""
        return {"vectors.codes": self.codes, "vectors.scales": self.scales}

    def __len__(self) -> int:
        return len(self.codes)

    def decoded(self, rows: NDArray[Any] | slice) -> NDArray[np.float32]:
        """Some vectors as float32 (m, d)."""
        codes = self.codes[rows]
        if self.storage == "float32":
            return np.asarray(codes, dtype=np.float32)
        if self.storage == "int8":
            return codes.astype(np.float32) * self.scales[rows][:, None]
        signs = np.unpackbits(codes, axis=1, count=self.width).astype(np.float32)
        return np.asarray((signs * 2.0 - 1.0) / np.sqrt(self.width), dtype=np.float32)

    def take(self, rows: NDArray[Any]) -> Vectors:
        """These rows, as they are kept."""
        scales = self.scales[rows] if len(self.scales) else self.scales
        return Vectors(self.storage, self.width, self.codes[rows], scales)

    @staticmethod
    def joined(parts: list[Vectors]) -> Vectors:
        """Several sets kept in one way, end to end."""
        first = parts[0]
        codes = np.concatenate([part.codes for part in parts])
        return Vectors(first.storage, first.width, codes, np.concatenate([part.scales for part in parts]))


def exact_search(
    vectors: Vectors, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
) -> list[Scored]:
    """The ``k`` rows of highest inner product with each query among the ``allowed``; queries float32 (m, d)."""
    rows = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    best_scores = np.zeros((len(queries), 0), dtype=np.float32)
    best_rows = np.zeros((len(queries), 0), dtype=np.int64)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        part: Any = slice(start, start + BLOCK) if allowed is None else block
        scores = np.concatenate((best_scores, queries @ vectors.decoded(part).T), axis=1)
        numbers = np.concatenate((best_rows, np.broadcast_to(block, (len(queries), len(block)))), axis=1)
        if scores.shape[1] > k:
            keep = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
            scores, numbers = np.take_along_axis(scores, keep, 1), np.take_along_axis(numbers, keep, 1)
        best_scores, best_rows = scores, numbers
    return [top(r, s, k) for r, s in zip(best_rows, best_scores, strict=True)]


class Graph:
    """An HNSW graph over one segment's vectors (usearch), memory-mapped; candidates are scored anew and exactly.

    Source: "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World
        graphs" (Malkov and Yashunin).
    """

    def __init__(self, index: Any, vectors: Vectors) -> None:
        self._index = index
        self._vectors = vectors

    @staticmethod
    def write(vectors: Vectors, file: Path) -> None:
        """Build the graph of ``vectors`` and save it."""
        index = _usearch(vectors)
        index.add(np.arange(len(vectors), dtype=np.uint64), np.asarray(vectors.codes))
        index.save(str(file))

    @classmethod
    def open(cls, file: Path, vectors: Vectors) -> Graph:
        """The graph saved in ``file``; it stays readable when the file is deleted."""
        index = _usearch(vectors)
        index.view(str(file))
        return cls(index, vectors)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> list[Scored]:
        """As :func:`exact_search`, but a few of the best may be missed.

        The graph knows nothing of ``allowed``: more candidates are asked for until ``k`` allowed ones are among
        them; where few rows are allowed, these are searched exactly instead.
        """
        if allowed is not None and np.count_nonzero(allowed) <= FEW * len(allowed):
            return exact_search(self._vectors, queries, k, allowed)
        asked = Vectors.of(queries, self._vectors.storage).codes
        return [self._one(query, code, k, allowed) for query, code in zip(queries, asked, strict=True)]

    def _one(
        self, query: NDArray[np.float32], code: NDArray[Any], k: int, allowed: NDArray[np.bool_] | None
    ) -> Scored:
        wanted = max(OVERSAMPLED[self._vectors.storage] * k, 64)
        while True:
            rows = np.asarray(self._index.search(code, min(wanted, len(self._vectors))).keys).astype(np.int64)
            kept = rows if allowed is None else rows[allowed[rows]]
            if len(kept) >= k or wanted >= len(self._vectors):
                kept = np.sort(kept)
                return top(kept, self._vectors.decoded(kept) @ query, k)
            wanted *= 4


def _usearch(vectors: Vectors) -> Any:
    try:
        from usearch.index import Index
    except ModuleNotFoundError as error:
        raise UsageError(
            "approximate search needs the package 'usearch': pip install 'steelyard[retrieval]', or make the "
            "index with a larger approximate_from"
        ) from error
    metric = "hamming" if vectors.storage == "binary" else "cos"
    kind = {"float32": "f32", "int8": "i8", "binary": "b1"}[vectors.storage]
    return Index(
        ndim=vectors.width, metric=metric, dtype=kind, connectivity=16, expansion_add=128, expansion_search=64
    )
