"""Reliability of stated confidences, as a report shows it: is a model right as often as it says it is?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.contracts import Interval, Marks
from steelyard.evaluation.calibration import (
    Bin,
    calibration_interval,
    expected_calibration_error,
    reliability_bins,
)
from steelyard.evaluation.statistics import interval_record, is_binary

BINS = 10


class Reliability(NamedTuple):
    """A reliability diagram and the number that sums it up.

    ``ece`` is the expected calibration error with a bootstrap interval. ``chance`` is the ECE that 95% of
    perfectly calibrated models with the same confidences stay below: an ECE of a finite sample is never 0, so
    one below ``chance`` shows no miscalibration.
    """

    bins: tuple[Bin, ...]
    ece: Interval
    chance: float

    def to_record(self) -> dict[str, Any]:
        """The JSON-ready form."""
        return {
            "ece": interval_record(self.ece),
            "chance": self.chance,
            "bins": [{**found._asdict(), "accuracy": interval_record(found.accuracy)} for found in self.bins],
        }


def reliability(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, seed: int = 0, resamples: int = 500
) -> Reliability:
    """The reliability diagram of n samples in ``bins`` equal-width bins; empty bins are left out.

    ``chance`` redraws every sample as right with the probability stated, ``resamples`` times.

    Args:
        confidence: stated probability of being right, (n,), within 0 and 1.
        correct: whether it was, (n,), 0 or 1.
        bins: how many bins.
        seed: of the resampling.
        resamples: how many bootstrap samples and redrawn outcomes.

    Raises:
        ValueError: no samples, lengths that differ, or values out of range.

    Source:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2, for diagram and ECE; Bröcker and
        Smith 2007, "Increasing the Reliability of Reliability Diagrams", section 3, for redrawing outcomes.
    """
    found = reliability_bins(confidence, correct, bins=bins)
    ece = calibration_interval(confidence, correct, bins=bins, seed=seed, resamples=resamples)
    c = np.asarray(confidence, dtype=np.float64)
    rng = np.random.default_rng(seed)
    redrawn = [
        expected_calibration_error(c, (rng.random(len(c)) < c).astype(float), bins=bins) for _ in range(resamples)
    ]
    return Reliability(tuple(found), ece, float(np.quantile(redrawn, 0.95)))


def reliability_of_marks(marks: Sequence[Marks]) -> Reliability | None:
    """The reliability of the marks that have a confidence and an accuracy of 0 or 1; None without any."""
    having = [mark.values for mark in marks if {"confidence", "accuracy"} <= mark.values.keys()]
    right = [values["accuracy"] for values in having]
    if not having or not is_binary(right):
        return None
    return reliability([values["confidence"] for values in having], right)
