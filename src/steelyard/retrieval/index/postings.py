"""Inverted lists: for every term the passages that hold it, how often, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.retrieval.index.columns import Arrays, Strings, smallest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Occurrences(NamedTuple):
    """Every occurrence of a term as three arrays of one length: term number, passage row, position.

    Occurrences of one term come by row, then position.
    """

    terms: NDArray[np.int32]
    rows: NDArray[np.int32]
    positions: NDArray[np.int32]


class TermPostings(NamedTuple):
    """One term's list: ``rows`` ascending, ``counts`` alike."""

    rows: NDArray[np.int32]
    counts: NDArray[Any]


class Postings:
    """The inverted lists of one segment.

    ``terms`` are sorted by their UTF-8 bytes; the list of term t is ``rows[starts[t]:starts[t + 1]]`` with
    ``counts`` alike, and its positions, passage by passage, begin at ``position_starts[t]``. ``lengths`` are the
    passages' numbers of terms.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.terms = Strings.from_arrays(arrays, "terms")
        self.starts = arrays["postings.starts"]
        self.rows = arrays["postings.rows"]
        self.counts = arrays["postings.counts"]
        self.positions = arrays["postings.positions"]
        self.position_starts = arrays["postings.position_starts"]
        self.lengths = arrays["lengths"]
        self._numbers: dict[str, int] = {}
        self._places = memoryview(self.starts)  # type: ignore[arg-type]  # several times as fast for one number

    def number(self, term: str) -> int:
        """The number of ``term``, or -1 where no passage holds it."""
        known = self._numbers.get(term)
        if known is None:
            known = self._numbers[term] = self.terms.find(term.encode("utf-8"))
            if len(self._numbers) > 100_000:
                self._numbers.clear()
        return known

    def holding(self, number: int) -> int:
        """How many passages hold term ``number``."""
        return int(self._places[number + 1] - self._places[number])

    def of(self, number: int) -> TermPostings:
        """The list of term ``number``."""
        part = slice(self._places[number], self._places[number + 1])
        return TermPostings(self.rows[part], self.counts[part])

    def places(self, term: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Row and position of every occurrence of ``term``, by row and position."""
        number = self.number(term)
        if number < 0:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        part = slice(self.starts[number], self.starts[number + 1])
        spots = slice(self.position_starts[number], self.position_starts[number + 1])
        return np.repeat(self.rows[part], self.counts[part]), self.positions[spots]

    def occurrences(self) -> Occurrences:
        """Everything, to be merged with other segments' lists."""
        per_term = np.diff(self.position_starts)
        return Occurrences(
            np.repeat(np.arange(len(self.terms), dtype=np.int32), per_term),
            np.repeat(self.rows, self.counts),
            self.positions.astype(np.int32),
        )


def rows_with_phrase(postings: Postings, phrase: Sequence[str]) -> NDArray[np.int32]:
    """The rows in which the terms of ``phrase`` stand one behind the other, ascending.

    The place of the i-th term, less i, is the place where the phrase would begin; the intersection of these over
    all terms, rarest first, is where it does.
    """
    begins: NDArray[np.int64] | None = None
    listed = [(i, *postings.places(term)) for i, term in enumerate(phrase)]
    for i, rows, positions in sorted(listed, key=lambda entry: len(entry[1])):
        keys = (rows.astype(np.int64) << 32) + positions.astype(np.int64) - i
        begins = keys if begins is None else np.intersect1d(begins, keys)
        if not len(begins):
            break
    if begins is None:
        return np.zeros(0, np.int32)
    return np.unique(begins >> 32).astype(np.int32)


def invert(occurrences: Occurrences, terms: Sequence[bytes], lengths: NDArray[np.int32]) -> Arrays:
    """The arrays of :class:`Postings`.

    Args:
        occurrences: all of them; of one term by row and position, the terms in any order.
        terms: the terms by number, in any order; those that do not occur are left out.
        lengths: terms of each passage, int32 (passages,).
    """
    order = np.argsort(np.array(terms, dtype=object), kind="stable") if terms else np.zeros(0, np.int64)
    used = np.bincount(occurrences.terms, minlength=len(terms))[order] > 0
    kept = order[used]
    rank = np.full(len(terms), -1, dtype=np.int32)
    rank[kept] = np.arange(len(kept), dtype=np.int32)
    ranked = rank[occurrences.terms]
    by_term = np.argsort(ranked, kind="stable")
    ranked, rows = ranked[by_term], occurrences.rows[by_term]
    first = np.ones(len(ranked), dtype=bool)
    first[1:] = (ranked[1:] != ranked[:-1]) | (rows[1:] != rows[:-1])
    begins = np.flatnonzero(first)
    counts = np.diff(np.append(begins, len(ranked)))
    listed = rows[begins]
    starts = np.searchsorted(ranked[begins], np.arange(len(kept) + 1)).astype(np.int64)
    return {
        **Strings.of([terms[i] for i in kept]).arrays("terms"),
        "postings.starts": starts,
        "postings.rows": listed.astype(np.int32),
        "postings.counts": smallest(counts),
        "postings.positions": smallest(occurrences.positions[by_term]),
        "postings.position_starts": np.searchsorted(ranked, np.arange(len(kept) + 1)).astype(np.int64),
        "lengths": lengths,
    }
