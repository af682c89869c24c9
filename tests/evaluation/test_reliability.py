from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.contracts import Marks
from steelyard.evaluation.reliability import reliability, reliability_of_marks

outcomes = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


@given(outcomes)
@settings(deadline=None, max_examples=30)
def test_the_error_is_that_of_the_definition(pairs: list[tuple[float, bool]]) -> None:
    """Bin by bin, as the paper's equation writes it."""
    confidence, right = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = reliability(confidence, right, resamples=20)
    assert sum(b.accuracy.n for b in found.bins) == len(pairs)
    expected = sum(b.accuracy.n / len(pairs) * abs(b.accuracy.value - b.confidence) for b in found.bins)
    assert found.ece.value == pytest.approx(expected, abs=1e-12)
    assert all(b.low - 1e-9 <= b.confidence <= b.high + 1e-9 for b in found.bins)
    assert found.ece.low <= found.ece.value <= found.ece.high


def test_calibrated_outcomes_stay_below_chance_and_overconfident_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    confidence = 0.5 + 0.5 * rng.random(800)
    below = [
        (found := reliability(confidence, rng.random(800) < confidence, resamples=200)).ece.value < found.chance
        for _ in range(20)
    ]
    assert sum(below) >= 16  # 19 in expectation
    wrong = reliability(confidence, rng.random(800) < confidence - 0.15, resamples=200)
    assert wrong.ece.value > wrong.chance
    assert wrong.ece.low > 0.08


def test_marks_without_confidence_have_no_reliability() -> None:
    assert reliability_of_marks([Marks({"accuracy": 1.0})]) is None
    assert reliability_of_marks([Marks({"accuracy": 0.5, "confidence": 0.5})]) is None
    found = reliability_of_marks([Marks({"accuracy": 1.0, "confidence": 0.8}), Marks({"accuracy": 0.0})])
    assert found is not None
    assert found.ece.n == 1
    assert found.to_record()["bins"][0]["accuracy"]["n"] == 1


def test_what_is_no_confidence_is_refused() -> None:
    for confidence, right in (([1.2], [1]), ([], []), ([0.5, 0.5], [1])):
        with pytest.raises(ValueError, match="confidence"):
            reliability(confidence, right)
