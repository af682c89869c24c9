"""Successive elimination: what it spends, whom it drops, and that it rarely drops the best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.tuning.elimination import Rules, Search, schedule, search


def table_search(
    table: Mapping[str, Sequence[float]], costs: Mapping[str, Sequence[float]], rules: Rules = Rules()
) -> Search:
    n = len(next(iter(table.values())))
    return search(costs, [1.0] * n, lambda names, at: {k: [table[k][i] for i in at] for k in names}, rules)


def bernoulli(rate: float, n: int, seed: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(n) < rate]


@given(samples=st.integers(1, 5000), first=st.integers(1, 64))
def test_schedule_grows_and_ends_with_every_sample(samples: int, first: int) -> None:
    sizes = schedule(samples, first)
    assert sizes[-1] == samples
    assert all(a < b for a, b in itertools.pairwise(sizes))


def test_a_hopeless_candidate_is_dropped_although_it_is_cheaper() -> None:
    table = {"good": bernoulli(0.9, 200, 1), "bad": bernoulli(0.2, 200, 2)}
    found = table_search(table, {"good": [2.0], "bad": [1.0]})
    assert found.drops["bad"].hopeless
    assert found.drops["bad"].rival == "good"
    assert found.survivors == ("good",)
    assert found.cells < 400


def test_a_dominated_candidate_is_dropped_for_a_smaller_difference() -> None:
    best = bernoulli(0.6, 400, 1)
    worse = [v if i % 12 else 0.0 for i, v in enumerate(best)]  # loses five points, never wins
    found = table_search({"best": best, "worse": worse}, {"best": [1.0], "worse": [1.0]})
    assert not found.drops["worse"].hopeless
    kept = table_search({"best": best, "worse": worse}, {"best": [1.0], "worse": [0.5]})
    assert not kept.drops, "cheaper and only a little worse: the frontier wants it"


def test_equal_candidates_are_all_measured_in_full() -> None:
    same = bernoulli(0.5, 120, 3)
    found = table_search({"a": same, "b": same, "c": same}, {"a": [1.0], "b": [2.0], "c": [3.0]})
    assert found.survivors == ("a", "b", "c")
    assert found.cells == 360


@pytest.mark.parametrize("gap", [0.0, 0.02])
def test_the_best_is_rarely_dropped(gap: float) -> None:
    """Twelve near-equal candidates, 200 searches: the truly best leaves early in at most 5% of them."""
    lost = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        difficulty = rng.random(120)
        names = [f"c{i}" for i in range(12)]
        rates = {name: 0.5 + (gap if name == "c0" else 0.0) for name in names}
        table = {n: [float(x) for x in (0.7 * difficulty + 0.3 * rng.random(120)) < rates[n]] for n in names}
        lost += "c0" in table_search(table, {n: [1.0] for n in names}, Rules(seed=seed)).drops
    assert lost <= 10


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_nothing_is_measured_twice_and_survivors_have_every_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(5)]
    table = {n: [float(x) for x in rng.random(100) < rng.random()] for n in names}
    asked: list[tuple[str, int]] = []

    def measure(alive: Sequence[str], at: Sequence[int]) -> dict[str, list[float]]:
        asked.extend((n, i) for n in alive for i in at)
        return {n: [table[n][i] for i in at] for n in alive}

    found = search({n: [float(rng.random())] for n in names}, [1.0] * 100, measure, Rules())
    assert len(asked) == len(set(asked)) == found.cells
    assert all(len(found.quality[n]) == 100 for n in found.survivors)
    assert set(found.survivors) | set(found.drops) == set(names)
    assert found.survivors
