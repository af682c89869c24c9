"""One generation of an index, open for reading: what was committed then, whatever is written since."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.contracts import Hit
from steelyard.errors import UsageError
from steelyard.retrieval.index.analysis import Query
from steelyard.retrieval.index.bm25 import Scored, WeightedTerm, best_rows, idf, norms
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.impacts import Impacts
from steelyard.retrieval.index.manifest import Manifest, read_manifest
from steelyard.retrieval.index.metadata import allowed_rows
from steelyard.retrieval.index.postings import rows_with_phrase
from steelyard.retrieval.index.searching import Found
from steelyard.retrieval.index.segment import Segment, open_segment
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.index.vectors import exact_search
from steelyard.retrieval.index.writer import read_alive

if TYPE_CHECKING:
    from numpy.typing import NDArray

ATTEMPTS = 50
"""So often a manifest is read anew when its files are merged away in the moment of opening them."""
FORMULAS = 2
"""Impacts of so many choices of k1 and b are kept."""


class Part(NamedTuple):
    """One segment of a snapshot; ``alive`` is None where nothing of it was deleted."""

    name: str
    tombstones: str
    segment: Segment
    alive: NDArray[np.bool_] | None


class Snapshot:
    """All segments of one generation; results are those of one list of all living passages."""

    def __init__(self, manifest: Manifest, parts: Sequence[Part]) -> None:
        self.manifest = manifest
        self.parts = parts
        self._kept: dict[tuple[int, float, float], Impacts] = {}
        self._size: tuple[int, float] | None = None

    @property
    def settings(self) -> IndexSettings:
        """What the index was made with."""
        return self.manifest.settings

    @property
    def version(self) -> Manifest:
        """The manifest: segments have names of their own."""
        return self.manifest

    @property
    def passages(self) -> int:
        """Living passages."""
        return sum(entry.alive for entry in self.manifest.segments)

    def size(self) -> tuple[int, float]:
        """Number of living passages and their mean number of terms."""
        if self._size is None:
            terms = 0
            for part in self.parts:
                lengths = part.segment.postings.lengths
                terms += int(lengths.sum(dtype=np.int64) if part.alive is None else lengths[part.alive].sum())
            self._size = self.passages, terms / max(self.passages, 1)
        return self._size

    def hits(self, found: Sequence[Found]) -> list[Hit]:
        """The passages found, with their texts."""
        return [self.parts[f.segment].segment.hit(f.row, f.score) for f in found]

    def living(self) -> Iterator[Hit]:
        """Every living passage, segment by segment."""
        for part in self.parts:
            for row in range(len(part.segment)):
                if part.alive is None or part.alive[row]:
                    yield part.segment.hit(row, 0.0)

    def allowed(self, where: Filter | None) -> list[NDArray[np.bool_] | None]:
        """For each segment the rows that may be returned, None for all."""
        if where is None:
            return [part.alive for part in self.parts]
        masks: list[NDArray[np.bool_] | None] = []
        for part in self.parts:
            segment = part.segment
            mask = allowed_rows(where, segment.metadata, segment.sources, segment.source_of)
            masks.append(mask if part.alive is None else mask & part.alive)
        return masks

    def lexical(
        self, query: Query, k: int, k1: float, b: float, allowed: Sequence[NDArray[np.bool_] | None]
    ) -> list[Found]:
        """The ``k`` best by BM25; phrases must occur, their words count like others.

        Numbers of passages and mean lengths are those of all living passages, so scores do not depend on how
        passages are divided into segments, nor on what was deleted before.
        """
        total, average = self.size()
        counted = Counter(query.terms)
        numbers = {term: [part.segment.postings.number(term) for part in self.parts] for term in counted}
        weights = {
            term: idf(total, sum(self._holding(i, number) for i, number in enumerate(places))) * counted[term]
            for term, places in numbers.items()
        }
        best: list[Found] = []
        for i, part in enumerate(self.parts):
            impacts = self._impacts(i, average, k1, b)
            terms = [
                WeightedTerm(impacts.of(places[i]), weights[term])
                for term, places in numbers.items()
                if places[i] >= 0
            ]
            if terms:
                mask = allowed[i]
                for phrase in query.phrases:
                    mask = _only(rows_with_phrase(part.segment.postings, phrase), len(part.segment), mask)
                floor = best[k - 1].score if len(best) >= k else 0.0
                best = _joined(best, i, best_rows(terms, impacts.norm, k, floor, mask), k)
        return best

    def _holding(self, number: int, term: int) -> int:
        """How many living passages of one segment hold a term."""
        if term < 0:
            return 0
        part = self.parts[number]
        postings = part.segment.postings
        if part.alive is None:
            return postings.holding(term)
        return int(np.count_nonzero(part.alive[postings.of(term).rows]))

    def _impacts(self, number: int, average: float, k1: float, b: float) -> Impacts:
        key = (number, k1, b)
        if key not in self._kept:
            if len(self._kept) >= FORMULAS * len(self.parts):
                self._kept.clear()
            postings = self.parts[number].segment.postings
            self._kept[key] = Impacts(postings, norms(postings.lengths, average, k1, b))
        return self._kept[key]

    def dense(
        self, queries: NDArray[np.float32], k: int, allowed: Sequence[NDArray[np.bool_] | None]
    ) -> list[list[Found]]:
        """The ``k`` best of each query vector by inner product: float32 (m, d)."""
        best: list[list[Found]] = [[] for _ in queries]
        for i, part in enumerate(self.parts):
            vectors = part.segment.vectors
            if vectors is None:
                raise UsageError("this index holds no vectors; make one with an embedder, or search it by words")
            if not len(vectors):
                continue
            if part.segment.graph is not None:
                scored = part.segment.graph.search(queries, k, allowed[i])
            else:
                scored = exact_search(vectors, queries, k, allowed[i])
            best = [_joined(b, i, s, k) for b, s in zip(best, scored, strict=True)]
        return best


def _only(rows: NDArray[np.int32], size: int, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    found = np.zeros(size, dtype=bool)
    found[rows] = True
    return found if mask is None else found & mask


def _joined(best: list[Found], number: int, scored: Scored, k: int) -> list[Found]:
    more = [Found(number, int(r), float(s)) for r, s in zip(scored.rows, scored.scores, strict=True)]
    return sorted([*best, *more], key=lambda found: -found.score)[:k] if best else more


def open_snapshot(folder: Path, before: Snapshot | None = None) -> Snapshot:
    """The newest generation of the index in ``folder``; segments that ``before`` has open are taken from it.

    Raises:
        InputError: No index there, or a damaged one.
    """
    open_parts = {part.name: part for part in before.parts} if before is not None else {}
    for attempt in range(ATTEMPTS):
        manifest = read_manifest(folder)
        if before is not None and manifest == before.manifest:
            return before
        try:
            parts = []
            for entry in manifest.segments:
                known = open_parts.get(entry.name)
                segment = known.segment if known else open_segment(folder, entry, manifest.settings)
                alive = read_alive(folder, entry)[: entry.passages] if entry.tombstones else None
                parts.append(Part(entry.name, entry.tombstones, segment, alive))
            return Snapshot(manifest, parts)
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.01 * attempt)
    raise AssertionError("unreachable")
