"""Simulated score matrices with known structure: item response theory."""

from __future__ import annotations

import numpy as np

from steelyard.evaluation.acquisition.score_cells import Scores


def item_response_scores(
    models: int, prompts: int, *, dimensions: int = 1, ability: float = 1.0, seed: int = 0
) -> Scores:
    """Right or wrong answers (models, prompts) drawn from a two-parameter logistic model.

        P(y = 1) = sigmoid(sum_d a_d (theta_d - b))

    with abilities theta ~ N(0, ``ability``^2) that share a general factor over ``dimensions``, difficulties b ~
    N(0, 1) and discriminations a, each prompt mostly in one dimension.

    Source: Lord and Novick 1968, "Statistical theories of mental test scores", chapter 17; its multidimensional
    form after Reckase, "Multidimensional Item Response Theory", chapter 4.

    >>> item_response_scores(3, 5, seed=1).shape
    (3, 5)
    """
    rng = np.random.default_rng(seed)
    general = rng.normal(0, ability, (models, 1))
    own = 0.8 * general + 0.6 * rng.normal(0, ability, (models, dimensions)) if dimensions > 1 else general
    kind = rng.integers(0, dimensions, prompts)
    discrimination = np.full((prompts, dimensions), 0.15)
    discrimination[np.arange(prompts), kind] = np.exp(rng.normal(0.4, 0.3, prompts))
    difficulty = rng.normal(0, 1, prompts)
    logits = own @ discrimination.T - (discrimination.sum(axis=1) * difficulty)[None]
    right = rng.random((models, prompts)) < 1 / (1 + np.exp(-logits))
    scores: Scores = right.astype(np.float64)
    return scores
