from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from steelyard.evaluation.significance import (
    EXACT_UP_TO,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    permutation_test,
    rank_stability,
)


@pytest.mark.parametrize(("up", "down", "alike"), [(0, 0, 5), (5, 0, 1), (9, 2, 30), (3, 3, 0), (700, 600, 10)])
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(up: int, down: int, alike: int) -> None:
    a = np.array([1] * up + [0] * down + [1] * alike)
    b = np.array([0] * up + [1] * down + [1] * alike)
    expected = stats.binomtest(up, up + down).pvalue if up + down else 1.0
    assert mcnemar_exact(a, b) == pytest.approx(expected)
    assert mcnemar_exact(b, a) == pytest.approx(expected)


@settings(max_examples=40)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_permutation_test_equals_brute_force(differences: list[int]) -> None:
    d = np.array(differences, dtype=float)
    patterns = np.array(list(itertools.product([1, -1], repeat=len(d))))
    expected = float((np.abs(patterns @ d) >= abs(d.sum()) - 1e-9).mean())
    assert permutation_test(d) == pytest.approx(expected)


@settings(max_examples=30)
@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=16))
def test_on_zeros_and_ones_the_permutation_test_is_mcnemar(differences: list[int]) -> None:
    a = [max(d, 0) for d in differences]
    b = [max(-d, 0) for d in differences]
    assert permutation_test(differences) == pytest.approx(mcnemar_exact(a, b))


def test_drawn_permutations_are_seeded_and_near_the_exact_value() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(0.35, 1, EXACT_UP_TO + 14)
    p = permutation_test(d)
    assert p == permutation_test(d)
    assert p == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.02)
    assert permutation_test(np.ones(100)) == 1 / 10_000
    assert permutation_test(d * 1000) == pytest.approx(p)


def test_false_claims_are_as_rare_as_stated() -> None:
    rng = np.random.default_rng(1)
    skewed = [permutation_test(rng.normal(size=12) ** 3) <= 0.05 for _ in range(400)]
    paired = [mcnemar_exact(rng.random(40) < 0.5, rng.random(40) < 0.5) <= 0.05 for _ in range(400)]
    assert sum(skewed) / 400 < 0.08
    assert sum(paired) / 400 < 0.07


def test_holm_by_hand_and_properties() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    order = np.argsort(p, kind="stable")
    assert all(a >= q for a, q in zip(adjusted, p, strict=True))
    assert all(a <= min(1.0, q * len(p)) + 1e-12 or a <= max(adjusted) for a, q in zip(adjusted, p, strict=True))
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)
    assert min(adjusted) == pytest.approx(min(1.0, min(p) * len(p)))


def test_minimum_detectable_difference_is_detected_with_the_stated_power() -> None:
    gap = minimum_detectable_difference(64, 0.8, power=0.8)
    assert gap == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 0.8 / 8)
    rng = np.random.default_rng(2)
    means = rng.normal(gap, 0.8, (4000, 64)).mean(axis=1)
    assert float((np.abs(means) > stats.norm.ppf(0.975) * 0.1).mean()) == pytest.approx(0.8, abs=0.03)


def test_rank_stability() -> None:
    rng = np.random.default_rng(3)
    strong, weak = (rng.random((2, 200)) < [[0.9], [0.1]]).astype(float)
    first, above = rank_stability([strong, weak, strong])
    assert first == pytest.approx([0.5, 0.0, 0.5])
    assert above[0, 1] == 1
    assert above[0, 2] == 0.5
    assert above + above.T == pytest.approx(np.ones((3, 3)))
    close = rank_stability([[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]]).first
    assert 0.5 < close[0] < 0.9
    assert close.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mcnemar_exact([0.5], [1]),
        lambda: mcnemar_exact([0, 1], [1]),
        lambda: permutation_test([np.nan]),
        lambda: holm([1.5]),
        lambda: minimum_detectable_difference(0, 1.0),
        lambda: minimum_detectable_difference(5, 1.0, power=1.0),
        lambda: rank_stability([1.0, 2.0]),
    ],
)
def test_wrong_arguments(call: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        call()  # type: ignore[operator]
