"""Successive elimination: spend samples only on candidates that may still be handed over.

All candidates still in play answer the same samples, round by round, each round doubling the samples seen.
After a round the search predicts the end: it completes the table of paired results many times by the Bayesian
bootstrap, looks each time who would be handed over, and drops the candidates that this choice can do without,
as long as the chance of choosing otherwise stays within the round's share of ``alpha``. Pairing matters: a
completion draws whole samples, so candidates that are right and wrong together stay so.

The aim is to name the winner that measuring everything would name, at a fraction of the price; how certain
that winner is beyond these samples is a question for the paired tests of the report.

This module is pure: measuring is a function passed in, so the same code replays a search on results that
were all measured beforehand (``--exhaustive``).

Source: successive elimination after Even-Dar, Mannor and Mansour, "Action Elimination and Stopping Conditions
for the Multi-Armed Bandit and Reinforcement Learning Problems"; completions after Rubin, "The Bayesian
Bootstrap", with the predictive probability of success of interim analyses as the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Measure = Callable[[Sequence[str], Sequence[int]], Mapping[str, Sequence[float]]]
"""(candidate ids, sample positions) -> quality of each candidate on each of them, larger is better."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a search decides: what is good enough (see :func:`steelyard.tuning.frontier.choose`), and how sure it
    must be. ``alpha`` bounds the predicted chance, over all rounds, of handing over another one than measuring
    everything would; ``doubt`` is the weight, in samples, of what has not been seen yet.
    """

    tolerance: float = 0.02
    target: float | None = None
    alpha: float = 0.01
    doubt: float = 4.0
    first_round: int = 24
    completions: int = 4000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """Why and when a candidate left: its chance of being handed over, and how far it was behind the leader."""

    candidate: str
    leader: str
    round: int
    n: int
    chance: float
    behind: float


@dataclass(frozen=True, slots=True)
class Round:
    """One round as it went: samples seen so far, candidates measured in it, and who was dropped after it."""

    number: int
    samples: int
    alive: tuple[str, ...]
    dropped: tuple[Drop, ...]


@dataclass(slots=True)
class Search:
    """The outcome: the quality of each candidate on the samples it answered, and the rounds."""

    quality: dict[str, list[float]]
    rounds: list[Round] = field(default_factory=list)

    @property
    def cells(self) -> int:
        """How many (candidate, sample) pairs were measured."""
        return sum(len(values) for values in self.quality.values())

    @property
    def survivors(self) -> tuple[str, ...]:
        """Candidates measured on every sample: never dropped."""
        return tuple(name for name in self.quality if name not in self.drops)

    @property
    def drops(self) -> dict[str, Drop]:
        """Each dropped candidate's reason."""
        return {drop.candidate: drop for past in self.rounds for drop in past.dropped}


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


def search(cost: Mapping[str, float], weights: Sequence[float], measure: Measure, rules: Rules) -> Search:
    """Eliminate until every sample was seen by the candidates that are left.

    ``cost`` is each candidate's price, smaller is better; ``weights`` the weight of each sample, in the order in
    which they are to be asked.
    """
    alive = list(cost)
    outcome = Search({name: [] for name in cost})
    share = np.asarray(weights, dtype=float) / np.mean(weights)
    sizes = schedule(len(weights), rules.first_round)
    seen = 0
    for number, size in enumerate(sizes, 1):
        for name, values in measure(alive, range(seen, size)).items():
            outcome.quality[name].extend(values)
        seen = size
        drops: tuple[Drop, ...] = ()
        if number < len(sizes) and len(alive) > 1:
            table = np.array([outcome.quality[name] for name in alive]).T * share[:seen, None]
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


def winners(final: NDArray[np.float64], cost: Sequence[float], rules: Rules) -> NDArray[np.intp]:
    """Who is handed over for each row of final means (completions, candidates)."""
    best = final.max(axis=1)
    floor = best - rules.tolerance
    if rules.target is not None:
        floor = np.where(best >= rules.target, rules.target, floor)
    order = np.argsort(cost, kind="stable")
    enough = final[:, order] >= floor[:, None] - 1e-12
    chosen: NDArray[np.intp] = order[enough.argmax(axis=1)]
    return chosen


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
