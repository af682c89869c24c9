"""The record of a compression: everything its page shows, as one JSON-ready dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.contracts import AppliedPart, ModelCard, Task
from steelyard.evaluation.compare import GroupDifference
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Measurement
from steelyard.evaluation.recorded import measured_samples, model_record, task_record
from steelyard.evaluation.statistics import interval_record
from steelyard.runs.environment import environment
from steelyard.tuning.compressing.metric_card import MetricCard, loss_text, losses, megabytes
from steelyard.tuning.compressing.quality import SIDES, CheckPlan


@dataclass(frozen=True, slots=True)
class Handover:
    """A compression with what became of it.

    ``problems`` are the losses that are not shown to stay within ``max_loss``; ``folder`` is where the checkpoint
    was saved, None where it was not. ``calibration`` and ``held_out`` say where texts came from.
    """

    before: ModelCard
    after: ModelCard
    card: MetricCard
    plan: CheckPlan | None
    calibration: Mapping[str, Any] | None
    held_out: Mapping[str, Any] | None
    max_loss: float | None
    problems: Sequence[str]
    forced: bool
    folder: Path | None


def findings(done: Handover) -> list[str]:
    """What was found, a sentence each; a change is called one only where its test supports it."""
    card, found = done.card, []
    found.append(
        f"Stored weights: {megabytes(card.before.stored_bytes)} before, {megabytes(card.after.stored_bytes)} after"
        f" (compression ratio {card.compression_ratio:.2f}, {card.after.bits_per_weight:.2f} bits a weight)."
    )
    if card.quality is None:
        found.append("Quality was not measured: the check was switched off.")
    else:
        for name, paired in losses(card.quality).items():
            shown = paired.p_value <= 0.05
            found.append(f"{name}: {loss_text(name, paired)}" + ("." if shown else "; no change is shown."))
    if done.max_loss is not None and not done.problems:
        found.append(f"Every loss is shown to be at most {done.max_loss:.1%}.")
    found += [f"{problem}." for problem in done.problems]
    if done.problems:
        found.append("It was saved all the same, as asked." if done.forced else "It was not saved.")
    return found


def build_record(done: Handover, run: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The whole record of a run of the verb ``compress``."""
    return {
        "format": 1,
        "kind": "compress",
        "run": {**run, "command": command, "seed": 0},
        "card": done.card.to_record(),
        "systems": {side: model_record(card) for side, card in zip(SIDES, (done.before, done.after), strict=True)},
        "fingerprints": {"before": done.before.fingerprint, "after": done.after.fingerprint},
        "parts": parts_record(done.after.parts),
        "calibration": done.calibration,
        "held_out": done.held_out,
        "limit": {"max_loss": done.max_loss, "problems": list(done.problems), "forced": done.forced},
        "folder": None if done.folder is None else str(done.folder),
        "measurement": Measurement("compress", {}, (done.card.table(),)).to_record(),
        "tasks": _task_records(done),
        "findings": findings(done),
        "commands": [command],
        "environment": environment(),
    }


def parts_record(parts: Sequence[AppliedPart]) -> list[dict[str, Any]]:
    """Applied parts with the settings they ran with."""
    return [{"name": part.name, "settings": dict(part.settings)} for part in parts]


def _task_records(done: Handover) -> list[dict[str, Any]]:
    quality = done.card.quality
    if done.plan is None or quality is None:
        return []
    groups = {group.group: group for group in quality.tasks}
    sides = zip(done.plan.all_tasks, quality.evaluations["before"], quality.evaluations["after"], strict=True)
    texts, *asked = [_task_record(task, before, after, groups.get(task.name)) for task, before, after in sides]
    return [*asked, texts]  # a reader browses answers first


def _task_record(
    task: Task, before: Evaluation, after: Evaluation, difference: GroupDifference | None
) -> dict[str, Any]:
    """One task: both models, and the paired difference of a task whose items are right or wrong."""
    return {
        **task_record(task, len(before.results), sorted(before.groups)),
        "before": interval_record(before.summary[before.metric]),
        "after": interval_record(after.summary[after.metric]),
        "difference": None if difference is None else interval_record(difference.difference),
        "p_value": None if difference is None else difference.p_value,
        "samples": measured_samples(before, task),
    }
