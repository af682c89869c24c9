"""The verb ``eval``: measuring with a run in the store, so that it can be read again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steelyard.contracts import LanguageModel, ModelCard, Progress, PromptStyle, Result, Sample, Task
from steelyard.errors import SteelyardError, UsageError
from steelyard.evaluation.evaluate import Evaluation, evaluate, unwrapped
from steelyard.evaluation.prompting import check_style, listed
from steelyard.evaluation.reliability import reliability_of_marks
from steelyard.evaluation.statistics import interval_record, interval_text
from steelyard.evaluation.tasks import open_task
from steelyard.parts import nearest
from steelyard.runs.environment import environment
from steelyard.runs.store import RunStore, opened_store
from steelyard.systems.loading import load

CHUNK = 32
"""Samples asked, and then kept, at a time."""


@dataclass(frozen=True, slots=True)
class RecordedEvaluation:
    """An evaluation and the id of its run in the store."""

    run_id: str
    evaluation: Evaluation


def evaluate_recorded(
    model: str | LanguageModel,
    task: str | Path | Task,
    *,
    store: str | Path | RunStore | None = None,
    progress: Progress | None = None,
    metric: str | None = None,
    samples: int | None = None,
    on: str | None = None,
    loading: Mapping[str, Any] | None = None,
    **style: Any,
) -> RecordedEvaluation:
    """Measure ``model`` on ``task`` and note the run; what the store already has is not measured again.

    Args:
        model: a name that :func:`steelyard.load` takes (also a system file), or a model.
        task: a task file, a benchmark with its settings (``"belebele:language=swh_Latn"``), or a task.
        store: run store, a path, a database URL, or None for the project's own.
        progress: told of every finished chunk.
        metric: what ranks systems on this task (default: the task's own).
        samples: measure only the first so many.
        on: ``ray`` or ``ray:ADDRESS``: the workers of a Ray cluster load the model and share the samples; results
            are written here, so a worker that dies loses none.
        loading: options of :func:`steelyard.load` where ``model`` is a name, such as ``{"memory": "900MB"}``.
        **style: ``style``, ``shots`` and ``seed`` of the prompt; what is not given is as the system says.

    Example::

        steelyard.eval("smollm2-135m", "task.jsonl", shots=3).evaluation.summary["accuracy"]
    """
    loaded = open_task(task, metric=metric) if isinstance(task, str | Path) else task
    with opened_store(store) as opened:
        system = loaded_model(model, on, loading or {})
        asked = asked_style(system, style)
        ids = [sample.id for sample in loaded.samples()[:samples]]
        name = model if isinstance(model, str) else system.card.name
        settings = {
            "task": loaded.source or loaded.name,
            "model": name,
            "metric": loaded.metric,
            "samples": samples,
        }
        run_id = opened.start("eval", {**settings, **({"on": on} if on else {}), **style_record(asked)})
        try:
            done = evaluate(
                system,
                loaded,
                style=asked,
                store=opened,
                sample_ids=ids,
                progress=progress,
                chunk=CHUNK * workers_of(system),
            )
        except SteelyardError as error:
            opened.finish(run_id, "failed", {"error": str(error)})
            raise
        opened.link(run_id, "c01", done.key)
        words = command_words(name, asked, samples, on)
        command = shlex.join([*words, "--task", loaded.source or loaded.name, "--metric", loaded.metric])
        opened.finish(run_id, "done", eval_record(done, loaded, run_id, command))
    return RecordedEvaluation(run_id, done)


def eval_record(done: Evaluation, task: Task, run_id: str, command: str) -> dict[str, Any]:
    """The record of an eval run: the same form as a tune's, with one candidate and no search."""
    shots = f", {done.style.shots} shots" if done.style.shots else ""
    candidate = candidate_record("c01", f"{done.card.name}, {done.style.style}{shots}", done)
    skipped = getattr(task, "skipped", ())
    quality = interval_text(candidate["quality"])
    left_out = [f"{len(skipped)} damaged rows were left out, first {skipped[0]}"] if skipped else []
    return {
        "format": 1,
        "kind": "eval",
        "run": {"id": run_id, "command": command, "seed": done.style.seed, "seconds": done.seconds},
        "task": task_record(task, len(done.results), sorted(done.groups)),
        "limits": {"memory_bytes": None, "latency_seconds": None},
        "by": "latency",
        "tolerance": 0.0,
        "target": None,
        "candidates": [candidate],
        "frontier": None,
        "winner": None,
        "budget": None,
        "exhaustive": None,
        "samples": measured_samples(done, task),
        "system_file": None,
        "findings": [
            f"{candidate['label']}: {task.metric} {quality} on {len(done.results)} samples.",
            *left_out,
        ],
        "commands": [command],
        "environment": environment(),
    }


def candidate_record(name: str, label: str, done: Evaluation) -> dict[str, Any]:
    """A system that was measured on every sample, in the form of a tune's candidates."""
    return {
        "id": name,
        "label": label,
        **model_record(done.card),
        "style": style_record(done.style),
        "latency": None,
        "operations": None,
        "quality": interval_record(done.summary[done.metric]) if done.metric in done.summary else None,
        "status": "kept",
        "reason": "measured on every sample",
        "round": None,
        "against_leader": None,
        **figures_of(done),
    }


def model_record(card: ModelCard) -> dict[str, Any]:
    """What a report says of a model."""
    return {
        "model": card.name,
        "weights": [{part.name: dict(part.settings)} for part in card.parts],
        "parameters": card.parameters,
        "memory_bytes": card.memory_bytes,
    }


def figures_of(done: Evaluation) -> dict[str, Any]:
    """Every metric, the ranking metric by group, how far confidences can be relied on, and the results' key."""
    relied = reliability_of_marks([result.marks for result in done.results])
    return {
        "metrics": {name: interval_record(value) for name, value in done.summary.items()},
        "groups": {name: interval_record(value[done.metric]) for name, value in done.groups.items()},
        "calibration": None if relied is None else relied.to_record(),
        "key": {"model": done.key.model, "task": done.key.task, "settings": done.key.settings},
    }


def measured_samples(done: Evaluation, task: Task) -> list[dict[str, Any]]:
    """The samples that were measured, as :func:`sample_record` shows them."""
    measured = {result.sample_id for result in done.results}
    return [sample_record(sample) for sample in task.samples() if sample.id in measured]


def task_record(task: Task, n: int, groups: Sequence[str]) -> dict[str, Any]:
    """What a report says of a task: where it comes from, how it is put, what was left out."""
    header = getattr(task, "header", None)
    choices = any("choices" in sample.data for sample in task.samples())  # only choices have a form
    return {
        "name": task.name,
        "path": task.source or task.name,
        "fingerprint": task.fingerprint,
        "metric": task.metric,
        "higher_is_better": task.higher_is_better,
        "n": n,
        "groups": list(groups),
        "form": getattr(task, "form", None) if choices else None,
        "header": None if header is None else header.to_record(),
        "skipped": list(getattr(task, "skipped", ())),
    }


def sample_record(sample: Sample) -> dict[str, Any]:
    """A sample as a reader wants to see it: its question, and what would be right."""
    data = sample.data
    turns = [f"{turn['role']}: {turn['content']}" for turn in data.get("messages", ())]
    prompt = "\n\n".join(filter(None, [data.get("context", ""), data.get("prompt", ""), *turns]))
    if "choices" in data:
        prompt, reference = f"{prompt}\n{listed(data['choices'])}", str(data["choices"][data["answer"]])
    else:
        reference = " | ".join(data["answers"]) if "answers" in data else str(data.get("text", ""))
        reference = reference or str(data.get("reference", ""))
    return {"id": sample.id, "group": sample.group, "prompt": prompt, "reference": reference}


def answer_record(result: Result, metric: str) -> dict[str, Any]:
    """One system's answer to one sample, with all that was asked and said, as a report's samples carry it."""
    return {
        "prediction": result.marks.prediction,
        "value": result.marks.values.get(metric),
        "seconds": result.seconds,
        "requests": list(result.requests),
        "responses": list(result.responses),
    }


def style_record(style: PromptStyle) -> dict[str, Any]:
    """A prompt style as a system file writes it; examples are left out."""
    record: dict[str, Any] = {"style": style.style, "shots": style.shots, "seed": style.seed}
    return record | ({"instruction": style.instruction} if style.instruction else {})


def asked_style(system: LanguageModel, given: Mapping[str, Any]) -> PromptStyle:
    """The system's own prompt style with what was given changed; new shots or seed draw new examples."""
    changes = {name: value for name, value in given.items() if value is not None}
    for name in changes:
        if name not in ("style", "shots", "seed"):
            raise UsageError(f"eval has no setting {name!r}{nearest(name, ['style', 'shots', 'seed'])}")
    _, own = unwrapped(system)
    changed = replace(own, **changes)
    check_style(changed.style, changed.shots)
    redrawn = (changed.shots, changed.seed) != (own.shots, own.seed)
    return replace(changed, examples=()) if redrawn else changed


def loaded_model(model: str | LanguageModel, on: str | None, options: Mapping[str, Any]) -> LanguageModel:
    """The model, loaded where it is a name; ``on`` says where."""
    if isinstance(model, str):
        return load(model, on=on, **options)
    if on is not None:
        raise UsageError("--on needs the model by name, for the workers to load it; this one is loaded already")
    return model


def workers_of(model: LanguageModel) -> int:
    """How many workers share the work: each gets a chunk of its own in every call."""
    from steelyard.models.ray_model import RayModel

    asked, _ = unwrapped(model)
    return asked.plan.workers if isinstance(asked, RayModel) else 1


def command_words(name: str, style: PromptStyle | None, samples: int | None, on: str | None = None) -> list[str]:
    """The words of an ``eval`` command, but for what it measures; without ``style`` it is asked in its own."""
    words = ["steelyard", "eval", name]
    if style is not None:
        words += ["--style", style.style, "--shots", str(style.shots)]
        words += ["--seed", str(style.seed)] if style.seed else []
    words += ["--samples", str(samples)] if samples else []
    return words + (["--on", on] if on else [])
