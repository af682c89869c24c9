"""Peer review with learned reviewer weights: models that score well should be the ones whose votes count."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from steelyard.errors import UsageError
from steelyard.evaluation.ranking.records import Array, Battles, Places, Ranking, ranking, review_tables
from steelyard.evaluation.ranking.resampling import bootstrap_scores, intervals_of, stability_of
from steelyard.parts import part

FIRST_STEP = 1.0
FEWEST_REVIEWERS = 3
"""With two reviewers the correlation is 1 or -1 whatever the weights, so elimination stops here."""


class Reviewed(NamedTuple):
    """Weights (reviewers,) in 0..1 (0: eliminated), scores (systems,), and the objective per accepted step.

    ``eliminated`` are reviewers in the order they were dropped.
    """

    weights: Array
    scores: Array
    objective: tuple[float, ...]
    eliminated: tuple[int, ...]


@part(papers=[133], kind="ranking")
def pico_peer_review(
    battles: Battles,
    *,
    eliminate: Annotated[float, Field(ge=0, lt=1)] = 0.6,
    own_reviews: bool = True,
    starts: PositiveInt = 4,
    steps: PositiveInt = 200,
    resamples: PositiveInt = 50,
    seed: int = 0,
) -> Ranking:
    """Rank models by each other's anonymous votes, weighted by how well the voters themselves do.

    The score of model j is G_j = sum over its battles of w_s [j won under reviewer s] / battles of j (ties count
    half). The reviewers' weights w = sigmoid(theta) are learned by gradient ascent on their consistency with the
    scores, the Pearson correlation r(w, G(w)), from Gaussian starts; a step that would lower it is halved until it
    does not, so the objective never falls. After each fit the reviewer of least weight is dropped and the rest
    fitted again, until ``eliminate`` of them are gone (never below three). Dropped reviewers are still ranked.

    Args:
        battles: verdicts of the ranked models on each other; unreadable ones are left out.
        eliminate: share of reviewers to drop; the paper finds about 60 % best.
        own_reviews: count a reviewer's votes on battles of its own answer, which it cannot tell apart.
        starts: Gaussian starts; the fit of the highest consistency counts.
        steps: most gradient steps of a fit.
        resamples: bootstrap draws of the questions, for the intervals.
        seed: of starts and draws.

    Raises:
        UsageError: reviewers that are not the ranked models, fewer than three of them, or a model without battles.

    Source:
        PiCO: Peer Review in LLMs based on the Consistency Optimization (2024), equations 3 to 6 and the reviewer
        elimination of section 2.3. The paper writes the score as a sum; dividing by the number of battles is its
        code's, and the same where all fight equally often.

    Relations:
        ``peer-rank-discussion`` sets the weights to the scores themselves and iterates; ``bradley-terry``
        counts all reviewers alike. ``rank_agreement`` has the paper's PEN, CIN and LIS.

    Example:
        >>> pico_peer_review(battles).ranked  # doctest: +SKIP
        ('a', 'b', 'c')
    """
    if not battles.peers or len(battles.names) < FEWEST_REVIEWERS:
        raise UsageError(
            "pico-peer-review ranks three or more models that review each other; give no other judges"
        )
    wins, counts = review_tables(battles, own=own_reviews)
    whole = np.ones(len(wins))
    if (counts.sum(axis=(0, 2)) == 0).any():
        raise UsageError("pico-peer-review: a model has no readable verdict on its answers; ask more questions")

    def review(weights: Array) -> Reviewed:
        table = np.tensordot(weights, wins, axes=1), np.tensordot(weights, counts, axes=1)
        return reviewed(*table, eliminate=eliminate, starts=starts, steps=steps, seed=seed)

    found = review(whole)
    uniform = uniform_scores(wins.sum(axis=0), counts.sum(axis=0))
    draws = bootstrap_scores(lambda weights: review(weights).scores, len(wins), resamples=resamples, seed=seed)
    names = battles.names
    return ranking(
        "pico-peer-review",
        names,
        found.scores,
        "weighted win share",
        intervals=intervals_of(found.scores, draws, len(wins)),
        details={
            "weights": dict(zip(names, found.weights.tolist(), strict=True)),
            "eliminated": [names[i] for i in found.eliminated],
            "consistency": list(found.objective),
            "uniform_scores": dict(zip(names, uniform.tolist(), strict=True)),
            "stability": stability_of(names, draws),
        },
    )


def reviewed(
    wins: Array,
    counts: Array,
    *,
    eliminate: float = 0.6,
    starts: int = 4,
    steps: int = 200,
    seed: int = 0,
) -> Reviewed:
    """Weights and scores from ``wins`` and ``counts``, both (systems, reviewers) with reviewer i being system i.

    Scores use the reviewers left over, and are divided by the mean weight of those, so that they are win shares.
    """
    n = len(wins)
    share = wins / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    active = np.arange(n)
    most = min(int(eliminate * n + 1e-9), max(0, n - FEWEST_REVIEWERS))
    dropped: list[int] = []
    while True:
        weights, trace = learned_weights(share, active, starts=starts, steps=steps, seed=seed)
        if len(dropped) >= most:
            break
        weakest = int(active[np.argmin(weights)])
        dropped.append(weakest)
        active = active[active != weakest]
    whole = np.zeros(n)
    whole[active] = weights
    cast = counts[:, active] @ weights
    scores = np.divide(wins[:, active] @ weights, cast, out=np.zeros(n), where=cast > 0)
    return Reviewed(whole, scores, trace, tuple(dropped))


def learned_weights(
    share: Array, active: Places, *, starts: int, steps: int, seed: int
) -> tuple[Array, tuple[float, ...]]:
    """Weights of the active reviewers that maximise r(w, G), and the objective after each accepted step.

    ``share`` (systems, reviewers) gives G = share @ w. Of ``starts`` Gaussian starts the best end counts.
    """
    table = share[np.ix_(active, active)]
    rng = np.random.default_rng(seed)
    best: tuple[Array, tuple[float, ...]] | None = None
    for _ in range(starts):
        ended = _ascended(table, rng.standard_normal(len(active)), steps)
        if best is None or ended[1][-1] > best[1][-1] + 1e-9:
            best = ended
    assert best is not None  # starts is at least 1
    return best


def _ascended(table: Array, theta: Array, steps: int) -> tuple[Array, tuple[float, ...]]:
    value, gradient = consistency(table, theta)
    trace = [value]
    for _ in range(steps):
        step = FIRST_STEP
        while step > 1e-6:
            moved = theta + step * gradient
            new, new_gradient = consistency(table, moved)
            if new >= value:
                break
            step /= 2
        else:
            break
        gained = new - value
        theta, value, gradient = moved, new, new_gradient
        trace.append(value)
        if gained < 1e-7:
            break
    return 1.0 / (1.0 + np.exp(-theta)), tuple(trace)


def consistency(table: Array, theta: Array) -> tuple[float, Array]:
    """Pearson's r between w = sigmoid(theta) and G = table @ w, and its gradient with respect to theta.

    With centred c = w - mean w and g = G - mean G: r = c.g / (|c| |g|), and
    dr/dw = g / (|c| |g|) - r c / |c|^2 + table^T (c / (|c| |g|) - r g / |g|^2).
    """
    w = 1.0 / (1.0 + np.exp(-theta))
    scores = table @ w
    c, g = w - w.mean(), scores - scores.mean()
    nc, ng = float(np.linalg.norm(c)), float(np.linalg.norm(g))
    if nc < 1e-12 or ng < 1e-12:
        return 0.0, np.zeros_like(theta)
    r = float(c @ g) / (nc * ng)
    gradient = g / (nc * ng) - r * c / nc**2 + table.T @ (c / (nc * ng) - r * g / ng**2)
    return r, np.asarray(gradient * w * (1.0 - w))


def uniform_scores(wins: Array, counts: Array) -> Array:
    """Scores (systems,) with all reviewers counting alike: the baseline of unweighted voting."""
    total = counts.sum(axis=1)
    return np.asarray(np.divide(wins.sum(axis=1), total, out=np.zeros(len(wins)), where=total > 0))
