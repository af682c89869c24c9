"""Fusion of ranked lists: by reciprocal ranks, or by scaled scores."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def reciprocal_rank_fusion(lists: Sequence[Sequence[K]], constant: float = 60.0) -> dict[K, float]:
    """Sum over lists of 1 / (constant + rank), ranks from 1; what a list does not hold gets nothing from it.

    >>> fused = reciprocal_rank_fusion([["a", "b"], ["b"]])
    >>> max(fused, key=fused.__getitem__)
    'b'

    Source: "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods" (Cormack, Clarke
        and Büttcher, 2009).
    """
    fused: dict[K, float] = {}
    for ranked in lists:
        for rank, key in enumerate(ranked, start=1):
            fused[key] = fused.get(key, 0.0) + 1.0 / (constant + rank)
    return fused


def weighted_fusion(lists: Sequence[Mapping[K, float]], weights: Sequence[float]) -> dict[K, float]:
    """Sum over lists of weight times score, scores scaled so that a list's lowest is 0 and its highest 1.

    What a list does not hold gets 0 from it, as its lowest does. A list of equal scores gives 1 to all.

    >>> weighted_fusion([{"a": 4.0, "b": 2.0}, {"b": 0.9}], [0.5, 0.5])
    {'a': 0.5, 'b': 0.5}
    """
    fused: dict[K, float] = {}
    for scores, weight in zip(lists, weights, strict=True):
        low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
        for key, score in scores.items():
            scaled = (score - low) / (high - low) if high > low else 1.0
            fused[key] = fused.get(key, 0.0) + weight * scaled
    return fused
