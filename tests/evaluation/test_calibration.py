from __future__ import annotations

import doctest
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from steelyard.evaluation import calibration
from steelyard.evaluation.calibration import (
    Cost,
    calibration_interval,
    correlation,
    expected_calibration_error,
    frontier_over_time,
    mean_win_rate,
    pareto_frontier,
    reliability_bins,
    reliability_table,
)

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


def test_examples_in_the_text() -> None:
    assert doctest.testmod(calibration).failed == 0


def direct(confidence: Any, correct: Any, bins: int) -> tuple[float, list[tuple[float, float, int]]]:
    """Equal-width ECE and bins, one sample at a time, with bounds from 0 to 1 in the open-closed convention."""
    edges = [i / bins for i in range(bins + 1)]
    found, error = [], 0.0
    for low, high in itertools.pairwise(edges):
        inside = [(c, y) for c, y in zip(confidence, correct, strict=True) if low < c <= high or (c == 0 == low)]
        if inside:
            c, y = np.mean([c for c, _ in inside]), np.mean([y for _, y in inside])
            found.append((float(c), float(y), len(inside)))
            error += len(inside) / len(confidence) * abs(c - y)
    return float(error), found


@given(PAIRS)
def test_bins_and_error_equal_a_direct_computation(pairs: list[tuple[float, bool]]) -> None:
    # Off the edges, where floating point decides on which side a confidence falls.
    confidence = [round(c, 3) if round(c, 3) * 10 % 1 else min(1.0, round(c, 3) + 0.0004) for c, _ in pairs]
    correct = [float(y) for _, y in pairs]
    error, bins = direct(confidence, correct, 10)
    assert expected_calibration_error(confidence, correct) == pytest.approx(error, abs=1e-9)
    found = reliability_bins(confidence, correct)
    assert [(b.confidence, b.accuracy.value, b.accuracy.n) for b in found] == [pytest.approx(b) for b in bins]


def test_edges_belong_to_the_bin_below() -> None:
    assert [b.high for b in reliability_bins([0.0, 0.1, 0.3, 0.7, 1.0], [1, 1, 1, 1, 1])] == [0.1, 0.3, 0.7, 1.0]


def test_equal_mass_by_hand() -> None:
    confidence, correct = [0.1, 0.2, 0.3, 0.9], [0, 1, 1, 1]
    found = reliability_bins(confidence, correct, bins=2, binning="mass")
    assert [(b.confidence, b.accuracy.value) for b in found] == [
        (pytest.approx(0.15), 0.5),
        (pytest.approx(0.6), 1.0),
    ]
    assert expected_calibration_error(confidence, correct, bins=2, binning="mass") == pytest.approx(0.375)


def test_a_calibrated_model_has_almost_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.25, 1, 20_000)
    correct = rng.uniform(size=20_000) < confidence
    assert expected_calibration_error(confidence, correct) < 0.02
    assert expected_calibration_error(confidence, ~correct) > 0.2
    assert expected_calibration_error(confidence, correct, binning="mass") < 0.02


def test_the_interval_holds_the_error() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(size=200)
    value, low, high, n = calibration_interval(confidence, rng.uniform(size=200) < confidence)
    assert 0 <= low <= value <= high <= 1
    assert n == 200
    assert calibration_interval([0.5], [1])[1:] == (0.0, 1.0, 1)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_resampling_computes_the_same_error(binning: Any) -> None:
    rng = np.random.default_rng(2)
    confidence, correct = rng.uniform(size=57), (rng.uniform(size=57) < 0.5).astype(float)
    expected = expected_calibration_error(confidence, correct, bins=10, binning=binning)
    assert calibration._ece(confidence, correct, 10, binning) == pytest.approx(expected)


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=30)
    b = a + rng.normal(size=30)
    found = correlation(a, b)
    pearson, spearman = stats.pearsonr(a, b), stats.spearmanr(a, b)
    assert found.pearson.value == pytest.approx(pearson.statistic)
    assert found.pearson[1:3] == pytest.approx(tuple(pearson.confidence_interval()))
    assert (found.spearman, found.spearman_p) == pytest.approx((spearman.statistic, spearman.pvalue))
    assert np.isnan(correlation([1, 1, 1], [1, 2, 3]).pearson.value)


@given(POINTS)
def test_the_frontier_equals_brute_force(pairs: list[tuple[int, int]]) -> None:
    points = [Cost(str(i), cost, quality) for i, (cost, quality) in enumerate(pairs)]

    def beaten(p: Cost) -> bool:
        return any(
            o.cost <= p.cost and o.quality >= p.quality and (o.cost < p.cost or o.quality > p.quality)
            for o in points
        )

    assert {p.name for p in pareto_frontier(points)} == {p.name for p in points if not beaten(p)}


def test_frontiers_grow_with_time() -> None:
    points = [Cost("old", 2, 0.5, "2023-01"), Cost("new", 1, 0.6, "2024-01"), Cost("dear", 9, 0.9, "2024-01")]
    assert frontier_over_time(points).rows == (
        ("2023-01", "old", 2, 0.5),
        ("2024-01", "new", 1, 0.6),
        ("2024-01", "dear", 9, 0.9),
    )


def test_win_rates_are_counts_of_pairs() -> None:
    scores = {
        "a": {"x": 0.9, "y": 0.5, "z": 0.1},
        "b": {"x": 0.8, "y": 0.5, "z": None},
        "c": {"x": 0.7, "y": 0.1},
        "d": {"z": None},
    }
    # x: a beats b and c, b beats c; y: a and b tie and both beat c; z: only a has it, so nobody wins there.
    assert mean_win_rate(scores) == {
        "a": pytest.approx((1 + 0.75) / 2),
        "b": pytest.approx((0.5 + 0.75) / 2),
        "c": 0.0,
        "d": None,
    }
    assert mean_win_rate({"a": {"x": 1.0}, "b": {"x": 2.0}}, higher_is_better=False) == {"a": 1.0, "b": 0.0}
    assert set(mean_win_rate({name: {"x": 0.4, "y": 0.2} for name in "abc"}).values()) == {0.5}


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="2 confidences for 1 outcomes"):
        expected_calibration_error([0.5, 0.5], [1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability_bins([1.5], [1])


def test_the_table_has_the_bins() -> None:
    table = reliability_table([0.95, 0.9, 0.2], [1, 0, 1])
    assert [row[0] for row in table.rows] == ["0.10 to 0.20", "0.80 to 0.90", "0.90 to 1.00"]
