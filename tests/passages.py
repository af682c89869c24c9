"""Retrievers in memory: passages in, hits out; for tests of everything that reads from a retriever."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from steelyard.contracts import Hit
from steelyard.retrieval.content_fingerprint import passages_fingerprint

CORPUS = [
    Hit("fox", 0.0, "The quick brown fox jumps over the lazy dog."),
    Hit("jugs", 0.0, "Pack my box with five dozen liquor jugs, said the old man of the sea."),
    Hit("france", 0.0, "The capital of France is Paris, and it lies on the Seine."),
]


class Passages:
    """Passages by id; ``add`` and ``delete`` are the contract's. A child says how to search."""

    def __init__(self, passages: Sequence[Hit] = ()) -> None:
        self.passages = {hit.id: hit for hit in passages}
        self.queries: list[str] = []

    def add(self, documents: Sequence[Hit]) -> None:
        self.passages.update({hit.id: hit for hit in documents})

    def delete(self, ids: Sequence[str]) -> None:
        for name in ids:
            self.passages.pop(name, None)

    @property
    def fingerprint(self) -> str:
        return passages_fingerprint(list(self.passages.values()), {"by": type(self).__name__})


class NothingRetriever(Passages):
    """Finds nothing, ever."""

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        self.queries += queries
        return [[] for _ in queries]


class RandomRetriever(Passages):
    """Any passages; the same ones for the same query and ``seed``."""

    seed = 0

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        known = list(self.passages.values())
        return [random.Random(f"{self.seed} {query}").sample(known, min(k, len(known))) for query in queries]


class Bm25Retriever(Passages):
    """BM25 in Lucene's variant, by bm25s; passages without a word of the query are not found."""

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        import bm25s

        self.queries += queries
        known = list(self.passages.values())
        if not known:
            return [[] for _ in queries]
        key = self.fingerprint
        if getattr(self, "_key", None) != key:
            self._index = bm25s.BM25(method="lucene")
            self._index.index(
                bm25s.tokenize([hit.text for hit in known], show_progress=False), show_progress=False
            )
            self._key = key
        found = []
        for query in queries:
            words = bm25s.tokenize([query], show_progress=False, return_ids=False)
            if not words[0]:
                found.append([])
                continue
            places, scores = self._index.retrieve(words, k=min(k, len(known)), show_progress=False)
            pairs = zip(places[0], scores[0], strict=True)
            found.append([dataclasses.replace(known[p], score=float(s)) for p, s in pairs if s > 0])
        return found
