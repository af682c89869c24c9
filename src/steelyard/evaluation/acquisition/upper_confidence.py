"""Which cells to measure next when the best method is sought: upper confidence bounds over a score matrix.

Pure functions of what has been measured, one step each; :mod:`steelyard.evaluation.acquisition.bandit_evaluation`
repeats them within a budget.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from steelyard.evaluation.acquisition.low_rank import LowRank, predict
from steelyard.evaluation.acquisition.score_cells import Indices, Scores, observed_means, random_cells


class Step(NamedTuple):
    """The cells to measure next, one method's or (in a warm-up) any, and each method's estimated mean."""

    methods: Indices
    examples: Indices
    means: Scores


def ucb_e(
    seen: Scores, batch: int, rng: np.random.Generator, *, bonus: float = 1.0, order: Indices | None = None
) -> Step:
    """UCB-E: of the method with the largest bound, measure random examples that it has not answered.

    The bound is mean + sqrt(bonus / n), n the examples answered; infinite without any, and no bound is left for a
    method that has answered all. With an ``order`` of the examples, the first ones in it are measured instead of
    random ones, so that methods are compared on the same examples.

    Source: Audibert, Bubeck and Munos, "Best Arm Identification in Multi-Armed Bandits", section 3; On Speeding Up
    Language Model Evaluation, algorithm 1 (UCB-E).
    """
    means = observed_means(seen)
    counts = (~np.isnan(seen)).sum(axis=1)
    bounds = np.where(counts > 0, means + np.sqrt(bonus / np.maximum(counts, 1)), np.inf)
    method = _open_argmax(bounds, seen)
    if method is None:
        return _nothing(means)
    left = np.flatnonzero(np.isnan(seen[method]))
    examples = (rng.permutation(left) if order is None else order[np.isnan(seen[method, order])])[:batch]
    return Step(np.full(len(examples), method, dtype=np.intp), examples, means)


def ucb_e_lrf(
    seen: Scores,
    batch: int,
    rng: np.random.Generator,
    *,
    warm_up: float = 0.05,
    spread: float = 5.0,
    low_rank: LowRank = LowRank(),
) -> Step:
    """UCB-E-LRF: bounds from low-rank predictions; of the best method, measure where these are least sure.

    Until the share ``warm_up`` of all cells is measured, cells are random. Then the bound of a method is the
    mean over examples of its score where measured, and of prediction + ``spread`` x uncertainty where not; the
    examples asked for are those of the largest uncertainty. The estimated mean has predictions in place of what
    is unseen.

    Source: On Speeding Up Language Model Evaluation, algorithm 2 (UCB-E-LRF).
    """
    known = ~np.isnan(seen)
    if known.mean() < warm_up:
        methods, examples = random_cells(seen, batch, rng)
        return Step(methods, examples, observed_means(seen))
    guess = predict(seen, low_rank, rng)
    means = np.where(known, seen, guess.mean).mean(axis=1)
    bounds = np.where(known, seen, guess.mean + spread * guess.deviation).mean(axis=1)
    method = _open_argmax(np.where(known.any(axis=1), bounds, np.inf), seen)
    if method is None:
        return _nothing(means)
    doubt = np.where(known[method], -1.0, guess.deviation[method])
    count = min(batch, int((~known[method]).sum()))
    examples = np.argsort(-doubt, kind="stable")[:count]
    return Step(np.full(count, method, dtype=np.intp), examples, means)


def _open_argmax(bounds: Scores, seen: Scores) -> int | None:
    """The method of the largest bound among those that have examples left."""
    left = np.isnan(seen).any(axis=1)
    return int(np.where(left, bounds, -np.inf).argmax()) if left.any() else None


def _nothing(means: Scores) -> Step:
    return Step(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp), means)
