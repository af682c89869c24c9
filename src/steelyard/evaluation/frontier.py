"""The frontier of quality against cost: what no other beats or equals at the same or a lower price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def frontier(quality: Mapping[str, float], costs: Mapping[str, Sequence[float]]) -> list[str]:
    """Candidates that no other beats or equals in quality at the same or a lower price, cheapest first.

    A price is a sequence of costs; to be cheaper is to be no dearer in each. Equal candidates are represented
    by the first.

    >>> frontier({"a": 0.5, "b": 0.6, "c": 0.4}, {"a": [1.0], "b": [2.0], "c": [1.5]})
    ['a', 'b']
    """
    names = list(quality)
    kept = []
    for position, name in enumerate(names):
        beaten = any(
            _beats(quality[other], costs[other], quality[name], costs[name], earlier=rank < position)
            for rank, other in enumerate(names)
            if other != name
        )
        if not beaten:
            kept.append(name)
    return sorted(kept, key=lambda name: (*costs[name], -quality[name]))


def _beats(
    quality: float, costs: Sequence[float], other_quality: float, other_costs: Sequence[float], *, earlier: bool
) -> bool:
    no_worse = quality >= other_quality and all(a <= b for a, b in zip(costs, other_costs, strict=True))
    better = quality > other_quality or any(a < b for a, b in zip(costs, other_costs, strict=True))
    return no_worse and (better or earlier)
