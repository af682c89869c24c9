from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from steelyard.contracts import Interval, Marks
from steelyard.evaluation.statistics import (
    clustered_interval,
    effective_size,
    interval_record,
    mean_interval,
    paired_difference,
    ratio_interval,
    wilson_interval,
)
from steelyard.evaluation.summary import summarise_marks


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 12), (7, 12), (12, 12), (331, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_equals_scipy(k: int, n: int, level: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson_interval(k, n, level=level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mean_of_zeros_and_ones_is_wilson() -> None:
    interval = mean_interval([1, 1, 0, 1])
    assert interval[:1] + interval[3:] == (0.75, 4)
    assert interval[1:3] == wilson_interval(3, 4)
    assert mean_interval([0, 0, 0]).low == 0
    assert mean_interval([0, 0, 0]).high > 0.3


def test_weights_of_zeros_and_ones_count_through_the_effective_size() -> None:
    assert effective_size([2, 2, 2]) == pytest.approx(3)
    assert effective_size([1, 0.5]) == pytest.approx(1.5**2 / 1.25)
    interval = mean_interval([1, 0], [3, 1])
    assert interval.value == 0.75
    assert interval[1:3] == pytest.approx(wilson_interval(0.75 * 1.6, 1.6))
    assert mean_interval([1, 1, 1], [0.1, 0.2, 0.3]).high == 1


def test_t_equals_scipy() -> None:
    values = np.random.default_rng(0).normal(3, 2, 17)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values, method="t")[1:3] == pytest.approx(tuple(expected))


def test_bca_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).exponential(1, 40)
    ours = mean_interval(values, method="bootstrap", resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours[1:3] == pytest.approx(tuple(theirs), abs=0.02)
    assert ours == mean_interval(values, method="bootstrap", resamples=20_000)  # seeded
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_bounds_and_single_samples() -> None:
    assert mean_interval([0.4], bounds=(0, 1)) == Interval(0.4, 0, 1, 1)
    assert mean_interval([0.4]) == Interval(0.4, -math.inf, math.inf, 1)
    assert mean_interval([0.5, 1, 1, 1], bounds=(0, 1), method="t").high == 1
    assert ratio_interval([3], [2]) == Interval(1.5, -math.inf, math.inf, 1)
    assert interval_record(Interval(1.5, -math.inf, math.inf, 1)) == {
        "value": 1.5,
        "low": None,
        "high": None,
        "n": 1,
    }


def test_clusters_of_one_are_independent_samples() -> None:
    values = np.random.default_rng(3).normal(size=30)
    alone = clustered_interval(values, list(range(30)))
    assert alone[1:3] == pytest.approx(mean_interval(values, method="t")[1:3])


def test_repeating_every_sample_does_not_narrow_a_clustered_interval() -> None:
    values = np.random.default_rng(4).normal(size=20)
    clusters = list(range(20))
    once = clustered_interval(values, clusters)
    thrice = clustered_interval(np.tile(values, 3), clusters * 3)
    assert thrice[1:3] == pytest.approx(once[1:3])
    assert clustered_interval([1.0, 0.0], ["a", "a"]).high == math.inf


def test_ratio_by_hand() -> None:
    interval = ratio_interval([2, 3, 7], [1, 2, 3])
    assert interval.value == 2
    residuals = np.array([0, -1, 1])
    half = stats.t.ppf(0.975, 2) * math.sqrt(3 / 2 * float((residuals**2).sum())) / 6
    assert interval[1:3] == pytest.approx((2 - half, 2 + half))


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0.5, 50), st.integers(1, 4)),
        min_size=2,
        max_size=12,
    )
)
def test_a_ratio_lies_in_its_interval_and_ignores_order(rows: list[tuple[float, float, int]]) -> None:
    a, b, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    value, low, high, n = ratio_interval(a, b, w)
    assert low <= value <= high
    assert n == len(rows)
    assert value == pytest.approx(float((w * a).sum() / (w * b).sum()))
    assert ratio_interval(a[::-1], b[::-1], w[::-1])[:3] == pytest.approx((value, low, high))


def test_paired_difference_of_measurements_equals_scipy() -> None:
    rng = np.random.default_rng(5)
    a = rng.normal(size=25)
    b = a + rng.normal(0.3, 0.5, size=25)
    expected = stats.ttest_rel(a, b).confidence_interval()
    assert paired_difference(a, b)[1:3] == pytest.approx(tuple(expected))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there[:3] == pytest.approx((-back.value, -back.high, -back.low))


def test_paired_difference_of_zeros_and_ones_by_hand() -> None:
    # 3 pairs up, 1 down, 6 alike: p12 = 4/12, p21 = 2/12.
    a = [1, 1, 1, 0, 1, 1, 1, 0, 0, 0]
    b = [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    half = 1.959963984540054 * math.sqrt((4 / 12 + 2 / 12 - (2 / 12) ** 2) / 12)
    interval = paired_difference(a, b)
    assert interval == pytest.approx((0.2, 2 / 12 - half, 2 / 12 + half, 10))
    alike = paired_difference([1, 0], [1, 0])
    assert alike.low < 0 < alike.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "at least one value"),
        (lambda: mean_interval([1.0, math.nan]), "finite values"),
        (lambda: mean_interval([1.0], [0.0]), "weights must be positive"),
        (lambda: mean_interval([1.0, 2.0], [1.0]), "1 weights for 2 values"),
        (lambda: mean_interval([0.5], method="wilson"), "0 or 1"),
        (lambda: ratio_interval([1, 2], [1, 0]), "denominators must be positive"),
        (lambda: paired_difference([1, 2], [1]), "cannot be paired"),
        (lambda: wilson_interval(0, 0), "at least one sample"),
        (lambda: mean_interval([0, 1], level=1.0), "level"),
    ],
)
def test_wrong_arguments(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


TRIALS = 600


def coverage(covered: list[bool]) -> float:
    return sum(covered) / len(covered)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    wilson, bootstrap, ratio, clustered = [], [], [], []
    for trial in range(TRIALS):
        hits = mean_interval((rng.random(40) < 0.2).astype(float))
        wilson.append(hits.low <= 0.2 <= hits.high)
        skewed = mean_interval(rng.beta(0.5, 1.5, 60), seed=trial, resamples=400)
        bootstrap.append(skewed.low <= 0.25 <= skewed.high)
        sizes = rng.integers(20, 200, 50)
        rate = ratio_interval(rng.poisson(1.3 * sizes).astype(float) + rng.normal(0, 10, 50), sizes)
        ratio.append(rate.low <= 1.3 <= rate.high)
        effects = np.repeat(rng.normal(0, 1, 20), 5)
        grouped = clustered_interval(effects + rng.normal(0, 0.5, 100), np.repeat(np.arange(20), 5).tolist())
        clustered.append(grouped.low <= 0 <= grouped.high)
    for covered in (wilson, bootstrap, ratio, clustered):
        assert 0.91 < coverage(covered) < 0.985


def test_paired_intervals_cover_the_true_difference() -> None:
    rng = np.random.default_rng(12)
    binary, real = [], []
    for _ in range(TRIALS):
        skill = rng.random(50)
        a = (skill + rng.normal(0, 0.2, 50) > 0.4).astype(float)
        b = (skill + rng.normal(0, 0.2, 50) > 0.5).astype(float)
        # skill is uniform and the noise symmetric and small: the true difference is about 0.1
        one = paired_difference(a, b)
        binary.append(one.low <= 0.1 <= one.high)
        two = paired_difference(skill + 0.2 + rng.normal(0, 0.2, 50), skill)
        real.append(two.low <= 0.2 <= two.high)
    assert 0.91 < coverage(binary) < 0.995
    assert 0.92 < coverage(real) < 0.985


def test_summaries() -> None:
    marks = [
        Marks({"accuracy": 1.0, "f1": 0.5}),
        Marks({"accuracy": 0.0}),
        Marks({"accuracy": 1.0, "f1": 1.0}),
    ]
    summary = summarise_marks(marks, [1, 2, 1])
    assert summary["accuracy"].value == 0.5
    assert summary["f1"].value == 0.75
    assert summary["f1"].n == 2
    assert 0 <= summary["f1"].low <= 0.75 <= summary["f1"].high <= 1
    assert summarise_marks([], []) == {}
    one = summarise_marks([Marks({"bits_per_byte": 2.0}, weights={"bits_per_byte": 9})], [1])
    assert one["bits_per_byte"] == Interval(2.0, 0.0, math.inf, 1)
    assert one["byte_perplexity"] == Interval(4.0, 1.0, math.inf, 1)
    with pytest.raises(ValueError, match="no denominator"):
        summarise_marks([Marks({"r": 1.0}, weights={"r": 2}), Marks({"r": 1.0})], [1, 1])


def test_nearly_equal_values_have_a_finite_interval() -> None:
    value, low, high, _ = mean_interval([1.0, 1.0 + 1e-160, 1.0, 1.0 + 2e-16])
    assert low <= value <= high
    value, low, high, _ = mean_interval([1e-200, 2e-200, 1e-200])
    assert low <= value <= high
