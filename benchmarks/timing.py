"""Interleaved timing of two ways to do the same: what every script here prints is a ratio from one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def compare(name: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 5) -> None:
    """Run both in turns and print the median of ``theirs / ours``, and the spread of that ratio."""
    ours()
    theirs()
    ratios, mine, others = [], [], []
    for _ in range(rounds):
        a = seconds(ours)
        b = seconds(theirs)
        mine.append(a)
        others.append(b)
        ratios.append(b / a)
    spread = f"from {min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds"
    print(
        f"{name}: {statistics.median(ratios):.2f}x ({spread}; "
        f"median {statistics.median(mine):.3f} s against {statistics.median(others):.3f} s)"
    )


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
