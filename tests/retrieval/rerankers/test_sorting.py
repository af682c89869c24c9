from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.retrieval.rerankers.sorting import (
    Comparing,
    all_pairs,
    heapsort,
    lockstep,
    places,
    sliding_passes,
    sliding_windows,
)


def run(worker: Comparing, worth: list[float]) -> tuple[list[int], int]:
    """The order that an algorithm finds by a true comparator, and how often it compared."""
    count = 0

    def answer(asked: list[tuple[int, list[tuple[int, int]]]]) -> list[list[float]]:
        nonlocal count
        count += sum(len(pairs) for _, pairs in asked)
        return [
            [0.5 + 0.5 * ((worth[i] > worth[j]) - (worth[i] < worth[j])) for i, j in pairs] for _, pairs in asked
        ]

    scores = lockstep([worker], answer)[0]
    return sorted(range(len(worth)), key=lambda i: -scores[i]), count


permutations = st.integers(1, 24).flatmap(lambda n: st.permutations(range(n)))


@given(permutations)
def test_all_pairs_and_heapsort_find_the_true_order(worth: list[int]) -> None:
    ideal = sorted(range(len(worth)), key=lambda i: -worth[i])
    n = len(worth)
    assert run(all_pairs(n), worth) == (ideal, n * (n - 1) // 2)
    order, count = run(heapsort(n), worth)
    assert order == ideal
    assert count <= 2 * n * math.log2(n + 1) + n


@given(permutations, st.integers(1, 5))
def test_sliding_passes_find_the_best(worth: list[int], passes: int) -> None:
    n = len(worth)
    order, count = run(sliding_passes(n, passes), worth)
    ideal = sorted(range(n), key=lambda i: -worth[i])
    assert order[:passes] == ideal[:passes]
    assert sorted(order) == list(range(n))
    assert count == sum(n - 1 - p for p in range(min(passes, n - 1)))


def test_a_pass_moves_the_best_up_and_leaves_the_rest_in_order() -> None:
    assert run(sliding_passes(5, 1), [1, 0, 3, 2, 0])[0] == [2, 0, 1, 3, 4]


def test_ties_move_nothing() -> None:
    assert run(sliding_passes(4, 4), [1.0] * 4)[0] == [0, 1, 2, 3]
    assert lockstep([all_pairs(3)], lambda asked: [[0.5] * 3])[0] == [1.0, 1.0, 1.0]


def test_one_pass_of_windows_brings_the_top_ten_of_a_hundred_to_the_front() -> None:
    worth = random.Random(0).sample(range(100), 100)
    windows: list[int] = []

    def answer(asked: list[tuple[int, list[int]]]) -> list[list[int]]:
        windows.extend(len(items) for _, items in asked)
        return [sorted(items, key=lambda i: -worth[i]) for _, items in asked]

    order = lockstep([sliding_windows(100, 20, 10)], answer)[0]
    assert order[:10] == sorted(range(100), key=lambda i: -worth[i])[:10]
    assert sorted(order) == list(range(100))
    assert windows == [20] * 9  # 1 + (100 - 20) / 10


@pytest.mark.parametrize(("n", "sizes"), [(25, [20, 15]), (20, [20]), (3, [3]), (1, [1]), (0, [])])
def test_the_last_window_begins_at_the_front(n: int, sizes: list[int]) -> None:
    seen: list[int] = []

    def answer(asked: list[tuple[int, list[int]]]) -> list[list[int]]:
        seen.extend(len(items) for _, items in asked)
        return [items[::-1] for _, items in asked]

    order = lockstep([sliding_windows(n, 20, 10)], answer)[0]
    assert seen == sizes
    assert sorted(order) == list(range(n))


def test_workers_of_unequal_length_are_asked_together() -> None:
    rounds: list[list[int]] = []

    def answer(asked: list[tuple[int, list[int]]]) -> list[list[int]]:
        rounds.append([number for number, _ in asked])
        return [items[::-1] for _, items in asked]

    lockstep([sliding_windows(6, 4, 2), sliding_windows(4, 4, 2), sliding_windows(0, 4, 2)], answer)
    assert rounds == [[0, 1], [0]]
    assert places([]) == []
