from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from steelyard.models.length_batches import length_batches


def cost(batches: list[list[int]], lengths: list[int], pass_tokens: int) -> int:
    return sum(len(batch) * max(lengths[i] for i in batch) + pass_tokens for batch in batches)


def least(lengths: list[int], pass_tokens: int) -> int:
    """The least cost of any way to cut the sorted rows, by trying all."""
    rows = sorted(lengths, reverse=True)
    costs = []
    for cuts in range(2 ** (len(rows) - 1)):
        edges = [0, *(i + 1 for i in range(len(rows) - 1) if cuts >> i & 1), len(rows)]
        costs.append(sum((b - a) * rows[a] + pass_tokens for a, b in pairwise(edges)))
    return min(costs)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(0, 60))
def test_no_way_to_cut_costs_less(lengths: list[int], pass_tokens: int) -> None:
    batches = length_batches(lengths, 10_000, pass_tokens)
    assert cost(batches, lengths, pass_tokens) == least(lengths, pass_tokens)


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 1000))
def test_every_row_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = length_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_a_hundred_thousand_rows_take_no_time_worth_naming() -> None:
    lengths = [(7919 * i) % 2000 + 1 for i in range(100_000)]
    batches = length_batches(lengths, 4096)
    assert cost(batches, lengths, 0) < 1.01 * sum(lengths)
