"""Intervals for what was measured: means, ratios and paired differences.

Pure functions on one-dimensional arrays. ``level`` is the confidence level; randomness is a ``seed``.
Significance tests are in :mod:`steelyard.evaluation.significance`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.contracts import Interval

Array: TypeAlias = NDArray[np.float64]
Method: TypeAlias = Literal["auto", "wilson", "t", "bootstrap"]

_DRAWS_AT_ONCE = 1 << 20  # bounds the memory of a bootstrap to a few tens of MB


def z_value(level: float = 0.95) -> float:
    """Two-sided normal quantile: 1.96 for 0.95."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def t_value(level: float, freedom: float) -> float:
    """Two-sided quantile of Student's t with ``freedom`` degrees of freedom."""
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return float(stdtrit(freedom, 0.5 + level / 2))


def wilson_interval(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion; ``n`` may be an effective (fractional) sample size.

    Never empty and never outside 0..1, even for 0 or ``n`` successes.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    if n <= 0:
        raise ValueError("a proportion needs at least one sample")
    z2 = z_value(level) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return low, high


def effective_size(weights: ArrayLike) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2: n for equal weights, less otherwise."""
    w = np.asarray(weights, dtype=np.float64)
    return float(w.sum() ** 2 / np.square(w).sum())


def mean_interval(
    values: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    method: Method = "auto",
    bounds: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """The (weighted) mean of independent samples with its confidence interval.

    ``auto`` is Wilson's interval for values that are all 0 or 1 (with Kish's effective size where weights
    differ) and the bias-corrected accelerated bootstrap otherwise; ``t`` is Student's. The interval is cut to
    ``bounds``, the range a value can take. One sample that is not 0 or 1 says nothing about the spread: its
    interval is ``bounds``.

    Source: Efron 1987, "Better bootstrap confidence intervals" (BCa).

    >>> mean_interval([1, 1, 0, 1]).value
    0.75
    """
    v, w = _checked(values, weights)
    n = len(v)
    mean = float(np.average(v, weights=w))
    proportion = bool(np.isin(v, (0.0, 1.0)).all())
    if method == "wilson" and not proportion:
        raise ValueError("Wilson's interval is for values that are 0 or 1")
    if method == "wilson" or (method == "auto" and proportion):
        size = effective_size(w)
        # Weighted sums may miss 0 or 1 by a rounding error, which matters at the ends.
        exact = 0.0 if not v.any() else 1.0 if v.all() else mean
        return Interval(mean, *wilson_interval(exact * size, size, level=level), n)
    if n == 1:
        return Interval(mean, *bounds, n)
    if method == "t":
        half = t_value(level, n - 1) * _standard_error(v - mean, w)
        low, high = mean - half, mean + half
    else:
        low, high = _bca(v, w, mean, level=level, seed=seed, resamples=resamples)
    return Interval(mean, max(bounds[0], low), min(bounds[1], high), n)


def clustered_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    weights: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """The mean of samples that come in clusters (questions about one passage), with a clustered interval.

    SE^2 = G/(G-1) * sum_g (sum_{i in g} w_i (v_i - mean))^2 / (sum w)^2, Student's t with G-1 degrees of
    freedom. With a single cluster the spread is unknown and the interval infinite.

    Source: Liang and Zeger 1986; Miller 2024, "Adding error bars to evals", section 2.2.

    >>> clustered_interval([1, 1, 0, 0], ["a", "a", "b", "b"]).value
    0.5
    """
    v, w = _checked(values, weights)
    if len(clusters) != len(v):
        raise ValueError(f"{len(clusters)} cluster labels for {len(v)} values")
    mean = float(np.average(v, weights=w))
    numbers: dict[Hashable, int] = {}
    label = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
    count = len(numbers)
    if count < 2:
        return Interval(mean, -math.inf, math.inf, len(v))
    sums = np.bincount(label, weights=w * (v - mean), minlength=count)
    error = math.sqrt(count / (count - 1) * float(np.square(sums).sum())) / float(w.sum())
    half = t_value(level, count - 1) * error
    return Interval(mean, mean - half, mean + half, len(v))


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """sum(w * numerator) / sum(w * denominator), such as bits per byte, with a delta-method interval.

    The ratio R is linearised: its standard error is that of the residuals numerator - R * denominator over
    the summed denominators. One sample says nothing about the spread: its interval is infinite.

    Source: Cochran 1977, "Sampling techniques", section 6.

    >>> ratio_interval([10, 30], [10, 10]).value
    2.0
    """
    a, w = _checked(numerators, weights)
    b, _ = _checked(denominators, weights)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} numerators for {len(b)} denominators")
    total = float((w * b).sum())
    if not (b > 0).all():
        raise ValueError("denominators must be positive")
    ratio = float((w * a).sum()) / total
    if len(a) == 1:
        return Interval(ratio, -math.inf, math.inf, 1)
    error = _standard_error(a - ratio * b, w) * float(w.sum()) / total
    half = t_value(level, len(a) - 1) * error
    return Interval(ratio, ratio - half, ratio + half, len(a))


def quantile_interval(values: ArrayLike, quantile: float, *, level: float = 0.95) -> Interval:
    """A quantile of independent samples, such as a median latency, with its distribution-free interval.

    The ends are order statistics x_(l) and x_(u) whose ranks are the binomial quantiles of ``quantile`` over n
    samples; where n is too small to hold an end, that end is infinite (an upper bound of the 95th percentile needs
    73 samples).

    Source: Conover 1999, "Practical nonparametric statistics", section 3.2.

    >>> quantile_interval(range(1, 101), 0.5)[:3]
    (50.5, 40.0, 61.0)
    """
    from scipy.stats import binom

    v, _ = _checked(values, None)
    v = np.sort(v)
    n = len(v)
    low = int(binom.ppf((1 - level) / 2, n, quantile))
    high = int(binom.ppf((1 + level) / 2, n, quantile)) + 1
    ends = (v[low - 1] if low >= 1 else -math.inf, v[high - 1] if high <= n else math.inf)
    return Interval(float(np.quantile(v, quantile)), float(ends[0]), float(ends[1]), n)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Mean of ``first - second`` on the same samples, with its interval.

    For 0/1 values with equal weights: Bonett and Price's adjusted Wald interval, which keeps its coverage for
    small n and is never empty. Otherwise Student's t on the (weighted) differences; a single sample has an
    infinite interval.

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", equation 5.

    >>> paired_difference([1, 1, 1, 0], [0, 1, 0, 0]).value
    0.5
    """
    a, w = _checked(first, weights)
    b, _ = _checked(second, weights)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values cannot be paired with {len(b)}")
    d = a - b
    n = len(d)
    mean = float(np.average(d, weights=w))
    if is_binary(a, b) and np.all(w == w[0]):
        up = (float((d > 0).sum()) + 1) / (n + 2)
        down = (float((d < 0).sum()) + 1) / (n + 2)
        half = z_value(level) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
        centre = up - down
        return Interval(mean, max(-1.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)), n)
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = t_value(level, n - 1) * _standard_error(d - mean, w)
    return Interval(mean, mean - half, mean + half, n)


def standard_error(values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Standard error of the (weighted) mean of at least two values: sqrt(n/(n-1) sum (w r)^2) / sum w.

    r are the deviations from the mean; with equal weights it is the sample standard deviation over sqrt(n).

    >>> standard_error([1.0, 2.0, 3.0, 4.0]) == np.std([1.0, 2.0, 3.0, 4.0], ddof=1) / 2
    True
    """
    v, w = _checked(values, weights)
    if len(v) < 2:
        raise ValueError("the spread of a single value is not known")
    return _standard_error(v - float(np.average(v, weights=w)), w)


def is_binary(*arrays: ArrayLike) -> bool:
    """Whether every value of every array is 0 or 1."""
    return all(bool(np.isin(np.asarray(a, dtype=np.float64), (0.0, 1.0)).all()) for a in arrays)


def interval_record(interval: Interval) -> dict[str, Any]:
    """The JSON form of an interval; an end that is not finite (unknown) becomes null."""
    value, low, high, n = interval
    return {
        "value": value if math.isfinite(value) else None,
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
        "n": n,
    }


def interval_text(record: Mapping[str, Any]) -> str:
    """An interval's JSON form in words; ends that are not known are left out.

    >>> interval_text(interval_record(mean_interval([1.0, 1.0, 0.0, 1.0])))
    '0.750 [0.301, 0.954]'
    """
    low, high = record["low"], record["high"]
    bounds = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{record['value']:.3f}{bounds}"


def _checked(values: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array]:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or not len(v):
        raise ValueError("statistics need a one-dimensional array of at least one value")
    if not np.isfinite(v).all():
        raise ValueError("statistics need finite values")
    w = np.ones(len(v)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != v.shape:
        raise ValueError(f"{len(w)} weights for {len(v)} values")
    if not (np.isfinite(w).all() and (w > 0).all()):
        raise ValueError("weights must be positive and finite")
    return v, w


def _standard_error(residuals: Array, weights: Array) -> float:
    """Standard error of a weighted mean whose residuals are given: sqrt(n/(n-1) sum (w r)^2) / sum w."""
    n = len(residuals)
    return math.sqrt(n / (n - 1) * float(np.square(weights * residuals).sum())) / float(weights.sum())


def _bca(v: Array, w: Array, mean: float, *, level: float, seed: int, resamples: int) -> tuple[float, float]:
    """Ends of the BCa interval of a weighted mean."""
    if np.ptp(v) == 0:
        return mean, mean
    draws = _bootstrap_means(v, w, seed=seed, resamples=resamples)
    normal = NormalDist()
    below = (float((draws < mean).sum()) + 0.5 * float((draws == mean).sum())) / resamples
    bias = normal.inv_cdf(min(max(below, 0.5 / resamples), 1 - 0.5 / resamples))
    left_out = (float((w * v).sum()) - w * v) / (float(w.sum()) - w)
    spread = left_out.mean() - left_out
    largest = float(np.abs(spread).max())
    spread = spread / largest if largest else spread  # so that cubes of nearly equal values do not underflow
    squares = float((spread**2).sum())
    acceleration = float((spread**3).sum()) / (6 * squares**1.5) if squares else 0.0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + normal.inv_cdf(tail)
        ends.append(normal.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(draws, ends)
    return float(low), float(high)


def _bootstrap_means(v: Array, w: Array, *, seed: int, resamples: int) -> Array:
    """Weighted means of ``resamples`` draws with replacement, in blocks of bounded memory."""
    rng = np.random.default_rng(seed)
    rows = max(1, _DRAWS_AT_ONCE // len(v))
    means = np.empty(resamples)
    weighted = v * w
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        picked = rng.integers(0, len(v), size=(count, len(v)))
        means[start : start + count] = weighted[picked].sum(axis=1) / w[picked].sum(axis=1)
    return means
