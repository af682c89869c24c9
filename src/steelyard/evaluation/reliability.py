"""Reliability of stated confidences: how often a model is right when it says it is, say, 80% sure.

Pure functions on one-dimensional arrays; what draws at random takes a ``seed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.contracts import Interval, Marks
from steelyard.evaluation.statistics import interval_record, is_binary, mean_interval

Array: TypeAlias = NDArray[np.float64]

BINS = 10


class ReliabilityBin(NamedTuple):
    """Samples whose confidence lies in (``low``, ``high``]: their mean confidence, and how many were right."""

    low: float
    high: float
    confidence: float
    accuracy: Interval


class Reliability(NamedTuple):
    """A reliability diagram and the number that sums it up.

    ``ece`` is the expected calibration error with a bootstrap interval. ``chance`` is the ECE that 95% of
    perfectly calibrated models with the same confidences stay below: an ECE of a finite sample is never 0, so
    one below ``chance`` shows no miscalibration.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: Interval
    chance: float

    def to_record(self) -> dict[str, Any]:
        """The JSON-ready form."""
        return {
            "ece": interval_record(self.ece),
            "chance": self.chance,
            "bins": [{**found._asdict(), "accuracy": interval_record(found.accuracy)} for found in self.bins],
        }


def bin_numbers(confidence: ArrayLike, bins: int = BINS) -> NDArray[np.int64]:
    """The number of the equal-width bin ((m-1)/M, m/M] that each confidence falls into; 0 falls into the first.

    >>> bin_numbers([0.0, 0.1, 0.15, 1.0]).tolist()
    [0, 0, 1, 9]
    """
    c = np.asarray(confidence, dtype=np.float64)
    # 0.3 * 10 is 3.0000000000000004: an edge belongs to the bin below it whatever the rounding
    return np.clip(np.ceil(np.round(c * bins, 9)).astype(np.int64) - 1, 0, bins - 1)


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """ECE = sum over bins B of |B| / n * |accuracy(B) - confidence(B)|.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.

    >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [1, 1, 1, 0]), 3)
    0.1
    """
    c, right = _checked(confidence, correct)
    gaps = np.bincount(bin_numbers(c, bins), weights=right - c, minlength=bins)
    return float(np.abs(gaps).sum()) / len(c)


def reliability(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, seed: int = 0, resamples: int = 1000
) -> Reliability:
    """The reliability diagram of n samples in ``bins`` equal-width bins; empty bins are left out.

    Accuracies carry Wilson's interval. An ECE is biased upwards in small samples, and resampling adds the same
    bias once more: its interval is therefore the basic bootstrap, 2 ECE minus the percentiles of the resamples,
    cut to [0, 1] and stretched to hold the value. ``chance`` redraws every sample as right with the probability
    stated.

    Args:
        confidence: stated probability of being right, (n,), within 0 and 1.
        correct: whether it was, (n,), 0 or 1.
        bins: how many bins.
        seed: of the resampling.
        resamples: how many bootstrap samples and redrawn outcomes.

    Raises:
        ValueError: no samples, lengths that differ, or values out of range.

    Source:
        Guo et al. 2017, section 2, for diagram and ECE; Bröcker and Smith 2007, "Increasing the Reliability of
        Reliability Diagrams", section 3, for redrawing outcomes at the stated confidences.
    """
    c, right = _checked(confidence, correct)
    n, place = len(c), bin_numbers(c, bins)
    found = tuple(
        ReliabilityBin(m / bins, (m + 1) / bins, float(c[inside].mean()), mean_interval(right[inside]))
        for m in range(bins)
        if (inside := place == m).any()
    )
    rng = np.random.default_rng(seed)
    again, redrawn = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        picked = rng.integers(0, n, size=n)
        again[i] = np.abs(np.bincount(place[picked], weights=(right - c)[picked], minlength=bins)).sum() / n
        outcome = (rng.random(n) < c) - c
        redrawn[i] = np.abs(np.bincount(place, weights=outcome, minlength=bins)).sum() / n
    value = expected_calibration_error(c, right, bins)
    upper, lower = (float(v) for v in np.quantile(again, (0.975, 0.025)))
    ece = Interval(value, max(0.0, min(value, 2 * value - upper)), min(1.0, max(value, 2 * value - lower)), n)
    return Reliability(found, ece, float(np.quantile(redrawn, 0.95)))


def reliability_of_marks(marks: Sequence[Marks]) -> Reliability | None:
    """The reliability of the marks that have a confidence and an accuracy of 0 or 1; None without any."""
    having = [mark.values for mark in marks if {"confidence", "accuracy"} <= mark.values.keys()]
    right = [values["accuracy"] for values in having]
    if not having or not is_binary(right):
        return None
    return reliability([values["confidence"] for values in having], right)


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
    c, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if c.ndim != 1 or not len(c) or c.shape != right.shape:
        raise ValueError("reliability needs as many outcomes as confidences, and at least one")
    if not (is_binary(right) and np.isfinite(c).all() and ((c >= 0) & (c <= 1 + 1e-9)).all()):
        raise ValueError("confidences lie between 0 and 1, outcomes are 0 or 1")
    return np.minimum(c, 1.0), right
