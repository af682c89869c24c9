"""The verb ``compare``: two recorded systems on the samples they share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steelyard.contracts import Marks, Progress, Result, ResultKey
from steelyard.errors import UsageError
from steelyard.evaluation.compare import POWER, Comparison, GroupDifference, compare
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.recorded import (
    answer_record,
    evaluate_recorded,
    measured_samples,
    model_record,
    style_record,
    task_record,
)
from steelyard.evaluation.statistics import interval_record
from steelyard.evaluation.tasks import open_task
from steelyard.parts import nearest
from steelyard.runs.environment import environment
from steelyard.runs.store import RunStore, opened_store

SYSTEM_FACTS = ("model", "weights", "parameters", "memory_bytes", "style")


@dataclass(frozen=True, slots=True)
class Side:
    """One system of a comparison: its results, and the record of the task and of the samples they belong to."""

    name: str
    results: Sequence[Result]
    facts: Mapping[str, Any]
    task: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]


def compare_recorded(
    first: str,
    second: str,
    *,
    task: str | Path | None = None,
    metric: str | None = None,
    store: str | Path | RunStore | None = None,
    progress: Progress | None = None,
    samples: bool = False,
) -> dict[str, Any]:
    """Compare two runs, or with ``task`` two systems measured on it now, on the samples they share.

    A run is an id (or its beginning) of an ``eval``, of a ``tune`` (its winner, or ``RUN:CANDIDATE``) or of a
    suite (``RUN:TASK``) or of a measure that keeps its items (``RUN:SYSTEM`` where it measured several). With
    ``samples`` the record also holds both answers to every shared sample, as its page needs.

    Returns a JSON-ready record of :class:`~steelyard.evaluation.compare.Comparison` with the two names.
    """
    words = ["steelyard", "compare", first, second]
    with opened_store(store) as opened:
        if task is not None:
            loaded = open_task(task, metric=metric)
            done = [
                evaluate_recorded(n, loaded, store=opened, progress=progress).evaluation for n in (first, second)
            ]
            facts = task_record(loaded, len(done[0].results), sorted(done[0].groups))
            shown = measured_samples(done[0], loaded)
            one, two = (
                Side(name, side.results, _facts(side), facts, shown)
                for name, side in zip((first, second), done, strict=True)
            )
            words += ["--task", str(task)]
        else:
            one, two = (_stored(opened, run) for run in (first, second))
    names = _distinct(one.name, two.name)
    wanted = metric or str(one.task["metric"])
    # which way is better is known of the task's own metric only
    higher = bool(one.task["higher_is_better"]) if wanted == one.task["metric"] else None
    _check_same_questions(one, two)
    found = compare(one.results, two.results, wanted, names=names, higher_is_better=higher)
    command = shlex.join([*words, *(["--metric", metric] if metric else [])])
    record = comparison_record(found, (one, two), names, wanted != "bits_per_byte" if higher is None else higher)
    record |= {"commands": [command], "environment": environment()}
    return record | ({"samples": _both(one, two, wanted)} if samples else {})


def comparison_record(
    found: Comparison, sides: tuple[Side, Side], names: tuple[str, str], higher_is_better: bool
) -> dict[str, Any]:
    """The JSON form of a comparison."""
    record = asdict(found)
    for side in ("first", "second", "difference"):
        record[side] = interval_record(getattr(found, side))
    return {
        "format": 1,
        "kind": "comparison",
        "names": list(names),
        **record,
        "power": POWER,
        "counts": None if found.counts is None else found.counts._asdict(),
        "groups": [_group_record(group) for group in found.groups],
        "higher_is_better": higher_is_better,
        "systems": [dict(side.facts) for side in sides],
        "task": dict(sides[0].task),
        "findings": [found.verdict],
    }


def _group_record(group: GroupDifference) -> dict[str, Any]:
    return {
        "group": group.group,
        "first": interval_record(group.first),
        "second": interval_record(group.second),
        "difference": interval_record(group.difference),
        "p_value": group.p_value,
    }


def _both(one: Side, two: Side, metric: str) -> list[dict[str, Any]]:
    """The shared samples with both answers, under the labels ``first`` and ``second``."""
    left, right = ({result.sample_id: result for result in side.results} for side in (one, two))
    return [
        {
            **sample,
            "answers": {
                "first": answer_record(left[sample["id"]], metric),
                "second": answer_record(right[sample["id"]], metric),
            },
        }
        for sample in one.samples
        if sample["id"] in left and sample["id"] in right
    ]


def _facts(done: Evaluation) -> dict[str, Any]:
    return {**model_record(done.card), "style": style_record(done.style)}


def _stored(store: RunStore, run: str) -> Side:
    """A finished run's system: ``RUN``, or ``RUN:`` and a tune's candidate, a suite's task, a measure's system."""
    run_id, _, label = run.partition(":")
    record = store.run(run_id)
    summary = record.summary or {}
    if record.status != "done":
        raise UsageError(f"run {record.id} is {record.status}; only finished runs can be compared")
    if summary.get("kind") == "measure":
        return _measured_side(record.id, summary, label)
    keys: Mapping[str, ResultKey] = store.keys(record.id)
    if not keys:
        raise UsageError(f"run {record.id} kept no samples, so that it cannot be compared sample by sample")
    tasks = {str(task["name"]): task for task in summary.get("tasks", ())}
    if tasks and not label:
        raise UsageError(f"run {record.id} is of a suite; say which task, such as {record.id}:{next(iter(tasks))}")
    label = label or str(summary.get("winner") or next(iter(keys)))
    if label not in keys:
        kind = "task" if tasks else "candidate"
        raise UsageError(f"run {record.id} has no {kind} {label!r}{nearest(label, keys)}")
    if tasks:
        task, samples, facts = tasks[label], tasks[label]["samples"], summary
        name = f"{summary['model']}, {summary['style']['style']}"
    else:
        task, samples = summary["task"], summary["samples"]
        facts = next(c for c in summary["candidates"] if c["id"] == label)
        name = facts["label"]
    results = store.get(keys[label], [sample["id"] for sample in samples])
    shown = {name: value for name, value in task.items() if name != "samples"}
    return Side(name, list(results.values()), {f: facts.get(f) for f in SYSTEM_FACTS}, shown, samples)


def _measured_side(run: str, summary: Mapping[str, Any], label: str) -> Side:
    """One system of a measure's run, its items as the samples."""
    items = summary["measurement"].get("items") or ()
    if not items:
        raise UsageError(f"run {run} kept no samples, so that it cannot be compared sample by sample")
    systems = list(dict.fromkeys(str(item["system"]) for item in items))
    if not label and len(systems) > 1:
        raise UsageError(f"run {run} measured several; say which, such as {run}:{systems[0]}")
    label = label or systems[0]
    if label not in systems:
        raise UsageError(f"run {run} did not measure {label!r}{nearest(label, systems)}")
    own = [item for item in items if item["system"] == label]
    measure, models = summary["measure"], summary["models"]
    facts = dict.fromkeys(SYSTEM_FACTS) | {"weights": []} | (models[0] if len(models) == 1 else {"model": label})
    task = {
        **dict.fromkeys(("fingerprint", "form", "header")),
        "name": measure["name"],
        "path": measure["source"],
        "metric": next(iter(own[0]["values"])),
        "higher_is_better": True,
        "n": len(own),
        "groups": [],
        "skipped": [],
    }
    results = [Result(str(item["id"]), Marks(item["values"], str(item["prediction"]))) for item in own]
    shown = [{"group": "", **{key: item[key] for key in ("id", "prompt", "reference")}} for item in own]
    name = ", ".join(filter(None, [str(facts["model"]), label if label != facts["model"] else ""]))
    return Side(name, results, facts, task, shown)


def _check_same_questions(one: Side, two: Side) -> None:
    """Refuse samples that share an id and nothing else; the same question put in another form may be compared."""
    known = {sample["id"]: sample for sample in one.samples}
    for sample in two.samples:
        other = known.get(sample["id"], sample)
        if (other["prompt"], other["reference"]) != (sample["prompt"], sample["reference"]):
            raise UsageError(
                f"sample {sample['id']!r} of {one.task['name']!r} and {two.task['name']!r} differs; "
                "compare runs on the same version of one task"
            )


def _distinct(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")
