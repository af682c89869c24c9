"""The choice of what is handed over: the cheapest candidate that does well enough."""

from __future__ import annotations

from collections.abc import Mapping


def choose(
    quality: Mapping[str, float], cost: Mapping[str, float], *, tolerance: float, target: float | None = None
) -> str:
    """The cheapest candidate that does well enough.

    Well enough is a quality of at least ``target`` where one is given and reached by anyone, otherwise a
    quality within ``tolerance`` of the best. Ties go to the better one, then to the first.

    >>> choose({"a": 0.60, "b": 0.59, "c": 0.4}, {"a": 2.0, "b": 1.0, "c": 0.5}, tolerance=0.02)
    'b'
    """
    best = max(quality.values())
    floor = best - tolerance
    if target is not None and best >= target:
        floor = target
    enough = [name for name in quality if quality[name] >= floor - 1e-12]
    return min(enough, key=lambda name: (cost[name], -quality[name]))
