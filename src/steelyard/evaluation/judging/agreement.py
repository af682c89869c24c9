"""Agreement between judges, and between judges and people: percent, Cohen's and Fleiss' kappa, F1, with intervals.

Pure functions on arrays of labels, which may be any values that can be compared. Intervals of the kappas and of F1
are percentile bootstraps over items; percent agreement has Wilson's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.contracts import Interval
from steelyard.evaluation.statistics import mean_interval

Codes: TypeAlias = NDArray[np.int64]
Counts: TypeAlias = NDArray[np.float64]


def percent_agreement(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Interval:
    """The share of items on which two raters give the same label.

    >>> percent_agreement([1, 0, 1, 1], [1, 0, 0, 1]).value
    0.75
    """
    a, b, _ = _coded(first, second)
    return mean_interval((a == b).astype(float), bounds=(0.0, 1.0), level=level)


def cohen_kappa(first: ArrayLike, second: ArrayLike, *, level: float = 0.95, seed: int = 0) -> Interval:
    """Agreement of two raters beyond chance: (p_o - p_e) / (1 - p_e), p_e from both raters' own label shares.

    1 is perfect, 0 what chance gives. Where both raters give one and the same label throughout it is not defined
    and the interval is NaN.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales".

    >>> round(cohen_kappa([1, 1, 0, 0], [1, 1, 0, 1]).value, 3)
    0.5
    """
    a, b, k = _coded(first, second)

    def kappa(rows: Codes) -> float:
        table = np.bincount(a[rows] * k + b[rows], minlength=k * k).reshape(k, k) / len(rows)
        expected = float(table.sum(axis=0) @ table.sum(axis=1))
        return (float(np.trace(table)) - expected) / (1 - expected) if expected < 1 else math.nan

    return _bootstrapped(kappa, len(a), level=level, seed=seed)


def rating_counts(ratings: Sequence[Sequence[Any]]) -> Counts:
    """Counts (items, labels) from ``ratings`` (items, raters): how many raters gave each item each label."""
    labels, codes = np.unique(np.asarray(ratings), return_inverse=True)
    codes = codes.reshape(np.shape(ratings))
    return np.stack([(codes == label).sum(axis=1) for label in range(len(labels))], axis=1).astype(np.float64)


def fleiss_kappa(counts: ArrayLike, *, level: float = 0.95, seed: int = 0) -> Interval:
    """Agreement of several raters beyond chance, from ``counts`` (items, labels) of equally many ratings an item.

    With r raters, P_i = (sum_j n_ij^2 - r) / (r (r - 1)) and p_j the share of label j among all ratings, kappa is
    (mean P_i - sum p_j^2) / (1 - sum p_j^2).

    Source: Fleiss 1971, "Measuring nominal scale agreement among many raters".

    Raises:
        ValueError: fewer than two raters, or items with different numbers of ratings.

    >>> round(fleiss_kappa([[3, 0], [0, 3], [2, 1]]).value, 3)
    0.55
    """
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 2 or not len(n) or not np.all(n.sum(axis=1) == n[0].sum()) or n[0].sum() < 2:
        raise ValueError(
            "needs counts of shape (items, labels) with the same number of ratings, two or more, each"
        )
    raters = float(n[0].sum())

    def kappa(rows: Codes) -> float:
        picked = n[rows]
        each = (np.square(picked).sum(axis=1) - raters) / (raters * (raters - 1))
        expected = float(np.square(picked.sum(axis=0) / picked.sum()).sum())
        return (float(each.mean()) - expected) / (1 - expected) if expected < 1 else math.nan

    return _bootstrapped(kappa, len(n), level=level, seed=seed)


def macro_f1(truth: ArrayLike, found: ArrayLike, *, level: float = 0.95, seed: int = 0) -> Interval:
    """F1 = 2 TP / (2 TP + FP + FN) of each label, averaged over the labels that occur in either array.

    >>> round(macro_f1([1, 1, 0, 0], [1, 0, 0, 0]).value, 3)
    0.733
    """
    a, b, k = _coded(truth, found)

    def score(rows: Codes) -> float:
        t, f = a[rows], b[rows]
        hits = np.bincount(t[t == f], minlength=k)
        total = np.bincount(t, minlength=k) + np.bincount(f, minlength=k)
        return float((2 * hits[total > 0] / total[total > 0]).mean())

    return _bootstrapped(score, len(a), level=level, seed=seed)


def _coded(first: ArrayLike, second: ArrayLike) -> tuple[Codes, Codes, int]:
    """Both arrays with labels as numbers from 0, and how many labels there are."""
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError("needs two one-dimensional arrays of the same length, at least one item")
    labels, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    return codes[: len(a)], codes[len(a) :], len(labels)


def _bootstrapped(
    statistic: Callable[[Codes], float], n: int, *, level: float, seed: int, resamples: int = 500
) -> Interval:
    value = statistic(np.arange(n))
    rng = np.random.default_rng(seed)
    draws = np.array([statistic(rng.integers(0, n, size=n)) for _ in range(resamples)])
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not len(known):
        return Interval(value, -math.inf, math.inf, n)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(min(low, value)), float(max(high, value)), n)
