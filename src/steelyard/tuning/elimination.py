"""Successive elimination on paired differences: spend samples where the frontier is undecided.

All candidates still in play answer the same samples, round by round, each round doubling the samples seen.
After a round a candidate is dropped when another one beats it on these samples by a paired test, and either

* is no dearer in any cost (the loser is dominated, at any price), or
* beats it by more than ``slack`` (the loser is hopeless: not good enough to be worth its price).

The test is a paired permutation test (two-sided, so a little careful); its p-values are corrected by Holm's
method over all the comparisons of a round, at a level of ``alpha`` shared equally between the rounds, so that
the chance of dropping any candidate wrongly stays near ``alpha`` over the whole search.

This module is pure: measuring is a function passed in, so the same code replays a search on results that
were all measured beforehand (``--exhaustive``).

Source: successive elimination of Even-Dar, Mannor and Mansour, "Action Elimination and Stopping Conditions
for the Multi-Armed Bandit and Reinforcement Learning Problems", section 3, with paired tests in place of
its distribution-free bounds, which at the few hundred samples of a task would eliminate nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from steelyard.evaluation.significance import holm, permutation_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

Measure = Callable[[Sequence[str], Sequence[int]], Mapping[str, Sequence[float]]]
"""(candidate ids, sample positions) -> quality of each candidate on each of them, larger is better."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a search decides."""

    slack: float = 0.1
    alpha: float = 0.05
    first_round: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """Why and when a candidate left: it lost to ``rival`` on ``n`` shared samples."""

    candidate: str
    rival: str
    round: int
    n: int
    difference: float
    p_value: float
    hopeless: bool


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


def search(
    costs: Mapping[str, Sequence[float]], weights: Sequence[float], measure: Measure, rules: Rules
) -> Search:
    """Eliminate until every sample was seen by the candidates that are left.

    ``costs`` gives each candidate's costs (latency, memory ...), smaller is better; ``weights`` the weight of
    each sample, in the order in which they are to be asked.
    """
    alive = list(costs)
    outcome = Search({name: [] for name in costs})
    seen = 0
    sizes = schedule(len(weights), rules.first_round)
    for number, size in enumerate(sizes, 1):
        for name, values in measure(alive, range(seen, size)).items():
            outcome.quality[name].extend(values)
        seen = size
        final = number == len(sizes)
        drops = () if final else _drops(alive, outcome.quality, costs, weights[:seen], number, len(sizes), rules)
        outcome.rounds.append(Round(number, seen, tuple(alive), drops))
        gone = {drop.candidate for drop in drops}
        alive = [name for name in alive if name not in gone]
    return outcome


def _drops(
    alive: Sequence[str],
    quality: Mapping[str, Sequence[float]],
    costs: Mapping[str, Sequence[float]],
    weights: Sequence[float],
    number: int,
    rounds: int,
    rules: Rules,
) -> tuple[Drop, ...]:
    share = np.asarray(weights) / np.mean(weights)
    values = {name: np.asarray(quality[name]) * share for name in alive}
    order = sorted(alive, key=lambda name: -values[name].mean())
    tests: list[Drop] = []
    for loser in order[1:]:
        for rival in _rivals(loser, order, values, costs, rules.slack):
            hopeless = not _no_dearer(costs[rival], costs[loser])
            margin = rules.slack * share if hopeless else 0.0
            difference = values[rival] - values[loser]
            p_value = permutation_test(difference - margin, seed=rules.seed)
            tests.append(Drop(loser, rival, number, len(weights), float(difference.mean()), p_value, hopeless))
    corrected = holm([test.p_value for test in tests])
    significant: dict[str, Drop] = {}
    for test, p_value in zip(tests, corrected, strict=True):
        if p_value <= rules.alpha / (rounds - 1):
            significant.setdefault(test.candidate, test)
    return tuple(significant.values())


def _rivals(
    loser: str,
    order: Sequence[str],
    values: Mapping[str, NDArray[np.float64]],
    costs: Mapping[str, Sequence[float]],
    slack: float,
) -> list[str]:
    """The best candidate that is no dearer, and the leader if it is ahead by more than the slack.

    Two comparisons a candidate at most: comparing with everyone would only raise the correction's price.
    """
    mine = values[loser].mean()
    cheaper = [n for n in order if n != loser and values[n].mean() > mine and _no_dearer(costs[n], costs[loser])]
    leader = order[0]
    ahead = leader if values[leader].mean() - mine > slack and leader not in cheaper[:1] else None
    return cheaper[:1] + ([ahead] if ahead else [])


def _no_dearer(first: Sequence[float], second: Sequence[float], tolerance: float = 0.05) -> bool:
    """Whether ``first`` costs at most as much as ``second`` in every respect, within measuring noise."""
    return all(a <= b * (1 + tolerance) for a, b in zip(first, second, strict=True))
