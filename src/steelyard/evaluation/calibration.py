"""Calibration and trade-offs: does confidence match correctness, and which systems are worth their cost?

Pure functions on one-dimensional arrays. Confidence lies between 0 and 1; for multiple choice it is the share of
the predicted choice in the probability of all (``confidence`` in the marks of
:mod:`steelyard.evaluation.grading`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.contracts import Interval
from steelyard.evaluation.measurement import Table
from steelyard.evaluation.statistics import mean_interval, wilson_interval, z_value

Array: TypeAlias = NDArray[np.float64]
Binning: TypeAlias = Literal["width", "mass"]


class Bin(NamedTuple):
    """One bin of a reliability diagram: ``low`` and ``high`` bound its confidences."""

    low: float
    high: float
    confidence: float
    accuracy: Interval


class Correlation(NamedTuple):
    """Pearson's r with its Fisher interval, and Spearman's rank correlation; NaN where a side is constant."""

    pearson: Interval
    spearman: float
    pearson_p: float
    spearman_p: float


class Cost(NamedTuple):
    """One system's place in a comparison of cost and quality; ``date`` is ISO, for frontiers over time."""

    name: str
    cost: float
    quality: float
    date: str = ""


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10, binning: Binning = "width"
) -> list[Bin]:
    """The bins of a reliability diagram that have samples, in order of confidence.

    ``width`` cuts [0, 1] into equal intervals (low, high], the first including 0; ``mass`` sorts by confidence and
    cuts into groups of equal size, the first being one larger where n is not a multiple of ``bins``.

    Source:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2 (equal width); Liang et al. 2023,
        "Holistic Evaluation of Language Models", section 4.4 (ten bins of equal mass).

    >>> [(b.confidence, b.accuracy.value) for b in reliability_bins([0.9, 0.95, 0.3], [1, 0, 1])]
    [(0.3, 1.0), (0.9, 1.0), (0.95, 0.0)]
    """
    c, y = _pairs(confidence, correct)
    if bins < 1:
        raise ValueError(f"at least one bin is needed, not {bins}")
    if binning == "mass":
        order = np.argsort(c, kind="stable")
        groups = [part for part in np.array_split(order, min(bins, len(c))) if len(part)]
        bounds = [(float(c[part[0]]), float(c[part[-1]])) for part in groups]
    else:
        # Rounding keeps 0.3 * 10 = 3.0000000000000004 out of the fourth bin.
        place = np.clip(np.ceil(np.round(c * bins, 9)) - 1, 0, bins - 1).astype(int)
        numbers = np.unique(place)
        groups = [np.flatnonzero(place == number) for number in numbers]
        bounds = [(int(number) / bins, (int(number) + 1) / bins) for number in numbers]
    return [
        Bin(low, high, float(c[part].mean()), _accuracy(y[part]))
        for part, (low, high) in zip(groups, bounds, strict=True)
    ]


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10, binning: Binning = "width"
) -> float:
    """ECE = sum_b n_b/n |accuracy_b - confidence_b|, between 0 and 1.

    Source:
        Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; bins as in
        :func:`reliability_bins`.

    >>> round(expected_calibration_error([0.75] * 4, [1, 1, 1, 0]), 12)
    0.0
    """
    return _ece(*_pairs(confidence, correct), bins, binning)


def calibration_interval(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    bins: int = 10,
    binning: Binning = "width",
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 500,
) -> Interval:
    """The ECE with a bootstrap interval over samples.

    ECE is biased upwards in small samples, and resampling adds the same bias once more; the interval is therefore
    the basic one, 2 ECE minus the percentiles of the resamples, cut to [0, 1] and stretched to hold the ECE.
    One sample says nothing about the spread: its interval is [0, 1].
    """
    c, y = _pairs(confidence, correct)
    value = expected_calibration_error(c, y, bins=bins, binning=binning)
    if len(c) == 1:
        return Interval(value, 0.0, 1.0, 1)
    rng = np.random.default_rng(seed)
    draws = np.array(
        [_ece(c[picked], y[picked], bins, binning) for picked in rng.integers(0, len(c), (resamples, len(c)))]
    )
    upper, lower = np.quantile(draws, [(1 + level) / 2, (1 - level) / 2])
    low, high = 2 * value - float(upper), 2 * value - float(lower)
    return Interval(value, max(0.0, min(value, low)), min(1.0, max(value, high)), len(c))


def _ece(c: Array, y: Array, bins: int, binning: Binning) -> float:
    if binning == "mass":
        order = np.argsort(c, kind="stable")
        parts = np.array_split(order, min(bins, len(c)))
        return float(sum(abs(float((y[part] - c[part]).sum())) for part in parts)) / len(c)
    place = np.clip(np.ceil(np.round(c * bins, 9)) - 1, 0, bins - 1).astype(int)
    return float(np.abs(np.bincount(place, weights=y - c, minlength=bins)).sum()) / len(c)


def correlation(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Correlation:
    """Pearson's r with Fisher's z interval, and Spearman's rho, with two-sided p-values.

    Below four pairs the interval is [-1, 1]: z has no standard error there. Where one side is constant both
    correlations are undefined (NaN).

    >>> correlation([1, 2, 3, 4], [2, 4, 6, 8]).pearson.value
    1.0
    """
    from scipy import stats

    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(
            f"a correlation needs two arrays of the same length of at least 2, not {len(a)} and {len(b)}"
        )
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(Interval(math.nan, -1.0, 1.0, len(a)), math.nan, math.nan, math.nan)
    pearson, spearman = stats.pearsonr(a, b), stats.spearmanr(a, b)
    r = float(pearson.statistic)
    low, high = -1.0, 1.0
    if len(a) > 3 and abs(r) < 1:
        half = z_value(level) / math.sqrt(len(a) - 3)
        low, high = math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    elif len(a) > 3:
        low = high = r
    return Correlation(
        Interval(r, low, high, len(a)), float(spearman.statistic), float(pearson.pvalue), float(spearman.pvalue)
    )


def pareto_frontier(points: Sequence[Cost]) -> list[Cost]:
    """The points that no other beats: none is at least as cheap and as good and better in one of the two.

    In order of cost; points that are equal in both stay together.

    >>> [p.name for p in pareto_frontier([Cost("a", 1, 0.5), Cost("b", 2, 0.4), Cost("c", 3, 0.9)])]
    ['a', 'c']
    """
    frontier: list[Cost] = []
    best, price = -math.inf, math.nan
    for point in sorted(points, key=lambda p: (p.cost, -p.quality, p.name)):
        if point.quality > best or (point.quality == best and point.cost == price):
            frontier.append(point)
            best, price = point.quality, point.cost
    return frontier


def frontier_over_time(points: Sequence[Cost]) -> Table:
    """What the frontier of cost and quality looked like at each date on which a system appeared.

    Source: AstroMLab 1 (2024), the comparison of cost per token and score over releases.
    """
    dates = sorted({point.date for point in points})
    rows = [
        (date, point.name, point.cost, point.quality)
        for date in dates
        for point in pareto_frontier([p for p in points if p.date <= date])
    ]
    return Table("Frontier of cost and quality", ("date", "system", "cost", "quality"), tuple(rows))


def mean_win_rate(
    scores: Mapping[str, Mapping[str, float | None]], *, higher_is_better: bool = True
) -> dict[str, float | None]:
    """How often each system does better than another drawn at random, averaged over scenarios.

    In one scenario a system's win rate is the share of the other systems that it beats, ties counting half;
    scenarios that fewer than two systems have are left out, and a system without any is None.

    Source:
        Liang et al. 2023, "Holistic Evaluation of Language Models", section 8.1; ties count half here, so that
        equal systems have 0.5.

    Args:
        scores: system -> scenario -> value, None where it is missing.
        higher_is_better: False where the lower value wins.

    >>> mean_win_rate({"a": {"x": 0.9, "y": 0.2}, "b": {"x": 0.5, "y": 0.4}})
    {'a': 0.5, 'b': 0.5}
    """
    wins: dict[str, list[float]] = {system: [] for system in scores}
    sign = 1 if higher_is_better else -1
    for scenario in dict.fromkeys(name for row in scores.values() for name in row):
        known = {
            system: sign * value for system, row in scores.items() if (value := row.get(scenario)) is not None
        }
        if len(known) < 2:
            continue
        for system, value in known.items():
            others = [other for name, other in known.items() if name != system]
            wins[system].append(sum((value > o) + 0.5 * (value == o) for o in others) / len(others))
    return {system: sum(rates) / len(rates) if rates else None for system, rates in wins.items()}


def reliability_table(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10, binning: Binning = "width"
) -> Table:
    """The reliability diagram as a table."""
    rows = [
        (f"{b.low:.2f} to {b.high:.2f}", b.confidence, b.accuracy, b.accuracy.n)
        for b in reliability_bins(confidence, correct, bins=bins, binning=binning)
    ]
    note = "confidence: the mean share of the predicted choice in the probability of all choices"
    return Table("Reliability", ("bin", "confidence", "accuracy", "samples"), tuple(rows), note)


def _accuracy(correct: Array) -> Interval:
    if np.isin(correct, (0.0, 1.0)).all():
        return Interval(float(correct.mean()), *wilson_interval(float(correct.sum()), len(correct)), len(correct))
    return mean_interval(correct, bounds=(0.0, 1.0))


def _pairs(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if c.shape != y.shape or c.ndim != 1 or not len(c):
        raise ValueError(f"{len(c)} confidences for {len(y)} outcomes; give as many of both, and at least one")
    if not (np.isfinite(c).all() and (c >= 0).all() and (c <= 1 + 1e-9).all()):
        raise ValueError("confidences must lie between 0 and 1")
    return np.minimum(c, 1.0), y
