"""Orders out of comparisons and small permutations: algorithms that ask and are told, for many lists at once.

Each algorithm is a generator: it yields what it wants to know, is sent the answers, and returns its result.
:func:`lockstep` runs those of many queries together, so that a model is asked in few and large batches although
what is asked next depends on what was answered before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias, TypeVar

Ask = TypeVar("Ask")
Reply = TypeVar("Reply")
Result = TypeVar("Result")

Pair: TypeAlias = tuple[int, int]
Comparing: TypeAlias = Generator[list[Pair], list[float], list[float]]
"""Yields pairs (i, j), is sent for each 1 where i is better, 0 where j is, 0.5 for a tie; returns n scores."""
Permuting: TypeAlias = Generator[list[int], list[int], list[int]]
"""Yields the items of a window as they stand, is sent the same items best first; returns all items, best first."""


def all_pairs(n: int) -> Comparing:
    """Compare every pair once; an item's score is its wins plus half its ties. n(n-1)/2 comparisons.

    Source: Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting, section 3.3.
    """
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    outcomes = yield pairs
    scores = [0.0] * n
    for (i, j), outcome in zip(pairs, outcomes, strict=True):
        scores[i] += outcome
        scores[j] += 1.0 - outcome
    return scores


def heapsort(n: int) -> Comparing:
    """Heapsort, in which an item rises only where it wins; O(n log n) comparisons, one after the other.

    Source: as :func:`all_pairs`, section 3.4.
    """
    heap = list(range(n))

    def sift(root: int, end: int) -> Generator[list[Pair], list[float], None]:
        while (child := 2 * root + 1) < end:
            if child + 1 < end and (yield [(heap[child + 1], heap[child])])[0] == 1.0:
                child += 1
            if (yield [(heap[child], heap[root])])[0] != 1.0:
                return
            heap[root], heap[child] = heap[child], heap[root]
            root = child

    for root in range(n // 2 - 1, -1, -1):
        yield from sift(root, n)
    for end in range(n - 1, 0, -1):
        heap[0], heap[end] = heap[end], heap[0]
        yield from sift(0, end)
    return places(heap[::-1])


def sliding_passes(n: int, passes: int) -> Comparing:
    """``passes`` passes from the last item to the first, neighbours changing places where the later one wins.

    After pass p the best p items stand in front, as in bubble sort; (n-1) + (n-2) + ... comparisons, since a pass
    need not look at the places that earlier ones settled.

    Source: as :func:`all_pairs`, section 3.5.
    """
    order = list(range(n))
    for settled in range(min(passes, n - 1)):
        for place in range(n - 1, settled, -1):
            if (yield [(order[place], order[place - 1])])[0] == 1.0:
                order[place - 1], order[place] = order[place], order[place - 1]
    return places(order)


def sliding_windows(n: int, size: int, step: int) -> Permuting:
    """Order windows of ``size`` items from the end of the list to its front, each ``step`` further up.

    The best ``size - step`` items of a window go along into the next. The last window begins at the first item.

    Source: Is ChatGPT Good at Search?, section 3.2. (The released loop ends without the first items where the
    steps do not come out at 0.)
    """
    order = list(range(n))
    start = n - size
    while n:
        first = max(0, start)
        order[first : start + size] = yield order[first : start + size]
        if start <= 0:
            break
        start -= step
    return order


def places(order: Sequence[int]) -> list[float]:
    """Scores that say no more than an order does: 1 for the first, then 1/2, 1/3 ...

    >>> places([2, 0, 1])
    [0.5, 0.3333333333333333, 1.0]
    """
    scores = [0.0] * len(order)
    for place, number in enumerate(order, start=1):
        scores[number] = 1.0 / place
    return scores


def lockstep(
    workers: Sequence[Generator[Ask, Reply, Result]],
    answer: Callable[[list[tuple[int, Ask]]], Sequence[Reply]],
) -> list[Result]:
    """Run generators side by side: ``answer`` is given what all that still run ask, each with its number.

    >>> def descending(asked):
    ...     return [sorted(items, reverse=True) for _, items in asked]
    >>> lockstep([sliding_windows(3, 3, 1)], descending)
    [[2, 1, 0]]
    """
    results: dict[int, Result] = {}
    asked: dict[int, Ask] = {}

    def advance(number: int, step: Callable[[], Ask]) -> None:
        try:
            asked[number] = step()
        except StopIteration as stop:
            results[number] = stop.value

    for number, worker in enumerate(workers):
        advance(number, worker.__next__)
    while asked:
        questions = list(asked.items())
        asked.clear()
        for (number, _), reply in zip(questions, answer(questions), strict=True):
            advance(number, lambda number=number, reply=reply: workers[number].send(reply))  # type: ignore[misc]
    return [results[number] for number in range(len(workers))]
