"""Scenarios of the multi-metric suite: public sets in their layouts, and whatever the user names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.contracts import Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.question_task import QuestionTask
from steelyard.evaluation.records import SUFFIXES
from steelyard.evaluation.schema import kind_of, split_of
from steelyard.evaluation.task_header import TaskHeader, data_folder, how_to_get, records_of

PAPER = "Holistic Evaluation of Language Models"


class Layout(NamedTuple):
    """A public set: its file, how a record becomes the columns of a task file, and its licence."""

    file: str
    columns: Callable[[Mapping[str, Any]], dict[str, Any]]
    licence: str


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": record["question"], "choices": list(record["choices"]), "answer": int(record["label"])}


def _commonsense(record: Mapping[str, Any]) -> dict[str, Any]:
    question = record["question"]
    labels = [choice["label"] for choice in question["choices"]]
    texts = [choice["text"] for choice in question["choices"]]
    return {"prompt": question["stem"], "choices": texts, "answer": labels.index(record["answerKey"])}


def _open(record: Mapping[str, Any]) -> dict[str, Any]:
    answers = record["answer"]
    return {"prompt": record["question"], "answers": [answers] if isinstance(answers, str) else list(answers)}


LAYOUTS: Mapping[str, Layout] = {
    "boolq": Layout("test.jsonl", _flat, "ODC-By with terms of its own"),
    "arc_challenge": Layout("test.jsonl", _flat, "ODC-By with terms of its own"),
    "piqa": Layout("test.jsonl", _flat, "ODC-By with terms of its own"),
    "commonsenseqa": Layout("dev.jsonl", _commonsense, "not stated"),
    "nq_open": Layout("dev_even.jsonl", _open, "CC BY-SA 3.0"),
}
"""Sets that are known by name, in the order in which they are measured."""


def scenario(name: str, data: str | None, *, samples: int | None, shots: int, seed: int) -> QuestionTask:
    """One scenario with rows to test and rows to show.

    Where a task has no rows of its own to show, ``shots`` of its rows, drawn by seed, become those and are not
    tested: every task made from the scenario then shows the same examples. ``samples`` test rows are taken, the
    first ones.

    Raises:
        UsageError: No such set or task, a task that is no question task, or one of texts.
        InputError: A damaged record.
    """
    task = _public(name, data) if name in LAYOUTS else _named(name)
    if any(kind_of(row) == "text" for row in task.rows):
        raise UsageError(f"{name}: texts without questions have no accuracy; name a task of questions")
    shown = [row for row in task.rows if split_of(row) == "train"]
    tested = [row for row in task.rows if split_of(row) == "test"]
    if not shown and shots:
        order = sorted(tested, key=lambda row: hashlib.sha256(f"{seed}:{row.id}".encode()).digest())
        drawn = {row.id for row in order[:shots]}
        shown = [replace(row, data={**row.data, "split": "train"}) for row in order[:shots]]
        tested = [row for row in tested if row.id not in drawn]
    if not tested:
        raise UsageError(f"{name}: no rows are left to test beside {shots} examples; set shots to fewer")
    return replace(task, rows=(*shown, *tested[:samples]))


def _public(name: str, data: str | None) -> QuestionTask:
    layout = LAYOUTS[name]
    header = TaskHeader(PAPER, name, layout.licence, "accuracy", folder=name, layout=layout.file)
    folder = data_folder(header, str(Path(data) / name) if data is not None else None)
    if folder is None:
        raise UsageError(f"the data of {name} are not here; {how_to_get(header)}")
    file = folder / layout.file
    if not file.exists():
        raise InputError(f"{file}: no such file; {how_to_get(header)}")
    rows = []
    for place, record in records_of(file):
        try:
            columns = layout.columns(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{place}: not a record of {name} ({type(error).__name__}: {error}); check it"
            ) from None
        rows.append(Sample(str(record.get("id", place.rsplit(":", 1)[-1])), {**columns, "split": "test"}))
    return QuestionTask(name, tuple(rows), "accuracy", source=name, header=header)


def _named(name: str) -> QuestionTask:
    from steelyard.evaluation.tasks import open_task

    if Path(name).suffix.lower() not in SUFFIXES and ":" not in name and not Path(name).exists():
        hint = f"sets known by name are {', '.join(LAYOUTS)}"
        try:
            task = open_task(name)
        except UsageError as error:
            raise UsageError(f"{error}; {hint}") from None
    else:
        task = open_task(name)
    if not isinstance(task, QuestionTask):
        raise UsageError(
            f"{name} asks with prompts of its own, which cannot be perturbed; name a task of questions"
        )
    header = task.header or TaskHeader(PAPER, task.name, "the user's own", task.metric)
    return replace(task, header=header)
