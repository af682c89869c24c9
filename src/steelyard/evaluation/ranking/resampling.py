"""Bootstrap over questions for whatever turns tables into scores: intervals and rank stability."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from steelyard.contracts import Interval
from steelyard.evaluation.ranking.records import Array


def question_weights(questions: int, *, resamples: int, seed: int) -> Iterator[Array]:
    """How often each question is drawn in each resample: float (questions,), summing to ``questions``."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, questions, size=questions), minlength=questions).astype(np.float64)


def bootstrap_scores(scores: Callable[[Array], Array], questions: int, *, resamples: int, seed: int) -> Array:
    """Scores (resamples, systems) of ``scores(weights)`` with the questions drawn again with replacement."""
    return np.stack([scores(weights) for weights in question_weights(questions, resamples=resamples, seed=seed)])


def intervals_of(point: Array, draws: Array, n: int, *, level: float = 0.95) -> tuple[Interval, ...]:
    """Percentile intervals around ``point`` (systems,) from ``draws`` (resamples, systems) of ``n`` questions."""
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return tuple(
        Interval(float(p), float(min(lo, p)), float(max(hi, p)), n)
        for p, lo, hi in zip(point, low, high, strict=True)
    )


def stability_of(names: tuple[str, ...], draws: Array) -> dict[str, Any]:
    """How firmly the order stands: how often each system leads (ties shared) and is above each other one."""
    rounded = np.round(draws, 9)  # equal scores of different sums of the same values
    lead = rounded == rounded.max(axis=1, keepdims=True)
    first = (lead / lead.sum(axis=1, keepdims=True)).mean(axis=0)
    above = (rounded[:, :, None] > rounded[:, None, :]) + 0.5 * (rounded[:, :, None] == rounded[:, None, :])
    return {
        "first": dict(zip(names, first.tolist(), strict=True)),
        "above": above.mean(axis=0).tolist(),
        "resamples": len(draws),
    }
