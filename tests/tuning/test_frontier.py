"""The frontier and the choice, against brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.evaluation.frontier import frontier
from steelyard.tuning.frontier import choose

SYSTEMS = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
    min_size=1,
)


@given(SYSTEMS)
def test_frontier_is_what_brute_force_says(systems: dict[str, tuple[int, int, int]]) -> None:
    quality = {name: float(q) for name, (q, _, _) in systems.items()}
    costs = {name: (float(a), float(b)) for name, (_, a, b) in systems.items()}
    front = frontier(quality, costs)
    for name in systems:
        strictly_beaten = any(
            quality[o] >= quality[name]
            and costs[o][0] <= costs[name][0]
            and costs[o][1] <= costs[name][1]
            and (quality[o], costs[o]) != (quality[name], costs[name])
            for o in systems
        )
        twin = any((quality[o], costs[o]) == (quality[name], costs[name]) for o in front)
        assert (name in front) == (not strictly_beaten and (twin and name in front))
        assert strictly_beaten or twin


def test_equal_systems_are_represented_once() -> None:
    assert frontier({"a": 1.0, "b": 1.0}, {"a": [1.0], "b": [1.0]}) == ["a"]


@pytest.mark.parametrize(
    ("target", "tolerance", "expected"),
    [(None, 0.0, "best"), (None, 0.05, "near"), (0.3, 0.0, "poor"), (0.99, 0.05, "near")],
)
def test_choice_is_the_cheapest_good_enough(target: float | None, tolerance: float, expected: str) -> None:
    quality = {"best": 0.80, "near": 0.76, "poor": 0.30}
    cost = {"best": 3.0, "near": 2.0, "poor": 1.0}
    assert choose(quality, cost, tolerance=tolerance, target=target) == expected
