"""Elo ratings from battles, over many random orders of them."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from steelyard.errors import UsageError
from steelyard.evaluation.ranking.records import Array, Battles, Ranking, ranking
from steelyard.evaluation.ranking.resampling import intervals_of, stability_of
from steelyard.parts import part

START = 1000.0
SCALE = 400.0


@part(kind="ranking")
def elo(
    battles: Battles,
    *,
    k: PositiveFloat = 32.0,
    orders: PositiveInt = 200,
    resamples: PositiveInt = 200,
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95,
    seed: int = 0,
) -> Ranking:
    """Rank systems by Elo rating, averaged over random orders of the battles, with bootstrap intervals.

    Every system starts at 1000; a battle moves both by K (S - E), with S the verdict (a tie is 0.5) and
    E = 1 / (1 + 10^((R_other - R_own) / 400)). A single pass depends on the order of the battles, which means
    nothing here, so the score is the mean over ``orders`` random ones.

    Args:
        battles: verdicts; unreadable ones are left out.
        k: how far one battle moves a rating.
        orders: random orders that the score is averaged over.
        resamples: bootstrap draws of the questions, each in a random order of its own.
        level: confidence level.
        seed: of orders and draws.

    Raises:
        UsageError: no readable verdict.

    Source:
        Elo 1978, "The rating of chess players"; averaging over orders as in PRD (2023), section 3.1.

    Relations:
        ``bradley-terry`` is the same model fitted to all battles at once, without dependence on order or K.

    Example:
        >>> elo(battles).ranked  # doctest: +SKIP
        ('large', 'small')
    """
    if not battles.read.any():
        raise UsageError("elo: none of the verdicts can be read, so nothing can be ranked")
    rng = np.random.default_rng(seed)
    point = mean_ratings(battles, np.ones(len(battles.reviewers)), k=k, orders=orders, rng=rng)
    draws = ratings(battles, drawn_orders(battles, resamples, rng), np.ones(len(battles.reviewers)), k=k)
    n = len(np.unique(battles.question))
    return ranking(
        "elo",
        battles.names,
        point,
        "Elo rating",
        intervals=intervals_of(point, draws, n, level=level),
        details={"k": k, "orders": orders, "stability": stability_of(battles.names, draws)},
    )


def mean_ratings(battles: Battles, weights: Array, *, k: float, orders: int, rng: np.random.Generator) -> Array:
    """Ratings (systems,) averaged over ``orders`` random orders; ``weights`` (reviewers,) multiply K."""
    read = np.flatnonzero(battles.read)
    shuffled = np.stack([rng.permutation(read) for _ in range(orders)])
    return np.asarray(ratings(battles, shuffled, weights, k=k).mean(axis=0))


def drawn_orders(battles: Battles, resamples: int, rng: np.random.Generator) -> Array:
    """Battle numbers (resamples, battles) of questions drawn with replacement; -1 fills up shorter draws."""
    _, question = np.unique(battles.question, return_inverse=True)
    own = [np.flatnonzero((question == q) & battles.read) for q in range(int(question.max()) + 1)]
    draws = [np.concatenate([own[q] for q in rng.integers(0, len(own), size=len(own))]) for _ in range(resamples)]
    longest = max(len(draw) for draw in draws)
    filled = np.full((resamples, longest), -1)
    for row, draw in enumerate(draws):
        filled[row, : len(draw)] = rng.permutation(draw)
    return filled


def ratings(battles: Battles, sequence: Array, weights: Array, *, k: float = 32.0) -> Array:
    """Final ratings (orders, systems) after the battles in ``sequence`` (orders, battles); -1 is none."""
    found = np.full((len(sequence), len(battles.names)), START)
    rows = np.arange(len(sequence))
    for step in np.asarray(sequence, dtype=np.int64).T:
        i, j = battles.first[step], battles.second[step]
        expected = 1.0 / (1.0 + 10.0 ** ((found[rows, j] - found[rows, i]) / SCALE))
        size = np.where(step >= 0, k * weights[battles.reviewer[step]], 0.0)
        change = size * (np.nan_to_num(battles.values[step]) - expected)
        found[rows, i] += change
        found[rows, j] -= change
    return found
