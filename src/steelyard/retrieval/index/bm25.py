"""BM25 as Lucene computes it, over inverted lists, with exact pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLACK = 1.0 - 1e-9
"""Sums in another order differ by rounding; a passage that close to the threshold is not pruned."""
SHORT = 1024
"""A list of so many passages is read sooner than it is found out whether it can be skipped."""


class Scored(NamedTuple):
    """Rows and their scores, best first, equal scores by row."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


class WeightedTerm(NamedTuple):
    """One term of a query in one segment: its list, weight (idf times uses in the query) and highest score."""

    rows: NDArray[np.int32]
    counts: NDArray[Any]
    weight: float
    bound: float


def idf(passages: int, holding: int) -> float:
    """log(1 + (N - df + 0.5) / (df + 0.5)), never negative: N passages, of which df hold the term."""
    return float(np.log1p((passages - holding + 0.5) / (holding + 0.5)))


def norms(lengths: NDArray[Any], average: float, k1: float, b: float) -> NDArray[np.float64]:
    """k1 (1 - b + b l / l_avg) of each passage, l its number of terms: float64 (n,)."""
    scaled: NDArray[np.float64] = k1 * (1.0 - b + b * np.asarray(lengths, dtype=np.float64) / max(average, 1e-12))
    return scaled


def best_rows(
    terms: Sequence[WeightedTerm],
    norm: NDArray[np.float64],
    k: int,
    floor: float = 0.0,
    allowed: NDArray[np.bool_] | None = None,
) -> Scored:
    """The ``k`` passages of highest BM25 score among those that hold a term and are ``allowed``.

        score(q, d) = sum over t in q of idf(t) * tf / (tf + k1 (1 - b + b l_d / l_avg))

    Lists are read in full from the highest possible contribution to the lowest, until the lists that are left
    could not lift a passage that is in none so far above the k-th best; those are then only looked up for the
    passages still in the race (MaxScore). The result is exact, whatever is skipped. Passages that score less than
    ``floor`` may be left out.

    Args:
        terms: the query's terms that occur in this segment.
        norm: :func:`norms` of this segment, float64 (n,).
        k: how many.
        floor: the score to beat from other segments.
        allowed: which rows may be returned, bool (n,); None is all.

    Source: "Query Evaluation: Strategies and Optimizations" (Turtle and Flood, 1995), max-score; the formula is
        that of Lucene's BM25Similarity without its rounding of lengths.
    """
    terms = sorted(terms, key=lambda term: -term.bound)
    rest = np.append(np.cumsum([term.bound for term in terms][::-1])[::-1], 0.0)
    scores = np.zeros(len(norm))
    read: list[NDArray[np.int32]] = []
    for i, term in enumerate(terms):
        if rest[i] < floor * SLACK:
            break
        rows, counts = term.rows, term.counts
        if allowed is not None:
            chosen = allowed[rows]
            rows, counts = rows[chosen], counts[chosen]
        scores[rows] += term.weight * (counts / (counts + norm[rows]))
        read.append(rows)
        if i + 1 < len(terms) and len(terms[i + 1].rows) > SHORT:
            floor = max(floor, _kth(scores[rows], k))
    candidates = _union(read, scores)
    found = scores[candidates]
    for i in range(len(read), len(terms)):
        alive = found + rest[i] >= floor * SLACK
        candidates, found = candidates[alive], found[alive]
        _look_up(terms[i], norm, candidates, found)
        floor = max(floor, _kth(found, k))
    return top(candidates, found, k)


def _kth(scores: NDArray[np.float64], k: int) -> float:
    if len(scores) < k:
        return 0.0
    copied = scores.copy()
    copied.partition(len(scores) - k)
    return float(copied[len(scores) - k])


def _union(read: Sequence[NDArray[np.int32]], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    if sum(map(len, read)) * 16 > len(scores):
        return np.flatnonzero(scores)
    joined = np.concatenate(read) if read else np.zeros(0, np.int32)
    return np.unique(joined).astype(np.int64)


def _look_up(
    term: WeightedTerm, norm: NDArray[np.float64], rows: NDArray[np.int64], scores: NDArray[np.float64]
) -> None:
    """Add a term's contribution to the scores of ``rows`` (ascending), in place."""
    at = np.searchsorted(term.rows, rows.astype(np.int32))
    at[at == len(term.rows)] = 0
    hit = np.flatnonzero(term.rows[at] == rows)
    counts = term.counts[at[hit]]
    scores[hit] += term.weight * (counts / (counts + norm[rows[hit]]))


def top(rows: NDArray[np.int64], scores: NDArray[Any], k: int) -> Scored:
    """The ``k`` highest, equal scores by row; by partition, so that only these are sorted."""
    if len(rows) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > threshold)
        level = np.flatnonzero(scores == threshold)
        level = level[np.argsort(rows[level], kind="stable")][: k - len(above)]
        chosen = np.concatenate((above, level))
        rows, scores = rows[chosen], scores[chosen]
    order = np.lexsort((rows, -scores))
    return Scored(rows[order].astype(np.int64), scores[order].astype(np.float64))
