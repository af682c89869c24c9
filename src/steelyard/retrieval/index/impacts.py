"""What the words of passages contribute to their scores, kept for frequent words once it has been asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.retrieval.index.postings import Postings

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = 64
"""Impacts of a term in more than one passage in so many are kept: 4 bytes a posting, 16 at most where dense."""
DENSE = 4
"""Of a term in more than one passage in so many there is one value for every passage."""
BEST = 100
"""So many of a term's highest impacts are known; a search for more results has less to prune by."""


class ImpactList(NamedTuple):
    """One term's list in one segment.

    Attributes:
        rows: the passages that hold it, ascending, int32 (n,).
        counts: how often, unsigned integers (n,).
        impacts: tf / (tf + norm) in single precision, of ``rows`` (n,), or of all passages where ``dense``, 0 for
            those without the term.
        dense: which of the two.
        best: the highest impacts, descending, at most ``BEST``.
    """

    rows: NDArray[np.int32]
    counts: NDArray[Any]
    impacts: NDArray[np.float32]
    dense: bool
    best: NDArray[np.float32]

    def nth(self, k: int) -> float:
        """The ``k``-th highest impact, which ``k`` passages reach; 0 where that is not known."""
        return float(self.best[k - 1]) if k <= len(self.best) else 0.0


class Impacts:
    """The impacts of one segment's terms under one norm (:func:`~steelyard.retrieval.index.bm25.norms`).

    They depend on the mean length of all passages, so that they cannot be stored with a segment. Those of frequent
    terms are computed when first asked for and then kept, since most queries hold one; all others anew each time.

    Relations:
        bm25s computes the impacts of all postings when it indexes ("BM25S: Orders of magnitude faster lexical
        search via eager sparse scoring", 2024).
    """

    def __init__(self, postings: Postings, norm: NDArray[np.float64]) -> None:
        self.norm = norm
        self._postings = postings
        self._kept: dict[int, ImpactList] = {}

    def of(self, number: int) -> ImpactList:
        """The list of term ``number``."""
        known = self._kept.get(number)
        if known is None:
            known = impact_list(*self._postings.of(number), self.norm)
            if len(known.rows) * KEPT > len(self.norm):
                self._kept[number] = known
        return known


def impact_list(rows: NDArray[np.int32], counts: NDArray[Any], norm: NDArray[np.float64]) -> ImpactList:
    """The list of a term that passages ``rows`` hold ``counts`` times each; norm float64 (passages,)."""
    impacts = (counts / (counts + norm[rows])).astype(np.float32)
    surplus = len(impacts) - BEST
    best = np.partition(impacts, surplus)[surplus:] if surplus > 0 else impacts
    dense = len(rows) * DENSE > len(norm)
    if dense:
        spread = np.zeros(len(norm), np.float32)
        spread[rows] = impacts
        impacts = spread
    return ImpactList(rows, counts, impacts, dense, np.sort(best)[::-1])
