"""LMentry's score: accuracy over tasks times robustness over what should not matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval
from steelyard.evaluation.benchmarks.lmentry.prompts import ADJACENT, ORDERED, TASKS, VARIANTS

Array = NDArray[np.float64]
KINDS = ("template", "argument order", "argument content", "adjacent tasks")
"""The kinds of robustness, whose mean is the robustness."""


class Outcome(NamedTuple):
    """One graded output: task or variant, prompt template, where the answer stood (-1: nowhere), right or not."""

    task: str
    template: int
    answer_index: int
    right: float


class Scores(NamedTuple):
    """Headline numbers and their parts; all lie between 0 and 1."""

    score: float
    accuracy: float
    robustness: float
    kinds: Mapping[str, float]


class Counts(NamedTuple):
    """Right outputs and outputs, by (task, template, answer index), in a fixed order."""

    cells: tuple[tuple[str, int, int], ...]
    right: Array
    total: Array


def count(outcomes: Iterable[Outcome]) -> Counts:
    """Outputs counted by task, template and answer index."""
    table: dict[tuple[str, int, int], list[float]] = {}
    for task, template, index, right in outcomes:
        table.setdefault((task, template, index), []).append(right)
    cells = tuple(sorted(table))
    return Counts(
        cells,
        np.array([sum(table[cell]) for cell in cells]),
        np.array([float(len(table[cell])) for cell in cells]),
    )


def gap(accuracies: Sequence[float]) -> float:
    """1 minus the largest difference between any two accuracies.

    >>> gap([0.9, 0.5, 0.7])
    0.6
    """
    return 1.0 - (max(accuracies) - min(accuracies)) if accuracies else float("nan")


class Layout(NamedTuple):
    """Which cells of :class:`Counts` make up which accuracies.

    Attributes:
        tasks: The cells of each of the 25 tasks that was measured.
        gaps: For every kind of robustness its groups, each a list of sides, each a list of cells.
    """

    tasks: tuple[list[int], ...]
    gaps: Mapping[str, tuple[list[list[int]], ...]]


def layout(cells: Sequence[tuple[str, int, int]]) -> Layout:
    """Cells by task, and by what each kind of robustness compares; groups that lack a side are left out."""

    def of(task: str, template: int | None = None, index: int | None = None) -> list[int]:
        return [
            place
            for place, cell in enumerate(cells)
            if cell[0] == task and template in (None, cell[1]) and index in (None, cell[2])
        ]

    groups = {
        "template": [[of(task, template=n) for n in range(3)] for task in TASKS],
        "argument order": [[of(task, index=n) for n in range(2)] for task in ORDERED],
        "argument content": [[of(f"{task}_{variant}") for variant in names] for task, names in VARIANTS.items()],
        "adjacent tasks": [[of(task) for task in pair] for pairs in ADJACENT.values() for pair in pairs],
    }
    whole = {kind: tuple(group for group in found if all(group)) for kind, found in groups.items()}
    return Layout(tuple(filter(None, map(of, TASKS))), whole)


def scores_of(counts: Counts, where: Layout | None = None) -> Scores:
    """Accuracy, the kinds of robustness and their product.

    The accuracy is the mean over the 25 tasks of the share of right outputs (over all templates). Each kind of
    robustness is a mean of gaps, 1 - (max - min):

        template          over tasks: between its three templates
        argument order    over the tasks with two arguments: between answers standing first and second
        argument content  over the tasks with variants: between the variants
        adjacent tasks    over pairs of adjacent tasks: between the two

    What was not measured (a suite of some tasks only) is left out of its mean; a kind without any is nan and left
    out of the robustness.
    """
    where = where or layout(counts.cells)

    def accuracy(places: list[int]) -> float:
        return float(counts.right[places].sum() / counts.total[places].sum())

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    kinds = {
        kind: mean([gap([accuracy(side) for side in group]) for group in groups])
        for kind, groups in where.gaps.items()
    }
    accurate = mean([accuracy(places) for places in where.tasks])
    robust = mean([value for value in kinds.values() if not np.isnan(value)])
    return Scores(accurate * robust, accurate, robust, kinds)


def score_intervals(
    outcomes: Sequence[Outcome], *, seed: int = 0, draws: int = 200, level: float = 0.95
) -> dict[str, Interval]:
    """Every number with a parametric bootstrap interval.

    The outputs of each task, template and answer index are drawn again with their own share of right ones, shrunk
    by one output towards their task's, so that a few outputs that are all alike do not pass for certainty. A gap
    between few outputs is partly chance, which lowers robustness; drawing again lowers it once more, so the
    interval is widened to hold the value where it would lie above it.
    """
    counts = count(outcomes)
    rng = np.random.default_rng(seed)
    share = _shrunk(counts)
    where = layout(counts.cells)
    drawn = [
        scores_of(counts._replace(right=rng.binomial(counts.total.astype(int), share).astype(float)), where)
        for _ in range(draws)
    ]
    own = _flat(scores_of(counts))
    tails = (1 - level) / 2, (1 + level) / 2
    found = {}
    for name, value in own.items():
        if np.isnan(value):
            continue
        low, high = np.quantile([_flat(one)[name] for one in drawn], tails)
        found[name] = Interval(value, min(float(low), value), max(float(high), value), len(outcomes))
    return found


def _shrunk(counts: Counts) -> Array:
    """(right + r) / (total + 1) for every cell, r = (right + 1/2) / (total + 1) being its whole task's share."""
    names = np.array([cell[0] for cell in counts.cells])
    rate = np.empty(len(names))
    for name in set(names):
        own = names == name
        rate[own] = (counts.right[own].sum() + 0.5) / (counts.total[own].sum() + 1)
    shares: Array = (counts.right + rate) / (counts.total + 1)
    return shares


def _flat(scores: Scores) -> dict[str, float]:
    return {
        "score": scores.score,
        "accuracy": scores.accuracy,
        "robustness": scores.robustness,
        **{f"robustness, {kind}": scores.kinds[kind] for kind in KINDS},
    }
