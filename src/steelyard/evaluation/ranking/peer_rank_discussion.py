"""Peer rank: models judge each other, and each reviewer's votes weigh as much as the reviewer is rated."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from steelyard.errors import UsageError
from steelyard.evaluation.ranking.elo import mean_ratings
from steelyard.evaluation.ranking.records import Array, Battles, Ranking, ranking, review_tables
from steelyard.evaluation.ranking.resampling import bootstrap_scores, intervals_of, stability_of
from steelyard.evaluation.statistics import clustered_interval, interval_record
from steelyard.parts import part

K, ORDERS = 32.0, 20
"""Elo's step, and the random orders that its ratings are averaged over."""


class FixedPoint(NamedTuple):
    """Scores (systems,), reviewer weights (reviewers,) that sum to 1, rounds used and whether they settled."""

    scores: Array
    weights: Array
    rounds: int
    converged: bool


@part(papers=[290], kind="ranking")
def peer_rank_discussion(
    battles: Battles,
    *,
    score: Literal["win-rate", "elo"] = "win-rate",
    normalise: Literal["min-max", "sum"] = "min-max",
    rounds: PositiveInt = 100,
    resamples: PositiveInt = 100,
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95,
    seed: int = 0,
) -> Ranking:
    """Rank models by their peers' verdicts, each reviewer weighted by its own score, to the fixed point.

    With weights a_r (at first equal) the win rate of contestant c is
    S_c = sum over its battles of (a_r / mean a) [c won under r] / its battles, ties half; ``elo`` lets a weight
    multiply K instead. Then a_r = Normalise(S)_r and again, until the weights change by less than 1e-9
    or ``rounds`` are used. ``min-max`` maps the lowest score to 0 and the highest to 1, then to sum 1, so the
    weakest reviewer has no vote; ``sum`` only divides by the sum, and for win rates over a full table the
    weights then are the leading eigenvector of the matrix of win rates (contestants, reviewers).

    Each pair is best judged in both orders, as the judges here do: a reviewer that always names the first
    place then gives only ties. ``details`` has, for each reviewer, ``first_shown`` (position bias: 0.5 is
    none) and ``self_enhancement``, the win rate it gives its own answers minus the one its peers give them.

    Args:
        battles: verdicts of the ranked models on each other, own answers included; unreadable ones are left out.
        score: win rates, or Elo ratings (K 32) averaged over 20 random orders.
        normalise: how scores become weights.
        rounds: most rounds; the paper uses five.
        resamples: bootstrap draws of the questions, for the intervals of win rates.
        level: confidence level.
        seed: of orders and draws.

    Raises:
        UsageError: reviewers that are not the ranked models, or no readable verdict on some model's answers.

    Source:
        PRD: Peer Rank and Discussion Improve Large Language Model based Evaluations (2023), section 3.1 and
        algorithm 1; weights of mean 1 inside the win rate as in its code. Its discussions are ``peer-discussion``.

    Relations:
        ``peer-discussion`` is a judge that makes such verdicts by debate; ``pico-peer-review`` learns the
        weights by maximising their correlation with the scores; ``bradley-terry`` and ``elo`` count all
        reviewers alike.

    Example:
        >>> peer_rank_discussion(battles).details["weights"]  # doctest: +SKIP
        {'a': 0.62, 'b': 0.38, 'c': 0.0}
    """
    if not battles.peers or len(battles.names) < 2:
        raise UsageError("peer-rank-discussion ranks models that review each other; give no other judges")
    wins, counts = review_tables(battles)
    if (counts.sum(axis=(0, 2)) == 0).any():
        raise UsageError(
            "peer-rank-discussion: a model has no readable verdict on its answers; ask more questions"
        )

    def by_wins(weights: Array) -> FixedPoint:
        tables = np.tensordot(weights, wins, axes=1), np.tensordot(weights, counts, axes=1)
        return peer_rank(*tables, normalise=normalise, rounds=rounds)

    if score == "win-rate":
        found = by_wins(np.ones(len(wins)))
        draws = bootstrap_scores(lambda w: by_wins(w).scores, len(wins), resamples=resamples, seed=seed)
        more: dict[str, Any] = {"intervals": intervals_of(found.scores, draws, len(wins), level=level)}
        stability = stability_of(battles.names, draws)
    else:
        found = peer_rank_elo(battles, normalise=normalise, rounds=rounds, seed=seed)
        more, stability = {}, None
    notes = () if found.converged else (f"The weights had not settled after {found.rounds} rounds.",)
    details = {
        "weights": dict(zip(battles.names, found.weights.tolist(), strict=True)),
        "rounds": found.rounds,
        "converged": found.converged,
        "stability": stability,
        "reviewers": reviewer_biases(battles, level=level),
    }
    name = "weighted win rate" if score == "win-rate" else "weighted Elo rating"
    return ranking("peer-rank-discussion", battles.names, found.scores, name, notes=notes, details=details, **more)


def peer_rank(wins: Array, counts: Array, *, normalise: str = "min-max", rounds: int = 100) -> FixedPoint:
    """The fixed point of scores and weights from ``wins`` and ``counts`` (systems, reviewers), reviewer i being i.

    >>> peer_rank(np.array([[3.0, 3.0], [1.0, 1.0]]), np.full((2, 2), 4.0), normalise="sum").weights.tolist()
    [0.75, 0.25]
    """
    total = counts.sum(axis=1)

    def scores(weights: Array) -> Array:
        given = wins @ (weights * len(weights))  # weights of mean 1
        return np.asarray(np.divide(given, total, out=np.zeros(len(wins)), where=total > 0))

    return _settled(scores, len(wins), normalise, rounds)


def peer_rank_elo(battles: Battles, *, normalise: str, rounds: int, seed: int) -> FixedPoint:
    """The same with Elo ratings; every round sees the same random orders, so that the iteration can settle."""

    def scores(weights: Array) -> Array:
        rng = np.random.default_rng(seed)
        return mean_ratings(battles, weights * len(weights), k=K, orders=ORDERS, rng=rng)

    return _settled(scores, len(battles.names), normalise, rounds)


def _settled(scores: Any, n: int, normalise: str, rounds: int) -> FixedPoint:
    weights = np.full(n, 1.0 / n)
    for number in range(1, rounds + 1):
        found = scores(weights)
        new = normalised(found, normalise)
        moved = float(np.abs(new - weights).max())
        weights = new
        if moved < 1e-9:
            return FixedPoint(found, weights, number, True)
    return FixedPoint(found, weights, rounds, False)


def normalised(scores: Array, how: str) -> Array:
    """Scores as weights that sum to 1; equal weights where all scores are equal.

    >>> normalised(np.array([0.2, 0.4, 0.6]), "min-max").round(3).tolist()
    [0.0, 0.333, 0.667]
    """
    raised = scores - scores.min() if how == "min-max" else scores
    total = float(raised.sum())
    return np.full(len(scores), 1.0 / len(scores)) if total <= 0 else raised / total


def reviewer_biases(battles: Battles, *, level: float = 0.95) -> dict[str, dict[str, Any]]:
    """Each reviewer's position bias and self-enhancement, with intervals clustered by question.

    ``first_shown`` is the share of its single replies that preferred the answer shown first; ``self_enhancement``
    is the difference in win rate of its own answers between its own verdicts and its peers' on the same questions.
    Either is None where there is nothing to measure it on.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(battles.reviewers):
        own = battles.reviewer == number
        chosen = np.stack([battles.orders[own, 0], 1.0 - battles.orders[own, 1]], axis=1)
        told = np.isfinite(chosen) & (chosen != 0.5)
        question = np.repeat(battles.question[own][:, None], 2, axis=1)[told].tolist()
        first = clustered_interval(chosen[told], question, level=level) if told.any() else None
        found[name] = {
            "first_shown": interval_record(first) if first is not None else None,
            "self_enhancement": _self_enhancement(battles, number, level),
        }
    return found


def _self_enhancement(battles: Battles, number: int, level: float) -> dict[str, Any] | None:
    name = battles.reviewers[number]
    if name not in battles.names:
        return None
    system = battles.names.index(name)
    mine = np.where(battles.first == system, battles.values, 1.0 - battles.values)
    involved = ((battles.first == system) | (battles.second == system)) & battles.read
    differences = []
    for question in np.unique(battles.question):
        here = involved & (battles.question == question)
        by_self, by_peers = here & (battles.reviewer == number), here & (battles.reviewer != number)
        if by_self.any() and by_peers.any():
            differences.append(float(mine[by_self].mean() - mine[by_peers].mean()))
    if not differences:
        return None
    return interval_record(clustered_interval(differences, range(len(differences)), level=level))
