"""Bandit search: explore by upper confidence bounds, then measure on wherever the choice is undecided.

A bandit alone answers another question than a tune asks: it names the best, from part of the samples. What is
handed over is the cheapest within a tolerance of the best, and the report rests on full measurements. So there
are two stages.

1. *Explore.* Every candidate answers a first batch; then UCB-E or UCB-E-LRF
   (:mod:`steelyard.evaluation.acquisition.upper_confidence`) spends what is left of the share ``explore`` of all
   cells.
2. *Settle.* The best so far is measured on every sample. Each other candidate's final mean is predicted many times
   from its paired differences to that one (Bayesian bootstrap), and the rule of choice is applied to every
   prediction. The most frequent choice is the one to hand over; the share of predictions that choose otherwise
   is the *risk*. While the risk is above that of the rules, or the one to hand over is not measured in full, the
   candidate that stands behind most of it answers more samples: the other choice itself, or a dearer one that
   would raise what is good enough.

Where candidates are close this measures everything, as it must; where they are not, it ends early.

Source: On Speeding Up Language Model Evaluation, algorithms 1 and 2, for the first stage. The second is this
project's own: the predictive probabilities of :mod:`steelyard.tuning.elimination`, used to choose what to measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.evaluation.acquisition.low_rank import LowRank
from steelyard.evaluation.acquisition.upper_confidence import ucb_e, ucb_e_lrf
from steelyard.tuning.search import Drop, Measure, Round, Rules, Search, winners

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWER_MEMBERS = LowRank(members=16)
"""A smaller ensemble than the paper's: in a tune a fit must not cost more than the samples it saves."""


class Outlook(NamedTuple):
    """What is predicted: the choice in each completion, its most frequent one, and the candidate to measure next
    (None where nothing that could be measured would change the choice).

    """

    chosen: NDArray[np.intp]
    favourite: int
    risk: float
    doubtful: int | None


def bandit_search(
    cost: Mapping[str, float], weights: Sequence[float], measure: Measure, rules: Rules, *, low_rank: bool = False
) -> Search:
    """Explore, then settle; candidates that were not measured on every sample by the end count as dropped.

    ``cost`` and ``weights`` are as in :func:`steelyard.tuning.strategies.search`.
    """
    return _BanditSearch(cost, weights, measure, rules).run(low_rank=low_rank)


class _BanditSearch:
    """One search under way: ``table`` (candidates, samples) holds what is known, NaN elsewhere."""

    def __init__(
        self, cost: Mapping[str, float], weights: Sequence[float], measure: Measure, rules: Rules
    ) -> None:
        self.names = list(cost)
        self.prices = [cost[name] for name in self.names]
        self.share = np.asarray(weights, dtype=float) / np.mean(weights)
        self.measure = measure
        self.rules = rules
        self.table = np.full((len(cost), len(weights)), np.nan)
        self.outcome = Search({name: {} for name in self.names})
        self.predictions: dict[tuple[int, int, int], NDArray[np.float64]] = {}

    def run(self, *, low_rank: bool) -> Search:
        everyone = tuple(self.names)
        self._ask(range(len(self.names)), range(min(self.rules.batch, self.table.shape[1])))
        self.outcome.rounds.append(Round(1, self._most(), everyone, ()))
        touched = self._explore(low_rank=low_rank)
        if touched:
            self.outcome.rounds.append(Round(2, self._most(), self._named(touched), ()))
        touched, outlook = self._settle()
        self.outcome.risk = outlook.risk
        number = len(self.outcome.rounds) + 1
        self.outcome.rounds.append(Round(number, self._most(), self._named(touched), self._drops(outlook, number)))
        return self.outcome

    def _explore(self, *, low_rank: bool) -> set[int]:
        """Spend the share ``explore`` by a bandit; returns the candidates it measured."""
        rng = np.random.default_rng(self.rules.seed)
        budget = int(self.rules.explore * self.table.size)
        order = np.arange(self.table.shape[1])  # already random, and shared
        touched: set[int] = set()
        while (left := budget - self.outcome.cells) > 0:
            seen = self._scaled()
            if low_rank:
                step = ucb_e_lrf(seen, min(self.rules.batch, left), rng, warm_up=0.0, low_rank=FEWER_MEMBERS)
            else:
                step = ucb_e(seen, min(self.rules.batch, left), rng, order=order)
            if not len(step.methods):
                break
            candidate = int(step.methods[0])
            self._ask([candidate], sorted(map(int, step.examples)))
            touched.add(candidate)
        return touched

    def _settle(self) -> tuple[set[int], Outlook]:
        """Measure on until the choice is settled; returns the candidates measured, and the last outlook."""
        means = np.nanmean(self.table * self.share, axis=1)
        leader = int(means.argmax())
        touched = set(self._finish(leader))
        while True:
            outlook = self._outlook()
            if np.isnan(self.table[outlook.favourite]).any():
                candidate = outlook.favourite
            elif outlook.risk <= self.rules.risk or outlook.doubtful is None:
                return touched, outlook
            else:
                candidate = outlook.doubtful
            seen = self.table.shape[1] - int(np.isnan(self.table[candidate]).sum())
            self._ask([candidate], self._next(candidate, max(self.rules.batch, seen // 2)))
            touched.add(candidate)

    def _outlook(self) -> Outlook:
        final = self._completions()
        chosen = winners(final, self.prices, self.rules)
        favourite = int(np.bincount(chosen).argmax())
        other = chosen != favourite
        needed = np.bincount(chosen[other], minlength=len(self.names)) + np.bincount(
            final[other].argmax(axis=1), minlength=len(self.names)
        )
        needed = np.where(np.isnan(self.table).any(axis=1), needed, 0)
        return Outlook(chosen, favourite, float(other.mean()), int(needed.argmax()) if needed.any() else None)

    def _completions(self) -> NDArray[np.float64]:
        """Predicted final means (completions, candidates), by paired differences to the best measured in full."""
        full = ~np.isnan(self.table).any(axis=1)
        means = np.where(full, (self.table * self.share).mean(axis=1), -np.inf)
        leader = int(means.argmax())
        columns = []
        for candidate in range(len(self.names)):
            if full[candidate]:
                columns.append(np.full(self.rules.completions, means[candidate]))
                continue
            known = ~np.isnan(self.table[candidate])
            key = (candidate, int(known.sum()), leader)
            if key not in self.predictions:
                differences = (self.table[candidate] - self.table[leader])[known] * self.share[known]
                span = float(np.nanmax(self.table) - np.nanmin(self.table))
                rng = np.random.default_rng([self.rules.seed, *key])
                self.predictions[key] = means[leader] + predicted_difference(
                    differences, self.table.shape[1], span, self.rules, rng
                )
            columns.append(self.predictions[key])
        return np.column_stack(columns)

    def _ask(self, candidates: Sequence[int], positions: Sequence[int]) -> None:
        if len(positions):
            self.outcome.measure([self.names[c] for c in candidates], positions, self.measure)
        for candidate in candidates:
            known = self.outcome.quality[self.names[candidate]]
            self.table[candidate, list(known)] = list(known.values())

    def _finish(self, candidate: int) -> list[int]:
        missing = self._next(candidate, self.table.shape[1])
        self._ask([candidate], missing)
        return [candidate] if missing else []

    def _next(self, candidate: int, count: int) -> list[int]:
        return [int(p) for p in np.flatnonzero(np.isnan(self.table[candidate]))[:count]]

    def _scaled(self) -> NDArray[np.float64]:
        """The table in 0..1, the range that bounds assume, by the smallest and largest quality seen."""
        low, high = np.nanmin(self.table), np.nanmax(self.table)
        scaled: NDArray[np.float64] = (self.table - low) / (high - low if high > low else 1.0)
        return scaled

    def _most(self) -> int:
        return max(len(known) for known in self.outcome.quality.values())

    def _named(self, candidates: set[int]) -> tuple[str, ...]:
        return tuple(self.names[c] for c in sorted(candidates))

    def _drops(self, outlook: Outlook, number: int) -> tuple[Drop, ...]:
        """Who was not measured on every sample: its chance of being chosen, its paired distance to the best."""
        full = ~np.isnan(self.table).any(axis=1)
        leader = int(np.where(full, (self.table * self.share).mean(axis=1), -np.inf).argmax())
        chances = np.bincount(outlook.chosen, minlength=len(self.names)) / len(outlook.chosen)
        drops = []
        for candidate in np.flatnonzero(~full):
            known = ~np.isnan(self.table[candidate])
            behind = ((self.table[leader] - self.table[candidate]) * self.share)[known].mean()
            name, count = self.names[candidate], int(known.sum())
            drops.append(Drop(name, self.names[leader], number, count, float(chances[candidate]), float(behind)))
        return tuple(drops)


def predicted_difference(
    seen: NDArray[np.float64], total: int, span: float, rules: Rules, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Predicted mean difference over ``total`` samples (completions,), given those seen.

    An unseen difference is drawn from those seen, by weights that are themselves drawn (Dirichlet), or, with a
    weight of ``doubt`` / 4 samples each, is a lone success (+``span``) or a lone failure (-``span``): a few
    samples must not rule out what they happen not to show.

    >>> exact = predicted_difference(np.array([0.0, 1.0]), 2, 1.0, Rules(), np.random.default_rng(0))
    >>> bool((exact == 0.5).all())
    True
    """
    values, counts = np.unique(seen, return_counts=True)
    values = np.append(values, [span, -span])
    shape = np.append(counts.astype(float), [rules.doubt / 4] * 2)
    weights = rng.gamma(shape, size=(rules.completions, len(shape)))
    drawn = rng.multinomial(total - len(seen), weights / weights.sum(axis=1, keepdims=True))
    predicted: NDArray[np.float64] = (seen.sum() + drawn @ values) / total
    return predicted
