"""The budgeted search: which candidate answers which samples, and when enough is known to choose.

The aim of every strategy is to name the winner that measuring everything would name, at a fraction of the price;
how certain that winner is beyond these samples is a question for the paired tests of the report. Three
strategies share what stands here, the rule of choice and the record of what was measured:

- ``elimination``: all candidates in play answer the same samples in doubling rounds, and those that the choice
  can do
  without leave (:mod:`steelyard.tuning.elimination`);
- ``ucb-e`` and ``ucb-e-lrf``: a bandit spends the first cells on the promising, then whatever leaves the choice
  undecided is measured further (:mod:`steelyard.tuning.bandit_search`).

Strategies are pure: measuring is a function passed in, so the same code replays a search on results that were
all measured beforehand (``--exhaustive``), and a search that was cut off asks the same again and finds it in the
store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Measure: TypeAlias = Callable[[Sequence[str], Sequence[int]], Mapping[str, Sequence[float]]]
"""(candidate ids, sample positions) -> quality of each candidate on each of them, larger is better."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a search decides: what is good enough (see :func:`steelyard.tuning.frontier.choose`), and how sure it
    must be. Elimination bounds by ``alpha``, over all its rounds, the predicted chance of losing the one that
    measuring everything would hand over; bandits go on until the predicted chance that it is another one is at
    most ``risk``. ``doubt`` is the weight, in samples, of what has not been seen yet. ``first_round`` belongs to
    elimination; bandits measure ``batch`` samples at a time and explore within the share ``explore`` of all
    cells.
    """

    tolerance: float = 0.02
    target: float | None = None
    alpha: float = 0.01
    risk: float = 0.05
    doubt: float = 4.0
    first_round: int = 24
    batch: int = 16
    explore: float = 0.1
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
    """One round as it went: the most samples that any candidate has answered by its end, candidates measured in
    it, and who was dropped after it.
    """

    number: int
    samples: int
    alive: tuple[str, ...]
    dropped: tuple[Drop, ...]


@dataclass(slots=True)
class Search:
    """The outcome: the quality of each candidate on the samples it answered, by their positions, and the rounds.

    ``risk`` is the predicted chance that measuring everything would choose another one, where the strategy ends by
    predicting it.
    """

    quality: dict[str, dict[int, float]]
    rounds: list[Round] = field(default_factory=list)
    risk: float | None = None

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

    def measure(self, names: Sequence[str], positions: Sequence[int], measure: Measure) -> None:
        """Measure and note these cells."""
        for name, values in measure(names, positions).items():
            self.quality[name].update(zip(positions, values, strict=True))


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
