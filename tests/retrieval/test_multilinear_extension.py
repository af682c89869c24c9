"""The multilinear extension against the sum over all corpora."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import UsageError
from steelyard.retrieval.multilinear_extension import (
    Ranking,
    extension,
    extension_gradient,
    following_contributions,
    learn_importance,
    present_counts,
    sample_count,
    sampled_gradient,
)


def utility(present: tuple[int, ...], contributions: np.ndarray, k: int) -> float:
    return float(sum(contributions[i] for i in np.flatnonzero(present)[:k])) / k


def chance(present: tuple[int, ...], weights: np.ndarray) -> float:
    return float(np.prod(np.where(present, weights, 1 - weights)))


def enumerated(weights: np.ndarray, contributions: np.ndarray, k: int) -> float:
    corpora = itertools.product((0, 1), repeat=len(weights))
    return sum(chance(s, weights) * utility(s, contributions, k) for s in corpora)


def enumerated_gradient(weights: np.ndarray, contributions: np.ndarray, k: int) -> np.ndarray:
    """dF/dw_i is F with w_i = 1 less F with w_i = 0, F being linear in each weight."""
    found = []
    for i in range(len(weights)):
        ends = [weights.copy(), weights.copy()]
        ends[0][i], ends[1][i] = 0.0, 1.0
        found.append(enumerated(ends[1], contributions, k) - enumerated(ends[0], contributions, k))
    return np.array(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 10_000))
def test_value_and_gradient_equal_the_sum_over_all_corpora(size: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, contributions = rng.random(size), rng.normal(size=size)
    weights[rng.random(size) < 0.2] = rng.integers(2)
    assert extension(weights, contributions, k) == pytest.approx(enumerated(weights, contributions, k))
    gradient = extension_gradient(weights, contributions, k)
    assert gradient == pytest.approx(enumerated_gradient(weights, contributions, k), abs=1e-12)


def test_gradient_of_twelve_passages_equals_the_sum_over_4096_corpora() -> None:
    rng = np.random.default_rng(0)
    weights, contributions = rng.random(12), rng.integers(0, 2, 12).astype(float)
    expected = enumerated_gradient(weights, contributions, 3)
    assert extension_gradient(weights, contributions, 3) == pytest.approx(expected, abs=1e-12)


def test_the_tables_are_the_probabilities_they_claim_to_be() -> None:
    rng = np.random.default_rng(3)
    weights, contributions = rng.random(6), rng.normal(size=6)
    counts, following = present_counts(weights, 3), following_contributions(weights, contributions, 3)
    corpora = list(itertools.product((0, 1), repeat=6))
    for i, j in itertools.product(range(7), range(3)):
        assert counts[i, j] == pytest.approx(sum(chance(s, weights) for s in corpora if sum(s[:i]) == j))
    for i, m in itertools.product(range(6), (1, 2, 3)):
        expected = 0.0
        for s in corpora:
            behind = [place for place in range(i, 6) if s[place]]
            expected += chance(s, weights) * (contributions[behind[m - 1]] if len(behind) >= m else 0.0)
        assert following[i, m] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_sampled_gradient_stays_within_epsilon(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, contributions, k = rng.random(10), rng.random(10), 1 + seed
    exact = extension_gradient(weights, contributions, k)
    misses = 0
    for draw in range(20):
        found = sampled_gradient(weights, contributions, k, epsilon=0.05, delta=0.1, seed=draw)
        misses += int(abs(found - exact).max() > 0.05)
    assert misses <= 4  # at most one in ten is promised; far fewer happen
    assert abs(found - exact).max() > 0  # it is an estimate
    assert sample_count(contributions, k, epsilon=0.025, delta=0.1) >= 3.9 * sample_count(
        contributions, k, epsilon=0.05, delta=0.1
    )


def test_planted_bad_sources_get_the_lowest_weights_and_the_utility_rises() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 15)  # eight sources of 15 passages; the last two are wrong nine times in ten
    honest = np.where(groups >= 6, 0.1, 0.8)
    rankings = []
    for _ in range(60):
        items = rng.permutation(len(groups))[:20]
        rankings.append(Ranking(items, (rng.random(20) < honest[items]).astype(float)))
    found = learn_importance(rankings, groups, 3, rate=5.0, steps=40)
    by_source = [found.weights[groups == g] for g in range(8)]
    assert all(np.ptp(weights) == 0 for weights in by_source)
    assert set(np.argsort([w[0] for w in by_source])[:2].tolist()) == {6, 7}
    assert by_source[6][0] == 0.0
    assert found.history[-1] > found.history[0] + 0.1
    sampled = learn_importance(rankings[:15], groups, 3, rate=5.0, steps=8, epsilon=0.05, seed=1)
    exact = learn_importance(rankings[:15], groups, 3, rate=5.0, steps=8)
    assert abs(sampled.weights - exact.weights).max() < 0.1


def test_a_step_goes_uphill_for_single_passages() -> None:
    rng = np.random.default_rng(5)
    rankings = [Ranking(rng.permutation(12), rng.random(12)) for _ in range(10)]
    found = learn_importance(rankings, np.arange(12), 2, rate=0.5, steps=30)
    assert all(later >= now - 1e-12 for now, later in itertools.pairwise(found.history))
    with pytest.raises(UsageError, match="validation queries"):
        learn_importance([], np.arange(2), 2)
