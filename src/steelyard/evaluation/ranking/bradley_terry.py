"""Bradley-Terry strengths from battles: the usual leaderboard of pairwise verdicts."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from steelyard.errors import CapabilityError, UsageError
from steelyard.evaluation.ranking.records import Array, Battles, Ranking, ranking, win_tables
from steelyard.evaluation.ranking.resampling import bootstrap_scores, intervals_of, stability_of
from steelyard.parts import part


@part(kind="ranking")
def bradley_terry(
    battles: Battles,
    *,
    pseudo_wins: NonNegativeFloat = 0.5,
    resamples: PositiveInt = 200,
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95,
    seed: int = 0,
) -> Ranking:
    """Rank systems by Bradley-Terry strength, with bootstrap intervals over questions.

    P(i beats j) = 1 / (1 + exp(s_j - s_i)); the strengths s, in nats of log-odds and centred at 0, maximise the
    likelihood of the wins (a tie is half a win each way). All reviewers count alike.

    Args:
        battles: verdicts; unreadable ones are left out.
        pseudo_wins: half-seen wins added each way for every pair, so that a system that never won has a finite
            strength; 0 is the plain maximum likelihood.
        resamples: bootstrap draws of the questions.
        level: confidence level.
        seed: of the draws.

    Raises:
        UsageError: no readable verdict, or strengths that the wins do not determine (only with ``pseudo_wins`` 0).
        CapabilityError: the package choix is not installed.

    Source:
        Bradley and Terry 1952, "Rank analysis of incomplete block designs", fitted by choix with the iterative
        spectral algorithm of Maystre and Grossglauser 2015, "Fast and accurate inference of Plackett-Luce models",
        which converges to the maximum likelihood.

    Relations:
        ``elo`` updates ratings battle by battle and depends on their order; ``peer-rank-discussion`` and
        ``pico-peer-review`` weigh reviewers.

    Example:
        >>> bradley_terry(battles).ranked  # doctest: +SKIP
        ('large', 'small')
    """
    wins = win_tables(battles)
    if not wins.any():
        raise UsageError("bradley-terry: none of the verdicts can be read, so nothing can be ranked")

    def scores(weights: Array) -> Array:
        return strengths(np.tensordot(weights, wins, axes=1), pseudo_wins=pseudo_wins)

    point = scores(np.ones(len(wins)))
    draws = bootstrap_scores(scores, len(wins), resamples=resamples, seed=seed)
    return ranking(
        "bradley-terry",
        battles.names,
        point,
        "strength (log-odds)",
        intervals=intervals_of(point, draws, len(wins), level=level),
        details={"wins": wins.sum(axis=0).tolist(), "stability": stability_of(battles.names, draws)},
    )


def strengths(wins: Array, *, pseudo_wins: float = 0.0) -> Array:
    """Maximum-likelihood strengths (systems,), mean 0, from ``wins`` (systems, systems): row beat column so often.

    >>> strengths(np.array([[0.0, 3.0], [1.0, 0.0]])).round(3).tolist()  # log-odds of 3 to 1, halved
    [0.549, -0.549]
    """
    try:
        import choix
    except ImportError as error:
        raise CapabilityError(
            "bradley-terry needs the package choix: pip install 'steelyard[evaluation]'"
        ) from error
    table = wins + pseudo_wins * (1.0 - np.eye(len(wins)))
    try:
        found = choix.ilsr_pairwise_dense(table, max_iter=1000)
    except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
        raise UsageError(
            "bradley-terry: some system won or lost every battle, so its strength has no bound; set pseudo_wins"
        ) from error
    if not np.isfinite(found).all():
        raise UsageError(
            "bradley-terry: some system won or lost every battle, so its strength has no bound; set pseudo_wins"
        )
    return np.asarray(found - found.mean(), dtype=np.float64)
