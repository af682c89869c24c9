"""The arrays of a segment: of new passages, and of several segments merged."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.contracts import Hit
from steelyard.retrieval.index.analysis import Analyzer
from steelyard.retrieval.index.columns import Arrays, Strings
from steelyard.retrieval.index.metadata import metadata_arrays, raw_pairs
from steelyard.retrieval.index.postings import Occurrences, invert
from steelyard.retrieval.index.segment import Segment, id_arrays
from steelyard.retrieval.index.vectors import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Living(NamedTuple):
    """A segment, and which of its passages and sources have not been deleted."""

    segment: Segment
    passages: NDArray[np.bool_]
    sources: NDArray[np.bool_]


def arrays_of(
    passages: Sequence[Hit], digests: Mapping[str, str], analyzer: Analyzer, vectors: Vectors | None
) -> Arrays:
    """The arrays of a segment of new passages.

    Args:
        passages: with distinct ids.
        digests: every document's digest by its name; a document may have no passages.
        analyzer: makes terms of their texts.
        vectors: one a passage, or None.
    """
    sources = list(dict.fromkeys([*digests, *(passage.source for passage in passages)]))
    number = {source: i for i, source in enumerate(sources)}
    return {
        **id_arrays([passage.id for passage in passages]),
        **Strings.of([passage.text for passage in passages]).arrays("texts"),
        **Strings.of(sources).arrays("sources"),
        **Strings.of([digests.get(source, "") for source in sources]).arrays("digests"),
        "source_of": np.array([number[passage.source] for passage in passages], dtype=np.int32),
        "spans": np.array([(p.start, p.end) for p in passages], dtype=np.int64).reshape(-1, 2),
        **metadata_arrays(raw_pairs(passage.metadata) for passage in passages),
        **_inverted([passage.text for passage in passages], analyzer),
        **(vectors.arrays() if vectors is not None else {}),
    }


def _inverted(texts: Sequence[str], analyzer: Analyzer) -> Arrays:
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    flat = array("i")
    lengths = np.zeros(len(texts), dtype=np.int32)
    for row, text in enumerate(texts):
        terms = analyzer.terms(text)
        lengths[row] = len(terms)
        flat.extend(map(numbers.__getitem__, terms))
    rows = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    begins = np.cumsum(lengths) - lengths
    positions = np.arange(len(flat), dtype=np.int32) - np.repeat(begins, lengths).astype(np.int32)
    occurrences = Occurrences(
        np.frombuffer(flat, dtype=np.int32) if flat else np.zeros(0, np.int32), rows, positions
    )
    return invert(occurrences, [term.encode("utf-8") for term in numbers], lengths)


def merged_arrays(parts: Sequence[Living]) -> Arrays:
    """The arrays of a segment that holds what is alive in several, in their order."""
    kept = [np.flatnonzero(part.passages) for part in parts]
    sources: dict[str, str] = {}
    place: dict[str, int] = {}
    renumbered = []
    for part in parts:
        numbers = np.full(len(part.sources), -1, dtype=np.int32)
        for i in np.flatnonzero(part.sources).tolist():
            name = part.segment.sources[i]
            sources[name] = part.segment.digests[i] or sources.get(name, "")
            numbers[i] = place.setdefault(name, len(place))
        renumbered.append(numbers)
    return {
        **id_arrays([p.segment.ids[row] for p, rows in zip(parts, kept, strict=True) for row in rows.tolist()]),
        **Strings.of(
            [p.segment.texts.raw(row) for p, rows in zip(parts, kept, strict=True) for row in rows.tolist()]
        ).arrays("texts"),
        **Strings.of(sources).arrays("sources"),
        **Strings.of(sources.values()).arrays("digests"),
        "source_of": np.concatenate(
            [n[p.segment.source_of[rows]] for p, rows, n in zip(parts, kept, renumbered, strict=True)]
        ),
        "spans": np.concatenate([p.segment.spans[rows] for p, rows in zip(parts, kept, strict=True)]),
        **metadata_arrays(
            p.segment.metadata.raw(row) for p, rows in zip(parts, kept, strict=True) for row in rows.tolist()
        ),
        **_merged_postings(parts, kept),
        **_merged_vectors(parts, kept),
    }


def _merged_postings(parts: Sequence[Living], kept: Sequence[NDArray[Any]]) -> Arrays:
    numbers: dict[bytes, int] = {}
    terms, rows, positions = [], [], []
    base = 0
    for part, alive in zip(parts, kept, strict=True):
        postings = part.segment.postings
        renumbered = np.array(
            [numbers.setdefault(postings.terms.raw(i), len(numbers)) for i in range(len(postings.terms))],
            dtype=np.int32,
        )
        moved = np.full(len(part.passages), -1, dtype=np.int32)
        moved[alive] = np.arange(base, base + len(alive), dtype=np.int32)
        base += len(alive)
        all_of = postings.occurrences()
        new_rows = moved[all_of.rows]
        chosen = new_rows >= 0
        terms.append(renumbered[all_of.terms[chosen]])
        rows.append(new_rows[chosen])
        positions.append(all_of.positions[chosen])
    lengths = [p.segment.postings.lengths[alive] for p, alive in zip(parts, kept, strict=True)]
    occurrences = Occurrences(np.concatenate(terms), np.concatenate(rows), np.concatenate(positions))
    return invert(occurrences, list(numbers), np.concatenate(lengths))


def _merged_vectors(parts: Sequence[Living], kept: Sequence[NDArray[Any]]) -> Arrays:
    found = [
        part.segment.vectors.take(rows)
        for part, rows in zip(parts, kept, strict=True)
        if part.segment.vectors is not None
    ]
    if not found:
        return {}
    return Vectors.joined([vectors for vectors in found if len(vectors)] or found[:1]).arrays()
