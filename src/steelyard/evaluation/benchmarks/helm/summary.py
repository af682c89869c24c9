"""What the multi-metric suite says as a whole: a grid of scenarios and metrics, with its gaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Interval, Result
from steelyard.evaluation.benchmarks.helm.perturbations import FAIRNESS, ROBUSTNESS
from steelyard.evaluation.benchmarks.helm.text_measures import bias_figures, toxic_texts
from steelyard.evaluation.calibration import calibration_interval, mean_win_rate
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.evaluation.suite import mean_of_tasks

PROBE = "open-ended"
METRICS = ("accuracy", "calibration", "robustness", "fairness", "bias", "toxicity", "seconds", "tokens")
LOWER_IS_BETTER = frozenset({"calibration", "bias", "toxicity", "seconds", "tokens"})
PERTURBED = ("scenario", "perturbation", "changed", "accuracy", "minus clean")
MEANINGS = (
    "calibration: expected calibration error, ten bins of equal mass; robustness and fairness: right clean and "
    "under every perturbation; bias: mean distance from equal shares over gender and race; toxicity: share of "
    "toxic texts; seconds and tokens: a sample"
)


@dataclass(frozen=True)
class Plan:
    """One scenario: its clean task, its metric, and the ids of the questions that each perturbation changes."""

    task: str
    metric: str
    changed: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Gap:
    """Why a cell is missing."""

    reason: str


def helm_summary(
    name: str,
    evaluations: Sequence[Evaluation],
    *,
    plans: Sequence[Plan],
    scorer: Callable[[str], float],
    lexicon: str,
) -> Measurement:
    """The grid, its coverage, every perturbation by itself, and bias in detail.

    Args:
        name: What reports call it.
        evaluations: The clean tasks, their perturbed twins and the open-ended probe.
        plans: The scenarios.
        scorer: From a text to its toxicity between 0 and 1; a classifier's probability, or a word list.
        lexicon: The scorer's name.
    """
    done = {evaluation.task: evaluation for evaluation in evaluations}
    grid: dict[str, dict[str, Interval | float | Gap]] = {}
    biases: list[tuple[Cell, ...]] = []
    for plan in plans:
        grid[plan.task] = _row(plan, done, scorer)
    if PROBE in done:
        grid[PROBE] = _probe_row(done[PROBE], scorer)
    for title in grid:
        figures = bias_figures(_texts(done[title].results))
        biases.extend((title, kind, value) for kind, value in figures.items())
    rows = tuple(
        (title, *(None if isinstance(row[metric], Gap) else row[metric] for metric in METRICS))
        for title, row in grid.items()
    )
    measured = sum(not isinstance(cell, Gap) for row in grid.values() for cell in row.values())
    gaps = tuple(
        (title, metric, cell.reason)
        for title, row in grid.items()
        for metric, cell in row.items()
        if isinstance(cell, Gap)
    )
    tables = (
        Table("Scenarios and metrics", ("scenario", *METRICS), rows, MEANINGS),  # type: ignore[arg-type]
        Table("Missing cells", ("scenario", "metric", "why"), gaps),
        Table("Perturbations", PERTURBED, _each(plans, done)),
        Table("Bias", ("scenario", "words", "distance"), tuple(biases), "0 is equal shares; none: no mention"),
    )
    notes = (
        f"Measured {measured} of {len(grid) * len(METRICS)} cells.",
        f"Toxicity is counted by {lexicon}; it sees listed words only.",
    )
    return Measurement(name, _means(grid), tables, notes, {"cells": _cells(grid, plans, done)})


def worst_case(
    clean: Mapping[str, float], perturbed: Mapping[str, Mapping[str, float]], changed: Mapping[str, frozenset[str]]
) -> list[float]:
    """The worst value of each sample over the clean question and its perturbations.

    A perturbation that leaves a question as it is has the clean value. Samples whose changed question was not
    measured are left out.

    >>> worst_case({"a": 1.0, "b": 1.0}, {"typos": {"a": 0.0}}, {"typos": frozenset({"a"})})
    [0.0, 1.0]
    """
    found = []
    for sample_id, value in clean.items():
        values = [value]
        for kind, ids in changed.items():
            if sample_id in ids:
                values.append(perturbed.get(kind, {}).get(sample_id, float("nan")))
        if all(v == v for v in values):
            found.append(min(values))
    return found


def compare_systems(measurements: Mapping[str, Measurement]) -> Measurement:
    """Several systems' results of this suite side by side: for each metric the mean win rate over scenarios.

    Source: Liang et al. 2023, "Holistic Evaluation of Language Models", section 8.1.
    """
    grids = {system: {row[0]: row for row in found.tables[0].rows} for system, found in measurements.items()}
    rates: dict[str, dict[str, float | None]] = {}
    for place, metric in enumerate(METRICS, start=1):
        scores = {
            system: {str(title): _number(row[place]) for title, row in grid.items()}
            for system, grid in grids.items()
        }
        rates[metric] = mean_win_rate(scores, higher_is_better=metric not in LOWER_IS_BETTER)
    rows = tuple((system, *(rates[metric][system] for metric in METRICS)) for system in measurements)
    note = "how often a system does better than another drawn at random, averaged over scenarios; ties count half"
    return Measurement("helm-win-rates", {}, (Table("Mean win rates", ("system", *METRICS), rows, note),))


def _number(cell: Cell) -> float | None:
    if isinstance(cell, Interval):
        return cell.value
    return float(cell) if isinstance(cell, int | float) else None


def _row(
    plan: Plan, done: Mapping[str, Evaluation], scorer: Callable[[str], float]
) -> dict[str, Interval | float | Gap]:
    evaluation = done[plan.task]
    texts = _texts(evaluation.results)
    row: dict[str, Interval | float | Gap] = {"accuracy": evaluation.summary[plan.metric]}
    marks = [result.marks.values for result in evaluation.results]
    if all("confidence" in values for values in marks):
        confidence, right = [v["confidence"] for v in marks], [v[plan.metric] for v in marks]
        row["calibration"] = calibration_interval(confidence, right, binning="mass")
    else:
        row["calibration"] = Gap("generated answers have no confidence")
    for metric, kinds in (("robustness", ROBUSTNESS), ("fairness", FAIRNESS)):
        row[metric] = _worst(plan, done, kinds)
    row.update(_text_cells(texts, scorer))
    row.update(_efficiency(evaluation.results))
    return {metric: row[metric] for metric in METRICS}


def _worst(plan: Plan, done: Mapping[str, Evaluation], kinds: Mapping[str, Any]) -> Interval | Gap:
    changed = {kind: ids for kind, ids in plan.changed.items() if kind in kinds}
    if not changed:
        return Gap("no perturbation of this kind was asked for")
    if not any(changed.values()):
        return Gap("no question is changed by these perturbations")
    twins = {kind: _values(done[f"{plan.task}+{kind}"], plan.metric) for kind, ids in changed.items() if ids}
    found = worst_case(_values(done[plan.task], plan.metric), twins, changed)
    return mean_interval(found, bounds=(0.0, 1.0)) if found else Gap("perturbed questions were not measured")


def _text_cells(texts: Sequence[str], scorer: Callable[[str], float]) -> dict[str, Interval | float | Gap]:
    if not texts:
        reason = Gap("nothing is generated")
        return {"bias": reason, "toxicity": reason}
    known = [value for value in bias_figures(texts).values() if value is not None]
    return {
        "bias": sum(known) / len(known) if known else Gap("no group is mentioned"),
        "toxicity": mean_interval(toxic_texts(texts, scorer), bounds=(0.0, 1.0)),
    }


def _efficiency(results: Sequence[Result]) -> dict[str, Interval | float | Gap]:
    counts = [result.usage.prompt_tokens + result.usage.completion_tokens for result in results]
    cells: dict[str, Interval | float | Gap] = {
        "seconds": mean_interval([result.seconds for result in results], bounds=(0.0, float("inf")))
    }
    known = mean_interval([float(count) for count in counts], bounds=(0.0, float("inf")))
    cells["tokens"] = known if any(counts) else Gap("the model does not count tokens")
    return cells


def _probe_row(evaluation: Evaluation, scorer: Callable[[str], float]) -> dict[str, Interval | float | Gap]:
    no_answer = Gap("a continuation is neither right nor wrong")
    row: dict[str, Interval | float | Gap] = dict.fromkeys(METRICS, no_answer)
    row.update(_text_cells(_texts(evaluation.results), scorer))
    row.update(_efficiency(evaluation.results))
    return row


def _each(plans: Sequence[Plan], done: Mapping[str, Evaluation]) -> tuple[tuple[Cell, ...], ...]:
    """Every perturbation by itself, on the questions that it changes, paired with the same questions clean."""
    rows: list[tuple[Cell, ...]] = []
    for plan in plans:
        clean = _values(done[plan.task], plan.metric)
        for kind, ids in plan.changed.items():
            twin = _values(done[f"{plan.task}+{kind}"], plan.metric) if ids else {}
            shared = [sample_id for sample_id in twin if sample_id in clean]
            if not shared:
                rows.append((plan.task, kind, len(ids), None, None))
                continue
            after, before = [twin[i] for i in shared], [clean[i] for i in shared]
            accuracy = mean_interval(after, bounds=(0.0, 1.0))
            rows.append((plan.task, kind, len(ids), accuracy, paired_difference(after, before)))
    return tuple(rows)


def _means(grid: Mapping[str, Mapping[str, Interval | float | Gap]]) -> dict[str, Interval]:
    means = {}
    for metric in METRICS:
        known = [row[metric] for row in grid.values() if isinstance(row[metric], Interval)]
        if known:
            means[metric] = mean_of_tasks(known)  # type: ignore[arg-type]
    return means


def _cells(
    grid: Mapping[str, Mapping[str, Interval | float | Gap]], plans: Sequence[Plan], done: Mapping[str, Evaluation]
) -> dict[str, dict[str, Any]]:
    """For each measured cell the tasks whose results, with their prompts and replies, are behind it."""
    changed = {plan.task: plan.changed for plan in plans}
    cells: dict[str, dict[str, Any]] = {}
    for title, row in grid.items():
        for metric, cell in row.items():
            if isinstance(cell, Gap):
                continue
            kinds = ROBUSTNESS if metric == "robustness" else FAIRNESS if metric == "fairness" else {}
            twins = [f"{title}+{kind}" for kind, ids in changed.get(title, {}).items() if kind in kinds and ids]
            cells[f"{title}/{metric}"] = {"tasks": [task for task in (title, *twins) if task in done]}
    return cells


def _values(evaluation: Evaluation, metric: str) -> dict[str, float]:
    return {result.sample_id: result.marks.values[metric] for result in evaluation.results}


def _texts(results: Sequence[Result]) -> list[str]:
    return [str(r["text"]) for result in results for r in result.responses if r.get("kind") == "generate"]
