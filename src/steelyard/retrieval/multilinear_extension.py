"""The multilinear extension of a top-K retrieval utility, its gradient and what maximises it.

A query has a ranked list of M passages, best first, whose contributions to the utility are u_1 .. u_M. With S the
passages that are in the corpus, the utility is additive over the first K of them,

    U(S) = 1/K * sum of u_i over the K best-ranked i in S,

and with w_i the probability that passage i is in the corpus, all independent, its multilinear extension is

    F(w) = sum_S U(S) * prod_{i in S} w_i * prod_{i not in S} (1 - w_i).

The sum has 2^M terms; the functions here take O(M K).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UsageError

Array: TypeAlias = NDArray[np.float64]


class Ranking(NamedTuple):
    """One query: which passages it finds, best first, and what each contributes to the utility: shapes (M,)."""

    items: NDArray[np.int64]
    contributions: Array


class Importance(NamedTuple):
    """Learned inclusion probabilities, shape (items,), and mean F before each step and after the last."""

    weights: Array
    history: tuple[float, ...]


def present_counts(weights: Array, k: int) -> Array:
    """Probability that exactly j of the first i passages are in the corpus: shape (M + 1, k), entry (i, j).

    A Poisson-binomial distribution cut off at k, by P(i, j) = w_i P(i-1, j-1) + (1 - w_i) P(i-1, j).
    """
    table = np.zeros((len(weights) + 1, k))
    table[0, 0] = 1.0
    for i, w in enumerate(weights):
        table[i + 1] = (1 - w) * table[i]
        table[i + 1, 1:] += w * table[i, :-1]
    return table


def following_contributions(weights: Array, contributions: Array, k: int) -> Array:
    """Expected contribution of the m-th passage in the corpus from place i on: shape (M + 1, k + 1), entry (i, m).

    0 where there are fewer than m; B(i, m) = w_i (u_i if m = 1 else B(i+1, m-1)) + (1 - w_i) B(i+1, m).
    """
    table = np.zeros((len(weights) + 1, k + 1))
    for i in range(len(weights) - 1, -1, -1):
        w = weights[i]
        table[i, 1:] = (1 - w) * table[i + 1, 1:]
        table[i, 1] += w * contributions[i]
        table[i, 2:] += w * table[i + 1, 1:-1]
    return table


def extension(weights: Array, contributions: Array, k: int) -> float:
    """F(w) of one query: passage i counts where it is in the corpus and fewer than K before it are.

    >>> extension(np.array([0.5, 0.5]), np.array([1.0, 3.0]), 1)  # (0 + 1 + 3 + 1) / 4
    1.25
    """
    reached = present_counts(weights, k)[:-1].sum(axis=1)
    return float((weights * contributions * reached).sum() / k)


def extension_gradient(weights: Array, contributions: Array, k: int) -> Array:
    """dF/dw of one query, exactly: shape (M,).

    dF/dw_i = E[U(S + i) - U(S - i)]. With j < K passages before it, passage i brings u_i and pushes out the
    (K - j)-th of those behind it, if there are so many:

        dF/dw_i = 1/K * sum_{j < K} P(j of the i-1 before) * (u_i - B(i+1, K - j))
    """
    before = present_counts(weights, k)[:-1]  # (M, k): column j
    pushed = following_contributions(weights, contributions, k)[1:, :0:-1]  # (M, k): column j is m = k - j
    return np.asarray((before * (contributions[:, None] - pushed)).sum(axis=1) / k)


def sample_count(contributions: Array, k: int, *, epsilon: float, delta: float) -> int:
    """Samples after which all M estimated derivatives are within epsilon with probability 1 - delta.

    Each sampled difference lies within r/K of 0, r being the range of the contributions and 0; Hoeffding's
    inequality and the union bound give ceil(2 (r / K)^2 ln(2 M / delta) / epsilon^2).
    """
    if not (epsilon > 0 and 0 < delta < 1):
        raise UsageError(f"epsilon={epsilon} must be above 0 and delta={delta} between 0 and 1")
    reach = (max(0.0, float(contributions.max())) - min(0.0, float(contributions.min()))) / k
    return max(1, math.ceil(2 * reach**2 * math.log(2 * len(contributions) / delta) / epsilon**2))


def sampled_gradient(
    weights: Array, contributions: Array, k: int, *, epsilon: float, delta: float, seed: int | tuple[int, ...] = 0
) -> Array:
    """An (epsilon, delta)-approximation of :func:`extension_gradient`: shape (M,).

    Corpora are drawn, and U(S + i) - U(S - i) is averaged over them; see :func:`sample_count` for how many.
    """
    count, size = sample_count(contributions, k, epsilon=epsilon, delta=delta), len(weights)
    rng = np.random.default_rng(seed)
    total, done = np.zeros(size), 0
    while done < count:
        rows = min(count - done, max(1, (1 << 22) // (size + 1)))
        present = rng.random((rows, size)) < weights
        total += _differences(present, contributions, k).sum(axis=0)
        done += rows
    return total / count


def learn_importance(
    rankings: Sequence[Ranking],
    groups: NDArray[np.int64],
    k: int,
    *,
    rate: float = 10.0,
    steps: int = 100,
    epsilon: float = 0.0,
    delta: float = 0.01,
    seed: int = 0,
) -> Importance:
    """Maximise the mean of F over queries by projected gradient ascent from w = 1/2.

        w <- project(w + rate * gradient)

    The projection is that onto equal weights within a group (their mean), cut to [0, 1].

    Args:
        rankings: the validation queries.
        groups: the group of each passage, such as its source, as numbers from 0: shape (items,).
        k: passages that are read.
        rate: step length.
        steps: how many.
        epsilon: 0 for exact gradients; otherwise they are sampled, to within epsilon with probability 1 - delta
            for each query and step.
        delta: see ``epsilon``.
        seed: of the samples.

    Raises:
        UsageError: There is no query.
    """
    if not rankings:
        raise UsageError("importance cannot be learned without validation queries")
    weights = np.full(len(groups), 0.5)
    sizes = np.bincount(groups)
    history = [_mean_extension(rankings, weights, k)]
    for step in range(steps):
        gradient = np.zeros(len(groups))
        for number, (items, contributions) in enumerate(rankings):
            if not len(items):
                continue
            if epsilon > 0:
                own = sampled_gradient(
                    weights[items],
                    contributions,
                    k,
                    epsilon=epsilon,
                    delta=delta,
                    seed=(seed, step, number),
                )
            else:
                own = extension_gradient(weights[items], contributions, k)
            np.add.at(gradient, items, own / len(rankings))
        moved = weights + rate * gradient
        weights = np.clip((np.bincount(groups, moved) / np.maximum(sizes, 1))[groups], 0.0, 1.0)
        history.append(_mean_extension(rankings, weights, k))
    return Importance(weights, tuple(history))


def _mean_extension(rankings: Sequence[Ranking], weights: Array, k: int) -> float:
    return float(np.mean([extension(weights[r.items], r.contributions, k) for r in rankings]))


def _differences(present: NDArray[np.bool_], contributions: Array, k: int) -> Array:
    """U(S + i) - U(S - i) for each sampled corpus S and passage i: shape (samples, M)."""
    samples, size = present.shape
    before: NDArray[np.int64] = np.cumsum(present, axis=1) - present  # passages in S ahead of i
    # places of the passages in S, in order, and behind them one that contributes nothing
    order = np.argsort(~present, axis=1, kind="stable")
    order[np.arange(size) >= present.sum(axis=1)[:, None]] = size
    padded = np.concatenate([order, np.full((samples, k + 1), size)], axis=1)
    values = np.append(contributions, 0.0)
    # the K-th passage of S without i, counted from 1, leaves when i comes in ahead of it
    leaving = np.where(present, values[padded[:, k]][:, None], values[padded[:, k - 1]][:, None])
    return np.where(before < k, (contributions - leaving) / k, 0.0)
