from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import UsageError
from steelyard.evaluation.mauve import _jackknife_variance, frontier_area, mauve, quantise


def test_equal_histograms_have_area_one_and_disjoint_ones_nearly_none() -> None:
    assert frontier_area([3, 1, 2], [6, 2, 4]) == pytest.approx(1.0)
    # the frontier is ((1 - w)^5, w^5), whose area is 5 B(6, 5) = 1/252; 25 points draw it a little higher
    assert frontier_area([1, 0], [0, 1]) == pytest.approx(1 / 252, abs=5e-4)


def test_the_area_is_the_integral_of_the_frontier() -> None:
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    w = np.linspace(0, 1, 20001)[1:-1, None]
    mixture = w * p + (1 - w) * q
    x = np.exp(-5 * (q * np.log(q / mixture)).sum(axis=1))
    y = np.exp(-5 * (p * np.log(p / mixture)).sum(axis=1))
    # beyond the ends of the curve the frontier goes to (0, 1) and (1, 0) in straight lines
    exact = np.trapezoid(y[::-1], x[::-1]) if x[0] > x[-1] else np.trapezoid(y, x)
    low, high = min(x), max(x)
    exact += low * (1 + max(y)) / 2 + (1 - high) * min(y) / 2
    assert frontier_area(p, q) == pytest.approx(float(exact), abs=2e-3)
    assert frontier_area(p, q) == pytest.approx(frontier_area(q, p))


def test_the_jackknife_equals_leaving_out_one_text_after_another() -> None:
    first, second = np.array([4.0, 2.0, 1.0]), np.array([1.0, 3.0, 3.0])
    labels = [0, 0, 0, 0, 1, 1, 2]
    areas = []
    for left in labels:
        kept = first.copy()
        kept[left] -= 1
        areas.append(frontier_area(kept, second))
    n = len(labels)
    expected = (n - 1) / n * np.square(np.array(areas) - np.mean(areas)).sum()
    assert _jackknife_variance(first, second, 0) == pytest.approx(float(expected))


def test_near_clouds_score_higher_than_far_ones() -> None:
    rng = np.random.default_rng(0)
    people = rng.normal(size=(60, 8)) + 3.0
    near, far = rng.normal(size=(60, 8)) + 3.0, rng.normal(size=(60, 8)) - 3.0
    close, distant = mauve(people, near), mauve(people, far)
    assert close.value > 0.6
    assert distant.value < 0.05
    assert close.low <= close.value <= close.high
    assert mauve(people, near) == close


def test_clusters_are_a_tenth_of_the_smaller_side() -> None:
    rng = np.random.default_rng(1)
    assert quantise(rng.normal(size=(60, 4)), rng.normal(size=(40, 4))).clusters == 4
    assert quantise(np.ones((3, 2)), np.ones((3, 2))).clusters == 1
    with pytest.raises(UsageError, match="two texts a side"):
        quantise(np.ones((1, 2)), np.ones((3, 2)))
