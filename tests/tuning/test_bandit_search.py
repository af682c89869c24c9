"""Bandit search: that it names the exhaustive winner for fewer cells, and what its record says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import UsageError
from steelyard.tuning.bandit_search import predicted_difference
from steelyard.tuning.frontier import choose
from steelyard.tuning.search import Rules, Search
from steelyard.tuning.strategies import STRATEGIES, search

BANDITS = ("ucb-e", "ucb-e-lrf")
QUICK = Rules(completions=500)


def found_in(table: np.ndarray, cost: Sequence[float], rules: Rules, strategy: str) -> Search:
    names = [f"c{i}" for i in range(len(table))]

    def measure(alive: Sequence[str], at: Sequence[int]) -> dict[str, list[float]]:
        return {name: [float(table[names.index(name), i]) for i in at] for name in alive}

    return search(dict(zip(names, cost, strict=True)), [1.0] * table.shape[1], measure, rules, strategy)


def chosen(found: Search, cost: Mapping[str, float], rules: Rules) -> str:
    means = {name: float(np.mean(list(found.quality[name].values()))) for name in found.survivors}
    return choose(means, {name: cost[name] for name in means}, tolerance=rules.tolerance, target=rules.target)


def related(rates: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Systems that find the same samples hard."""
    hard = rng.random(samples)
    return np.array([(0.7 * hard + 0.3 * rng.random(samples)) < rate for rate in rates]) * 1.0


@pytest.mark.parametrize("strategy", BANDITS)
def test_the_exhaustive_winner_is_rarely_lost(strategy: str) -> None:
    """Twelve systems, the best five points ahead: nearly always the same winner, for half the cells."""
    lost = cells = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = related(np.r_[0.55, 0.5 - 0.2 * rng.random(11)], 132, rng)
        prices = rng.random(12)
        cost = {f"c{i}": float(price) for i, price in enumerate(prices)}
        full = choose({n: float(table[i].mean()) for i, n in enumerate(cost)}, cost, tolerance=0.02)
        found = found_in(table, prices, QUICK, strategy)
        lost += chosen(found, cost, QUICK) != full
        cells += found.cells
    assert lost <= 2
    assert cells < 0.55 * 20 * 12 * 132


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), strategy=st.sampled_from(sorted(STRATEGIES)))
def test_nothing_is_measured_twice_and_the_record_is_whole(seed: int, strategy: str) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(5)]
    table = (rng.random((5, 60)) < rng.random((5, 1))) * 1.0
    asked: list[tuple[str, int]] = []

    def measure(alive: Sequence[str], at: Sequence[int]) -> dict[str, list[float]]:
        asked.extend((name, i) for name in alive for i in at)
        return {name: [float(table[names.index(name), i]) for i in at] for name in alive}

    found = search({name: float(rng.random()) for name in names}, [1.0] * 60, measure, QUICK, strategy)
    assert len(asked) == len(set(asked)) == found.cells
    for name, known in found.quality.items():
        assert all(known[i] == table[names.index(name), i] for i in known)
        assert (len(known) == 60) == (name in found.survivors) != (name in found.drops)
    assert found.survivors
    best = max(found.survivors, key=lambda name: float(np.mean(list(found.quality[name].values()))))
    assert all(drop.leader in found.survivors for drop in found.drops.values()) or strategy == "elimination"
    assert best in found.survivors


@pytest.mark.parametrize("strategy", BANDITS)
def test_the_same_seed_asks_the_same(strategy: str) -> None:
    table = related(np.linspace(0.3, 0.7, 6), 80, np.random.default_rng(1))
    first, second = (found_in(table, range(6), QUICK, strategy) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("strategy", BANDITS)
def test_equal_systems_are_measured_until_the_choice_is_settled(strategy: str) -> None:
    """Two that are always right and wrong together: the cheaper is handed over, and must be measured in full."""
    row = (np.random.default_rng(0).random(100) < 0.6) * 1.0
    found = found_in(np.array([row, row, 0 * row]), [2.0, 1.0, 0.5], QUICK, strategy)
    assert "c1" in found.survivors
    assert found.drops["c2"].behind > 0
    assert found.risk is not None
    assert found.risk <= QUICK.risk


def test_a_dear_best_is_measured_since_it_says_what_is_enough() -> None:
    table = related(np.array([0.9, 0.6, 0.55]), 200, np.random.default_rng(3))
    found = found_in(table, [3.0, 2.0, 1.0], QUICK, "ucb-e")
    assert found.survivors == ("c0",)


def test_scores_of_any_scale_are_searched() -> None:
    """Bits per byte, negated: bounds are scaled to the range seen."""
    rng = np.random.default_rng(2)
    table = -np.array([[1.0], [1.3], [2.0], [2.2]]) - 0.2 * rng.random((4, 100))
    found = found_in(table, [4.0, 3.0, 2.0, 1.0], Rules(completions=500, tolerance=0.05), "ucb-e")
    assert found.survivors == ("c0",)
    assert found.cells < 250


def test_predicted_differences_are_what_the_urn_expects() -> None:
    """Two even results and one unseen: each seen difference weighs 1, a lone success and a lone failure 1 each."""
    rules = Rules(completions=40_000, doubt=4.0)
    drawn = predicted_difference(np.zeros(2), 3, 1.0, rules, np.random.default_rng(0))
    assert (drawn > 0).mean() == pytest.approx(1 / 4, abs=0.01)
    assert (drawn < 0).mean() == pytest.approx(1 / 4, abs=0.01)


def test_unknown_strategies_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'ucb-e'"):
        search({"a": 1.0}, [1.0], lambda names, at: {}, Rules(), "ucbe")
