"""The record of a tune: everything the report shows, as one JSON-ready dict."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.contracts import Interval, Marks, Result, ResultKey, Sample, Task
from steelyard.evaluation.compare import compare
from steelyard.evaluation.frontier import frontier
from steelyard.evaluation.recorded import sample_record, style_record, task_record
from steelyard.evaluation.significance import holm
from steelyard.evaluation.statistics import interval_record
from steelyard.runs.environment import environment
from steelyard.systems.ground_section import section_data
from steelyard.tuning.candidates import Candidate
from steelyard.tuning.findings import findings
from steelyard.tuning.frontier import choose
from steelyard.tuning.groundings import grounding_text
from steelyard.tuning.limits import Limits
from steelyard.tuning.search import Drop, Search
from steelyard.tuning.settings import TuneSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished search with everything it rested on."""

    run_id: str
    started: float
    task: Task
    settings: TuneSettings
    limits: Limits
    candidates: Sequence[Candidate]
    facts: Mapping[str, Mapping[str, Any]]
    refused: Mapping[str, str]
    costs: Mapping[str, Sequence[float]]
    search: Search
    replay: Search | None
    order: Sequence[Sample]
    marks: Mapping[str, Mapping[str, Marks]]
    keys: Mapping[str, ResultKey]

    @property
    def sign(self) -> float:
        """1 where larger is better, -1 where smaller is."""
        return 1.0 if self.task.higher_is_better else -1.0

    def summary(self, name: str, group: str | None = None) -> dict[str, Interval]:
        """Every metric of a candidate over the samples it answered (in one group)."""
        known = self.marks[name]
        samples = [s for s in self.order if s.id in known and group in (None, s.group)]
        return self.task.summarise([known[s.id] for s in samples], [s.weight for s in samples])

    def winner_of(self, found: Search) -> str:
        """The cheapest good-enough candidate among those that a search measured in full."""
        quality = {name: self.sign * self.summary(name)[self.task.metric].value for name in found.survivors}
        cost = {name: self.costs[name][0] for name in quality}
        target = None if self.settings.target is None else self.sign * self.settings.target
        return choose(quality, cost, tolerance=self.settings.tolerance, target=target)


def build_record(outcome: Outcome, models: Sequence[str], file: Path) -> dict[str, Any]:
    """The whole record; ``system_file``, the text of ``file``, is filled in once it is written."""
    found = outcome.search
    winner = outcome.winner_of(found)
    full = found.survivors
    quality = {name: outcome.sign * outcome.summary(name)[outcome.task.metric].value for name in full}
    front = _frontier(outcome, winner, quality)
    leader = max(full, key=lambda name: quality[name])
    against = _against(outcome, leader)
    records = [_candidate_record(outcome, c, winner, front, leader, against.get(c.id)) for c in outcome.candidates]
    command = _command(outcome, models, file.parent)
    record: dict[str, Any] = {
        "format": 1,
        "kind": "tune",
        "run": {
            "id": outcome.run_id,
            "created": _utc(outcome.started),
            "finished": _utc(time.time()),
            "seconds": time.time() - outcome.started,
            "command": command,
            "seed": outcome.settings.seed,
        },
        "task": task_record(outcome.task, len(outcome.order), sorted({s.group for s in outcome.order if s.group})),
        "limits": {"memory_bytes": outcome.limits.memory_bytes, "latency_seconds": outcome.limits.latency_seconds},
        "by": outcome.settings.by,
        "tolerance": outcome.settings.tolerance,
        "target": outcome.settings.target,
        "candidates": records,
        "frontier": front,
        "winner": winner,
        "budget": _budget(outcome),
        "exhaustive": _agreement(outcome, winner),
        "samples": [sample_record(sample) for sample in outcome.task.samples()],
        "system_file": "",
        "findings": findings(outcome, {r["id"]: r for r in records}, winner, leader),
        "commands": [
            command,
            shlex.join(["steelyard", "eval", str(file), "--task", outcome.task.source]),
            shlex.join(["steelyard", "serve", str(file)]),
        ],
        "environment": environment(),
    }
    return record


def _frontier(outcome: Outcome, winner: str, quality: Mapping[str, float]) -> list[str]:
    """The frontier of all that was measured.

    A dropped candidate counts with the winner's quality plus its paired difference to the winner on the samples
    that both answered: its own mean would depend on how easy those samples happened to be.
    """
    metric = outcome.task.metric
    estimates = dict(quality)
    for name in outcome.search.drops:
        marks, best = outcome.marks[name], outcome.marks[winner]
        differences = [outcome.sign * (marks[s].values[metric] - best[s].values[metric]) for s in marks]
        estimates[name] = quality[winner] + sum(differences) / len(differences)
    front = frontier(estimates, {name: outcome.costs[name] for name in estimates})
    return front if winner in front else [*front, winner]


def _candidate_record(
    outcome: Outcome,
    candidate: Candidate,
    winner: str,
    front: Sequence[str],
    leader: str,
    against: Mapping[str, Any] | None,
) -> dict[str, Any]:
    name = candidate.id
    measured = bool(outcome.marks.get(name))
    summary = outcome.summary(name) if measured else {}
    drop = outcome.search.drops.get(name)
    status = (
        "refused" if name in outcome.refused else "dropped" if drop else "frontier" if name in front else "kept"
    )
    key = outcome.keys.get(name)
    groups = sorted({s.group for s in outcome.order if s.group and s.id in outcome.marks.get(name, {})})
    metric = outcome.task.metric
    facts = outcome.facts[name]
    return {
        "id": name,
        "label": candidate.label,
        "model": candidate.variant.model,
        "weights": [dict(entry) for entry in candidate.variant.weights],
        "style": style_record(candidate.style),
        **({"ground": section_data(candidate.ground)} if candidate.ground is not None else {}),
        "parameters": facts["parameters"],
        "memory_bytes": facts["memory_bytes"],
        "latency": facts.get("latency"),
        "operations": facts.get("operations"),
        "quality": interval_record(summary[metric]) if measured else None,
        "metrics": {metric_name: interval_record(value) for metric_name, value in summary.items()},
        "groups": {group: interval_record(outcome.summary(name, group)[metric]) for group in groups},
        "status": "winner" if name == winner else status,
        "reason": outcome.refused.get(name) or _reason(outcome, name, drop, winner, leader, name in front),
        "round": drop.round if drop else None,
        "against_leader": dict(against) if against else None,
        "key": {"model": key.model, "task": key.task, "settings": key.settings} if key else None,
    }


def _reason(outcome: Outcome, name: str, drop: Drop | None, winner: str, leader: str, on_front: bool) -> str:
    labels = {c.id: c.label for c in outcome.candidates}
    if drop:
        chance = f"{drop.chance:.1%}" if drop.chance else "nil"
        where = (
            f"{drop.behind:.3f} behind {labels[drop.leader]}" if drop.behind > 0 else "among the best, but dearer"
        )
        front = "; on the frontier by what it was measured on" if on_front else ""
        return f"dropped after {drop.n} samples: {where}, its chance of being handed over {chance}{front}"
    if name == winner:
        return f"the cheapest by {outcome.settings.by} among those good enough"
    return "the best quality measured" if name == leader else "measured on every sample"


def _against(outcome: Outcome, leader: str) -> dict[str, dict[str, Any]]:
    """Paired differences to the leader (candidate minus leader), their p-values corrected together."""
    weights = {sample.id: sample.weight for sample in outcome.order}
    results = {
        name: [Result(sample_id, mark, weight=weights[sample_id]) for sample_id, mark in marks.items()]
        for name, marks in outcome.marks.items()
    }
    metric = outcome.task.metric
    found = {name: compare(results[name], results[leader], metric) for name in results if name != leader}
    corrected = holm([comparison.p_value for comparison in found.values()])
    return {
        name: {"leader": leader, "difference": interval_record(comparison.difference), "p_value": p_value}
        for (name, comparison), p_value in zip(found.items(), corrected, strict=True)
    }


def _budget(outcome: Outcome) -> dict[str, Any]:
    found = outcome.search
    rounds = [
        {
            "round": past.number,
            "samples": past.samples,
            "alive": len(past.alive),
            "dropped": [drop.candidate for drop in past.dropped],
        }
        for past in found.rounds
    ]
    total = len(outcome.candidates) * len(outcome.order)
    return {
        "search": outcome.settings.search,
        "cells_total": total,
        "cells_measured": found.cells,
        "risk": found.risk,
        "rounds": rounds,
    }


def _agreement(outcome: Outcome, winner: str) -> dict[str, Any] | None:
    """What the budgeted search would have done on the cells of an exhaustive run."""
    if outcome.replay is None:
        return None
    budgeted = outcome.winner_of(outcome.replay)
    return {
        "budgeted_winner": budgeted,
        "exhaustive_winner": winner,
        "budgeted_cells": outcome.replay.cells,
        "exhaustive_cells": outcome.search.cells,
        "agree": budgeted == winner,
    }


def _command(outcome: Outcome, models: Sequence[str], out: Path) -> str:
    """The command line that does the same again."""
    settings, default = outcome.settings, TuneSettings()
    words = ["steelyard", "tune", outcome.task.source]
    for model in models:
        words += ["--model", model]
    for option, values in (("--style", settings.styles or ()), ("--shots", settings.shots or ())):
        for value in values:
            words += [option, str(value)]
    for weights in settings.weights:
        words += ["--weights", weights if isinstance(weights, str) else _weights_text(weights)]
    for option in ("docs", "index"):
        if getattr(settings, option) is not None:
            words += [f"--{option}", str(getattr(settings, option))]
    for entry in settings.ground or ():
        words += ["--ground", grounding_text(entry)]
    limits = settings.limits.items() if isinstance(settings.limits, dict) else ()
    for text in [f"{name}={value}" for name, value in limits] or settings.limits:
        words += ["--limit", str(text)]
    for name in ("calibration", "metric", "by", "tolerance", "target", "search", "timing_samples", "seed"):
        value = getattr(settings, name)
        if value != getattr(default, name):
            words += ["--" + name.replace("_", "-"), str(value)]
    words += ["--out", str(out)]
    return shlex.join(words + (["--exhaustive"] if settings.exhaustive else []))


def _weights_text(entries: Sequence[Mapping[str, Any]]) -> str:
    def word(part: str, settings: Mapping[str, Any]) -> str:
        pairs = ",".join(f"{name}={value}" for name, value in settings.items())
        return f"{part}:{pairs}" if pairs else part

    return "+".join(word(part, settings or {}) for entry in entries for part, settings in entry.items()) or "none"


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
