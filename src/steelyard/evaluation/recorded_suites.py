"""Runs of suites and measures: measured with a run in the store, so that they can be read again."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import LanguageModel, Progress, PromptStyle, Task
from steelyard.errors import SteelyardError, UsageError
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Measurement
from steelyard.evaluation.recorded import (
    asked_style,
    command_words,
    figures_of,
    measured_samples,
    model_record,
    style_record,
    task_record,
)
from steelyard.evaluation.statistics import interval_record, interval_text
from steelyard.evaluation.suite import Suite, evaluate_suite
from steelyard.evaluation.tasks import Measure
from steelyard.runs.environment import environment
from steelyard.runs.store import RunStore


@dataclass(frozen=True, slots=True)
class RecordedSuite:
    """A suite's summary, the evaluations of its tasks, and the id of its run in the store."""

    run_id: str
    measurement: Measurement
    evaluations: list[Evaluation]


@dataclass(frozen=True, slots=True)
class RecordedMeasurement:
    """A measure's result and the id of its run in the store."""

    run_id: str
    measurement: Measurement


def record_suite(
    model: LanguageModel,
    suite: Suite,
    store: RunStore,
    *,
    name: str,
    samples: int | None = None,
    progress: Progress | None = None,
    style: Mapping[str, Any] | None = None,
) -> RecordedSuite:
    """Measure every task of a suite and note the run; what the store already has is not measured again."""
    given = {key: value for key, value in (style or {}).items() if value is not None}
    own = suite.style is not None and not given.keys() - {"seed"}
    asked = suite.style if own and suite.style is not None else asked_style(model, given)
    run_id = store.start("eval", {"suite": suite.source or suite.name, "model": name, "samples": samples})
    try:
        done = evaluate_suite(model, suite, style=asked, store=store, samples=samples, progress=progress)
        found = suite.summary(suite.name, done)
    except SteelyardError as error:
        store.finish(run_id, "failed", {"error": str(error)})
        raise
    for task, evaluation in zip(suite.tasks, done, strict=True):
        store.link(run_id, task.name, evaluation.key)
    words = command_words(name, None if own else asked, samples)
    command = shlex.join([*words, "--suite", suite.source or suite.name])
    store.finish(run_id, "done", _suite_record(suite, done, found, asked, run_id, command))
    return RecordedSuite(run_id, found, done)


def record_measure(
    measured: Sequence[LanguageModel | str], measure: Measure, store: RunStore, *, names: Sequence[str]
) -> RecordedMeasurement:
    """Run a measure on models, or on indexes, and note the run.

    Raises:
        UsageError: Several models for a measure of one.
    """
    if measure.takes == "model" and len(measured) != 1:
        raise UsageError(f"{measure.name} measures one model at a time, not {len(measured)}")
    run_id = store.start("eval", {"measure": measure.source, "models": list(names)})
    began = time.perf_counter()
    try:
        given = measured[0] if measure.takes == "model" else list(measured)
        found = measure.function(given, **measure.settings)
    except SteelyardError as error:
        store.finish(run_id, "failed", {"error": str(error)})
        raise
    command = shlex.join(["steelyard", "eval", *names, "--task", measure.source])
    record = {
        "format": 1,
        "kind": "measure",
        "run": {"id": run_id, "command": command, "seed": None, "seconds": time.perf_counter() - began},
        "measure": {"name": measure.name, "source": measure.source},
        "models": [_measured_record(one, name) for one, name in zip(measured, names, strict=True)],
        "measurement": found.to_record(),
        "findings": _findings(found),
        "commands": [command],
        "environment": environment(),
    }
    store.finish(run_id, "done", record)
    return RecordedMeasurement(run_id, found)


def _measured_record(one: LanguageModel | str, name: str) -> dict[str, Any]:
    """What a report says of a model, or of an index, which has neither weights nor parameters."""
    if isinstance(one, LanguageModel):
        return model_record(one.card)
    return {"model": name, "weights": [], "parameters": None, "memory_bytes": None}


def _suite_record(
    suite: Suite, done: Sequence[Evaluation], found: Measurement, style: PromptStyle, run_id: str, command: str
) -> dict[str, Any]:
    return {
        "format": 1,
        "kind": "suite",
        "run": {
            "id": run_id,
            "command": command,
            "seed": style.seed,
            "seconds": sum(evaluation.seconds for evaluation in done),
        },
        "suite": {"name": suite.name, "source": suite.source or suite.name, "fingerprint": suite.fingerprint},
        **model_record(done[0].card),
        "style": style_record(style),
        "tasks": [_task_record(task, evaluation) for task, evaluation in zip(suite.tasks, done, strict=True)],
        "measurement": found.to_record(),
        "findings": _findings(found),
        "commands": [command],
        "environment": environment(),
    }


def _task_record(task: Task, done: Evaluation) -> dict[str, Any]:
    figures = figures_of(done)
    by_group = figures.pop("groups")  # the names of the groups have that place in the record of a task
    return {
        **task_record(task, len(done.results), sorted(done.groups)),
        "quality": interval_record(done.summary[done.metric]),
        "seconds": done.seconds,
        **figures,
        "by_group": by_group,
        "samples": measured_samples(done, task),
    }


def _findings(found: Measurement) -> list[str]:
    values = [f"{name}: {interval_text(interval_record(value))}" for name, value in found.values.items()]
    return [*values, *found.notes]
