"""Samples' answers, put back from the run store into a record: the store keeps them once, under their key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Result, ResultKey
from steelyard.evaluation.recorded import answer_record
from steelyard.runs.store import RunStore


@dataclass(frozen=True, slots=True)
class Stored:
    """The results that a run is linked with, by label."""

    store: RunStore
    keys: Mapping[str, ResultKey]

    def get(self, label: str, ids: Sequence[str]) -> Mapping[str, Result]:
        """A label's results of these samples; a sample that was not measured is absent."""
        return self.store.get(self.keys[label], ids) if label in self.keys else {}


SYSTEM = "c01"
"""What the only system of a suite is called in its samples' answers."""


def of_systems(record: Mapping[str, Any], stored: Stored) -> dict[str, Any]:
    """Results are kept under the names of candidates: every sample gets one answer a candidate."""
    samples = record.get("samples") or ()
    if not samples:
        return dict(record)
    ids = [sample["id"] for sample in samples]
    results = {label: stored.get(label, ids) for label in stored.keys}
    metric = str(record["task"]["metric"])
    return {**record, "samples": [_answered(sample, results, metric) for sample in samples]}


def of_tasks(record: Mapping[str, Any], stored: Stored) -> dict[str, Any]:
    """Results are kept under the names of tasks: every sample of a task gets the answer of the one system."""
    return {**record, "tasks": [_answered_task(task, stored) for task in record["tasks"]]}


def of_sides(record: Mapping[str, Any], stored: Stored) -> dict[str, Any]:
    """Results are kept under ``before/TASK`` and ``after/TASK``: every sample gets the answers of both models."""
    return {**record, "tasks": [_answered_twice(task, stored) for task in record["tasks"]]}


def unchanged(record: Mapping[str, Any], stored: Stored) -> dict[str, Any]:
    """The record of a run that keeps no samples."""
    return dict(record)


def _answered_task(task: Mapping[str, Any], stored: Stored) -> dict[str, Any]:
    found = stored.get(str(task["name"]), [sample["id"] for sample in task["samples"]])
    metric = str(task["metric"])
    return {**task, "samples": [_answered(sample, {SYSTEM: found}, metric) for sample in task["samples"]]}


def _answered_twice(task: Mapping[str, Any], stored: Stored) -> dict[str, Any]:
    ids, metric = [sample["id"] for sample in task["samples"]], str(task["metric"])
    found = {side: stored.get(f"{side}/{task['name']}", ids) for side in ("before", "after")}
    return {**task, "samples": [_answered(sample, found, metric) for sample in task["samples"]]}


def _answered(
    sample: Mapping[str, Any], results: Mapping[str, Mapping[str, Result]], metric: str
) -> dict[str, Any]:
    found = {
        label: answer_record(by_sample[sample["id"]], metric)
        for label, by_sample in results.items()
        if sample["id"] in by_sample
    }
    return {**sample, "answers": found}
