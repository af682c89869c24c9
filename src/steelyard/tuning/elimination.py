"""Successive elimination: spend samples only on candidates that may still be handed over.

All candidates still in play answer the same samples, round by round, each round doubling the samples seen.
After a round the search predicts the end: it completes the table of paired results many times by the Bayesian
bootstrap, looks each time who would be handed over, and drops the candidates that this choice can do without,
as long as the chance of choosing otherwise stays within the round's share of ``alpha``. Pairing matters: a
completion draws whole samples, so candidates that are right and wrong together stay so.

Source: successive elimination after Even-Dar, Mannor and Mansour, "Action Elimination and Stopping Conditions
for the Multi-Armed Bandit and Reinforcement Learning Problems"; completions after Rubin, "The Bayesian
Bootstrap", with the predictive probability of success of interim analyses as the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard.tuning.search import Drop, Measure, Round, Rules, Search, winners

if TYPE_CHECKING:
    from numpy.typing import NDArray


def schedule(samples: int, first: int) -> list[int]:
    """Samples seen after each round: doubling from ``first``, ending with all.

    >>> schedule(120, 16)
    [16, 32, 64, 120]
    """
    sizes = []
    size = first
    while size < samples * 0.75:
        sizes.append(size)
        size *= 2
    return [*sizes, samples]


def eliminate(cost: Mapping[str, float], weights: Sequence[float], measure: Measure, rules: Rules) -> Search:
    """Eliminate until every sample was seen by the candidates that are left.

    ``cost`` is each candidate's price, smaller is better; ``weights`` the weight of each sample, in the order in
    which they are to be asked.
    """
    alive = list(cost)
    outcome = Search({name: {} for name in cost})
    share = np.asarray(weights, dtype=float) / np.mean(weights)
    sizes = schedule(len(weights), rules.first_round)
    seen = 0
    for number, size in enumerate(sizes, 1):
        outcome.measure(alive, range(seen, size), measure)
        seen = size
        drops: tuple[Drop, ...] = ()
        if number < len(sizes) and len(alive) > 1:
            table = np.array([list(outcome.quality[name].values()) for name in alive]).T * share[:seen, None]
            final = completions(table, len(weights), rules)
            prices = [cost[name] for name in alive]
            leaving = droppable(final, prices, rules, rules.alpha / (len(sizes) - 1))
            chances = np.bincount(winners(final, prices, rules), minlength=len(alive)) / rules.completions
            drops = _drops(alive, table.mean(axis=0), leaving, chances, (number, seen))
        outcome.rounds.append(Round(number, seen, tuple(alive), drops))
        gone = {drop.candidate for drop in drops}
        alive = [name for name in alive if name not in gone]
    return outcome


def completions(seen: NDArray[np.float64], total: int, rules: Rules) -> NDArray[np.float64]:
    """Predicted final means (completions, candidates) once all ``total`` samples are measured.

    ``seen`` (samples, candidates) holds the paired results so far. An unseen sample is drawn from those seen, by
    weights that are themselves drawn (Dirichlet), or with the weight of ``doubt`` samples from rows in which one
    candidate alone succeeds: a few samples must not rule out what they happen not to show.

    >>> seen = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> bool((completions(seen, 3, Rules()) == seen.mean(axis=0)).all())
    True
    """
    n, candidates = seen.shape
    rng = np.random.default_rng([rules.seed, n])
    lone = np.where(np.eye(candidates, dtype=bool), seen.max(), seen.min())
    shape = np.concatenate([np.ones(n), np.full(candidates, rules.doubt / candidates)])
    weights = rng.gamma(shape, size=(rules.completions, len(shape)))
    counts = rng.multinomial(total - n, weights / weights.sum(axis=1, keepdims=True))
    final: NDArray[np.float64] = (seen.sum(axis=0) + counts @ np.vstack([seen, lone])) / total
    return final


def droppable(final: NDArray[np.float64], cost: Sequence[float], rules: Rules, allowance: float) -> list[int]:
    """The candidates that can leave: as many as possible, least needed first, while the chance that the choice
    among the others differs from the choice among all stays within the allowance.

    A candidate is needed where it is chosen, and where it is the best and so says what is good enough.
    """
    chosen = winners(final, cost, rules)
    candidates = final.shape[1]
    needed = np.bincount(chosen, minlength=candidates) + np.bincount(final.argmax(axis=1), minlength=candidates)
    order = np.argsort(needed, kind="stable")
    for count in range(candidates - 1, 0, -1):
        left = np.sort(order[count:])
        again = left[winners(final[:, left], [cost[place] for place in left], rules)]
        if np.mean(again != chosen) <= allowance:
            return [int(place) for place in order[:count]]
    return []


def _drops(
    alive: Sequence[str],
    means: NDArray[np.float64],
    leaving: Sequence[int],
    chances: NDArray[np.float64],
    when: tuple[int, int],
) -> tuple[Drop, ...]:
    leader = int(means.argmax())
    number, n = when
    return tuple(
        Drop(alive[c], alive[leader], number, n, float(chances[c]), float(means[leader] - means[c]))
        for c in leaving
    )
