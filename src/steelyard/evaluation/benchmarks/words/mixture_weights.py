"""Weights of a linear mixture of models, fitted on held-out words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Mixture(NamedTuple):
    """``weights`` float64 (models,), the mean log-likelihood at each step, and a bound on the optimum's lead."""

    weights: Floats
    loglikelihoods: tuple[float, ...]
    gap: float


def fit_mixture(logprobs: Floats, *, tolerance: float = 1e-7, most_steps: int = 20_000) -> Mixture:
    """Maximise f(w) = mean over words of log sum_k w_k p_k(word) over the simplex, by expectation maximisation.

    From equal weights, each step takes w_k <- w_k g_k, with g_k = mean of p_k / sum_j w_j p_j, which never
    lowers f. As f is concave and w . g = 1, the optimum is at most max(g) - 1 above f(w): the ``gap`` that
    ``tolerance`` (nats a word) bounds.

    Args:
        logprobs: float64 (models, words), natural logarithms; a model may rule a word out (-inf), but not all
            of them.
        tolerance: the gap at which to stop.
        most_steps: stop then anyway; ``gap`` tells.

    >>> fit_mixture(np.log([[0.9, 0.9], [0.1, 0.1]])).weights.round(3).tolist()
    [1.0, 0.0]
    """
    best = logprobs.max(axis=0)
    if not np.isfinite(best).all():
        raise ValueError("every word needs a model that does not rule it out")
    shares = np.exp(logprobs - best)
    weights = np.full(len(logprobs), 1 / len(logprobs))
    history: list[float] = []
    gap = np.inf
    for _ in range(most_steps):
        mixed = weights @ shares
        history.append(float(np.mean(np.log(mixed) + best)))
        gradient = (shares / mixed).mean(axis=1)
        gap = float(gradient.max() - 1)
        if gap <= tolerance:
            break
        weights = weights * gradient
        weights /= weights.sum()
    return Mixture(weights, tuple(history), gap)


def mix(logprobs: Floats, weights: Floats) -> Floats:
    """Log of sum_k w_k p_k for each word: float64 (words,); -inf where every model with weight rules it out."""
    best = logprobs.max(axis=0)
    safe = np.where(np.isfinite(best), best, 0.0)
    with np.errstate(divide="ignore"):
        result: Floats = np.log(weights @ np.exp(logprobs - safe)) + safe
    return result
