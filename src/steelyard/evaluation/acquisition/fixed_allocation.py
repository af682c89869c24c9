"""Allocations that bandits are compared with: the same number of examples for all, and successive halving."""

from __future__ import annotations

import math

import numpy as np

from steelyard.evaluation.acquisition.score_cells import MeasureCells, Scores, fill, observed_means, unseen


def uniform_allocation(measure: MeasureCells, shape: tuple[int, int], budget: int, seed: int = 0) -> Scores:
    """Every method answers the same random examples, as many as ``budget`` cells allow (paired).

    A remainder smaller than the number of methods is not spent, since means on different examples are harder to
    compare. Returns the matrix with NaN where nothing was measured.
    """
    methods, examples = shape
    order = np.random.default_rng(seed).permutation(examples)[: budget // methods]
    seen = unseen(shape)
    if len(order):
        fill(seen, np.repeat(np.arange(methods), len(order)), np.tile(order, methods), measure)
    return seen


def successive_halving(measure: MeasureCells, shape: tuple[int, int], budget: int, seed: int = 0) -> Scores:
    """Split the budget over log2(methods) rounds; after each, the worse half of the methods leaves.

    In a round all methods left answer the same further examples. Returns the matrix as measured; the methods that
    stayed longest have the most examples, and the best is the best of the last.

    Source: Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", algorithm 1.
    """
    methods, examples = shape
    order = np.random.default_rng(seed).permutation(examples)
    seen, alive, asked = unseen(shape), np.arange(methods), 0
    rounds = max(1, math.ceil(math.log2(methods)))
    for _ in range(rounds):
        more = order[asked : asked + budget // (len(alive) * rounds)]
        if len(more):
            fill(seen, np.repeat(alive, len(more)), np.tile(more, len(alive)), measure)
        asked += len(more)
        if len(alive) > 1:
            ranked = alive[np.argsort(-observed_means(seen)[alive], kind="stable")]
            alive = np.sort(ranked[: math.ceil(len(alive) / 2)])
    return seen


def longest_best(seen: Scores) -> int:
    """The method with the best mean among those with the most examples: what successive halving returns."""
    counts = (~np.isnan(seen)).sum(axis=1)
    return int(np.where(counts == counts.max(), observed_means(seen), -np.inf).argmax())
