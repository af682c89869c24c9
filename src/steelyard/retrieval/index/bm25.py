"""BM25 as Lucene computes it, over inverted lists, with exact pruning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.retrieval.index.impacts import ImpactList

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPSILON = 2.0**-23
"""Twice the error of rounding a number to single precision, in proportion to it."""
FEW = 16
"""Lists of together fewer than one passage in so many are merged; more are added up passage by passage."""
SMALLEST = 1e-30
"""Less than any contribution to a score."""
GROUPS = 64
"""Passages in one group when the k-th best score is bounded from below by the best of every group."""


class Scored(NamedTuple):
    """Rows and their scores, best first, equal scores by row."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


class WeightedTerm(NamedTuple):
    """One term of a query in one segment: its list, and its weight (idf times uses in the query)."""

    listed: ImpactList
    weight: float

    @property
    def bound(self) -> float:
        """The most that it contributes to a score."""
        return self.weight * self.listed.nth(1)


def idf(passages: int, holding: int) -> float:
    """log(1 + (N - df + 0.5) / (df + 0.5)), never negative: N passages, of which df hold the term."""
    return math.log1p((passages - holding + 0.5) / (holding + 0.5))


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

    1. The k-th best score is at least the k-th highest contribution of any one term.
    2. Lists are added up, those of the highest possible contributions first, until the ones left could not lift a
       passage that is in none so far up to the k-th best; these are only looked up for passages still in the race
       (MaxScore).
    3. All this is done in single precision, with its rounding allowed for. The few passages that are left get
       their scores in double precision.

    The result is exact, whatever is skipped. Passages that score less than ``floor`` may be left out.

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
    rest = list(accumulate((term.bound for term in reversed(terms)), initial=0.0))[::-1]
    error = rest[0] * (len(terms) + 4) * EPSILON
    if allowed is None:
        floor = max(floor, max(term.weight * term.listed.nth(k) for term in terms) - error)
    needed = sum(left >= floor - error for left in rest[:-1])
    read = terms[:needed]
    if sum(len(term.listed.rows) for term in read) * FEW < len(norm):
        candidates, found = _merged(read, allowed)
        floor = max(floor, _kth(found, k) - error)
    else:
        sums = _added(read, len(norm), allowed)
        floor = max(floor, _reached(sums, k) - error)
        candidates = np.flatnonzero(sums >= max(floor - error - rest[needed], SMALLEST))
        found = sums[candidates]
    for i in range(needed, len(terms)):
        alive = found >= floor - error - rest[i]
        candidates, found = candidates[alive], found[alive]
        found += np.float32(terms[i].weight) * _impacts_at(terms[i].listed, candidates)
        floor = max(floor, _kth(found, k) - error)
    candidates = candidates[found >= floor - error]
    return top(candidates, _exact(terms, norm, candidates), k)


def _merged(
    terms: Sequence[WeightedTerm], allowed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Allowed passages that hold any of few terms, ascending, and sums of what these contribute."""
    if not terms:
        return np.zeros(0, np.int64), np.zeros(0)
    rows = np.concatenate([term.listed.rows for term in terms])
    values = np.concatenate([np.float32(term.weight) * term.listed.impacts for term in terms])
    if allowed is not None:
        chosen = allowed[rows]
        rows, values = rows[chosen], values[chosen]
    if len(terms) == 1:
        return rows.astype(np.int64), values
    distinct, place = np.unique(rows, return_inverse=True)
    return distinct.astype(np.int64), np.bincount(place, values, len(distinct))


def _added(terms: Sequence[WeightedTerm], passages: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """For every passage the sum of what ``terms`` contribute, 0 for those not allowed: float32 (passages,)."""
    from scipy.sparse import csc_array

    sparse = [term for term in terms if not term.listed.dense]
    sums = np.zeros(passages, np.float32)
    if sparse:
        starts = np.cumsum([0, *(len(term.listed.rows) for term in sparse)], dtype=np.int32)
        impacts = np.concatenate([term.listed.impacts for term in sparse])
        rows = np.concatenate([term.listed.rows for term in sparse])
        weights = np.array([term.weight for term in sparse], np.float32)
        sums = csc_array((impacts, rows, starts), shape=(passages, len(sparse))) @ weights
    for term in terms:
        if term.listed.dense:
            sums += np.float32(term.weight) * term.listed.impacts
    if allowed is not None:
        sums[~allowed] = 0.0
    return sums


def _kth(scores: NDArray[Any], k: int) -> float:
    """The ``k``-th highest; 0 of fewer."""
    if len(scores) < k:
        return 0.0
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def _reached(scores: NDArray[np.float32], k: int) -> float:
    """A score that at least ``k`` passages reach, about the ``k``-th highest: that of the best of every group."""
    groups = len(scores) // GROUPS
    if groups < 4 * k:
        return _kth(scores, k)
    return _kth(scores[: groups * GROUPS].reshape(GROUPS, groups).max(axis=0), k)


def _impacts_at(listed: ImpactList, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The impacts of a term on ``rows`` (ascending), 0 on those without it."""
    return listed.impacts[rows] if listed.dense else _values_at(listed.rows, listed.impacts, rows)


def _values_at(held: NDArray[np.int32], values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """What ``values`` of ``held`` are on ``rows``, 0 where it does not hold them; both ascending."""
    wanted = rows.astype(np.int32)
    at = np.searchsorted(held, wanted)
    found: NDArray[Any] = values.take(at, mode="clip") * (held.take(at, mode="clip") == wanted)
    return found


def _exact(
    terms: Sequence[WeightedTerm], norm: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The scores of ``rows`` in double precision; equal passages get equal scores, to the last bit."""
    if not len(rows):
        return np.zeros(0)
    counts = np.stack([_values_at(term.listed.rows, term.listed.counts, rows) for term in terms]).astype(float)
    weights = np.array([term.weight for term in terms])
    impacts = counts / np.maximum(counts + norm[rows], SMALLEST)
    scores: NDArray[np.float64] = (weights[:, None] * impacts).sum(axis=0)
    return scores


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
