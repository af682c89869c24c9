"""Significance: paired tests, correction for many comparisons, and what a sample size can show.

Pure functions on one-dimensional arrays; a test that draws at random takes a ``seed``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 18
"""Up to this many non-zero differences a permutation test enumerates every sign pattern."""


class RankStability(NamedTuple):
    """How firmly a ranking stands under resampling of the samples.

    ``first`` (systems,) is how often each system came out on top (ties shared); ``above`` (systems, systems)
    how often the row's mean exceeded the column's (ties count half).
    """

    first: NDArray[np.float64]
    above: NDArray[np.float64]


def mcnemar_exact(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided exact McNemar p-value for paired 0/1 values.

    Under the null hypothesis the discordant pairs fall either way like fair coins; p is twice the smaller
    binomial tail, at most 1.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions".

    >>> mcnemar_exact([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    a = np.asarray(first, dtype=np.float64)
    b = np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} values cannot be paired with {len(b)}")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("McNemar's test is for values that are 0 or 1")
    up, down = int((a > b).sum()), int((a < b).sum())
    total = up + down
    if total == 0:
        return 1.0
    tail = sum(math.comb(total, k) for k in range(min(up, down) + 1))
    return min(1.0, float(2 * tail / 2**total)) if total < 1000 else _binomial_p(min(up, down), total)


def permutation_test(differences: ArrayLike, *, seed: int = 0, resamples: int = 9999) -> float:
    """Two-sided sign-flip p-value for the mean of paired differences.

    Under the null hypothesis each difference is as likely to have the opposite sign. All patterns are
    enumerated up to :data:`EXACT_UP_TO` non-zero differences; beyond that ``resamples`` are drawn and
    p = (1 + those at least as extreme) / (1 + resamples), which never is 0. For a weighted mean pass the
    differences times their weights.

    Source: Fisher 1935, "The design of experiments", section 21; Phipson and Smyth 2010 for the +1.

    >>> permutation_test([1.0, 2.0, 3.0])
    0.25
    """
    d = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(d).all():
        raise ValueError("differences must be finite")
    d = d[d != 0]
    if not len(d):
        return 1.0
    observed = abs(float(d.sum()))
    slack = 1e-10 * float(np.abs(d).sum())
    if len(d) <= EXACT_UP_TO:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed - slack).mean())
    rng = np.random.default_rng(seed)
    extreme = 0
    rows = max(1, (1 << 20) // len(d))
    for start in range(0, resamples, rows):
        signs = rng.integers(0, 2, size=(min(rows, resamples - start), len(d)), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs @ d) >= observed - slack).sum())
    return (1 + extreme) / (1 + resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject where they are at most alpha.

    Controls the chance of one false claim among all comparisons, whatever their dependence.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError("p-values lie between 0 and 1")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def minimum_detectable_difference(n: int, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true mean difference that ``n`` paired samples would show with probability ``power``.

    (z_{1-alpha/2} + z_power) * sd / sqrt(n), where ``sd`` is the standard deviation of the differences.

    Source: Miller 2024, "Adding error bars to evals", equation 9.

    >>> round(minimum_detectable_difference(100, 0.5), 3)
    0.14
    """
    if n < 1 or sd < 0:
        raise ValueError("needs at least one sample and a standard deviation that is not negative")
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError("power and alpha lie between 0 and 1")
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * sd / math.sqrt(n)


def rank_stability(values: ArrayLike, *, seed: int = 0, resamples: int = 1000) -> RankStability:
    """How often each system leads when the samples are drawn again with replacement.

    ``values`` is (systems, samples), higher being better; all systems are resampled alike (paired).

    >>> rank_stability([[1, 1, 1], [0, 0, 0]]).first.tolist()
    [1.0, 0.0]
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or not v.size or not np.isfinite(v).all():
        raise ValueError("needs finite values of shape (systems, samples)")
    rng = np.random.default_rng(seed)
    systems, n = v.shape
    first = np.zeros(systems)
    above = np.zeros((systems, systems))
    for _ in range(resamples):
        # Rounding makes exact ties exact again: sums of the same values in another order may differ.
        means = np.round(v @ (np.bincount(rng.integers(0, n, size=n), minlength=n) / n), 12)
        lead = means == means.max()
        first += lead / lead.sum()
        above += (means[:, None] > means[None, :]) + 0.5 * (means[:, None] == means[None, :])
    return RankStability(first / resamples, above / resamples)


def _binomial_p(smaller: int, total: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(smaller, total).pvalue)
