"""I am a Strange Dataset: can a model handle statements about themselves?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from steelyard.contracts import Interval, Marks, PromptStyle, Request, Response, Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.strange.prompts import Subtask, marks_of, requests_for, statement
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.task_header import TaskHeader, data_folder, records_of
from steelyard.parts import part

RULES = "strange/1"
ITEMS_FILE = Path(__file__).with_name("items.json")
HEADER = TaskHeader(
    paper="I am a Strange Dataset: Metalinguistic Tests for Language Models",
    data_set="I am a Strange Dataset; without data, our own mechanically checkable items in its form",
    licence="MIT",
    metric="accuracy; chance is 0.5",
    folder="i_am_a_strange_dataset",
    layout="i_am_a_strange_dataset.jsonl (beginning, true_continuation, false_continuation, id)",
    url="https://github.com/TristanThrush/i-am-a-strange-dataset",
)


@part(papers=[276], kind="suite")
def strange_dataset(
    *,
    subtasks: list[Literal["generation", "zero-shot", "few-shot", "text", "cot"]] | None = None,
    controls: bool = True,
    data: str | None = None,
) -> Suite:
    """Self-referential statements ("This sentence has ten words."): generated, judged, and against controls.

    An item is a beginning with a true and a false continuation. ``generation``: is the true statement likelier,
    per token, than the false one? ``zero-shot`` and ``few-shot``: which of " True" and " False" is likelier as the
    answer to whether a statement is true, for both statements; ``relative`` compares the ratio of the two losses
    between the statements. ``text`` and ``cot`` read the answer from what the model writes, at once or after
    reasoning. Controls put the statement about another sentence, the same one, before it. Ties count half, so that
    a model without preference scores exactly 0.5. The summary gives each with its interval, whether it includes
    chance, the paired difference to its control, and accuracy by tag.

    Without ``data`` the items are our own: statements whose truth a rule can count
    (:mod:`steelyard.evaluation.benchmarks.strange.rules`). The authors publish theirs encrypted, for people to
    read and never for training; decrypt them with their script and give the file as ``data``. Items used as
    few-shot examples are left out, and items without a non-self-referential beginning have no control.

    Args:
        subtasks: Which of them; by default generation, zero-shot and few-shot.
        controls: Whether to measure the controls too.
        data: The decrypted JSONL file.

    Raises:
        InputError: A damaged record.
        UsageError: No subtasks.

    Source:
        "I am a Strange Dataset" (2024), sections 3 and 4, and the authors' evaluation scripts. They count ties as
        wrong, and for local models take the relative metric's losses over prompt and answer together; here, as for
        API models there, over the answer.

    Relations:
        ``lmentry`` asks for words and letters of other texts; ``mcq-exam-benchmark`` scores letters in the same
        way.

    Example:
        >>> suite = strange_dataset(subtasks=["generation", "cot"])  # doctest: +SKIP
    """
    wanted: list[Subtask] = list(dict.fromkeys(subtasks or ["generation", "zero-shot", "few-shot"]))
    shipped = json.loads(ITEMS_FILE.read_text(encoding="utf-8"))
    items = _items(data, shipped)
    tasks = []
    for control in (False, True) if controls else (False,):
        rows = _rows(items, control)
        examples = shipped["control_examples" if control else "examples"]
        for subtask in wanted if rows else ():
            tasks.append(_task(subtask, rows, examples, control))
    return Suite("strange-dataset", tuple(tasks), strange_summary)


def _items(data: str | None, shipped: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if data is None:
        return list(shipped["items"])
    file = data_folder(HEADER, data)
    if file is not None and file.is_dir():
        file = file / "i_am_a_strange_dataset.jsonl"
    if file is None or not file.exists():
        raise UsageError(f"{file or data}: no such file; decrypt the data set with its authors' script")
    shown = {str(example["beginning"]) for example in shipped["examples"]}
    items: list[Mapping[str, Any]] = []
    for place, record in records_of(file):
        for name in ("beginning", "true_continuation", "false_continuation"):
            if not isinstance(record.get(name), str):
                raise InputError(f"{place}: has no text {name!r}; the columns are {HEADER.layout}")
        if record["beginning"] not in shown:
            items.append({**record, "id": str(record.get("id", place.rsplit(":", 1)[-1]))})
    if not items:
        raise InputError(f"{file}: has no items; decrypt the data set with its authors' script")
    return items


def _rows(items: Sequence[Mapping[str, Any]], control: bool) -> tuple[Sample, ...]:
    rows = []
    for item in items:
        if control and (
            not item.get("non_self_referential_beginning") or item.get("used_in_non_self_referential_prompt")
        ):
            continue
        tags = item.get("tags") or item.get("tag") or []
        first = tags if isinstance(tags, str) else next(iter(tags), "")
        text = statement(item, true=True, control=control)
        rows.append(Sample(str(item["id"]), {**item, "prompt": text, "split": "test"}, group=first))
    return tuple(rows)


def _task(
    subtask: Subtask, rows: tuple[Sample, ...], examples: Sequence[Mapping[str, Any]], control: bool
) -> BenchmarkTask:
    shown = list(examples) if subtask in ("few-shot", "cot") else []
    return BenchmarkTask(
        name=f"strange-{subtask}{'-control' if control else ''}",
        rows=rows,
        ask=partial(_ask, subtask=subtask, examples=shown, control=control),
        mark=partial(_mark, subtask=subtask),
        metric="accuracy",
        rules=RULES,
        header=HEADER,
        settings={"subtask": subtask, "control": control, "examples": shown},
        summary=_summarised,
    )


def _ask(
    sample: Sample, style: PromptStyle, *, subtask: Subtask, examples: Sequence[Mapping[str, Any]], control: bool
) -> list[Request]:
    return requests_for(sample.data, subtask, examples, control=control, style=style)


def _mark(sample: Sample, responses: Sequence[Response], *, subtask: Subtask) -> Marks:
    return marks_of(sample, responses, subtask)


def _summarised(marks: Sequence[Marks], weights: Sequence[float]) -> dict[str, Interval]:
    """Means of values that are 0, 1/2 or 1, with bootstrap intervals."""
    names = dict.fromkeys(name for mark in marks for name in mark.values)
    return {
        name: mean_interval([mark.values[name] for mark in marks], weights, bounds=(0.0, 1.0), method="bootstrap")
        if len(marks) > 1
        else mean_interval([mark.values[name] for mark in marks], weights, bounds=(0.0, 1.0))
        for name in names
    }


def strange_summary(name: str, evaluations: Sequence[Evaluation]) -> Measurement:
    """Every subtask against chance and against its control, and accuracy by tag."""
    by_name = {done.task: done for done in evaluations}
    rows: list[tuple[Cell, ...]] = []
    values: dict[str, Interval] = {}
    for done in evaluations:
        accuracy = done.summary["accuracy"]
        control = by_name.get(f"{done.task}-control")
        difference = _against(done, control) if control is not None else None
        chance = "includes chance" if accuracy.low <= 0.5 <= accuracy.high else "away from chance"
        rows.append((done.task, accuracy, done.summary.get("relative"), chance, difference))
        values[done.task.removeprefix("strange-")] = accuracy
    columns = ("task", "accuracy", "relative", "interval", "minus control")
    tags = dict.fromkeys(tag for done in evaluations for tag in done.groups)
    by_tag = tuple(
        (tag, *(done.groups[tag]["accuracy"] if tag in done.groups else None for done in evaluations))
        for tag in tags
    )
    tables = [Table("Subtasks", columns, tuple(rows), "chance is 0.5")]
    if tags:
        tables.append(Table("Tags", ("tag", *by_name), by_tag))
    return Measurement(name, values, tuple(tables))


def _against(done: Evaluation, control: Evaluation) -> Interval:
    own = {result.sample_id: result.marks.values["accuracy"] for result in done.results}
    pairs = [(own[r.sample_id], r.marks.values["accuracy"]) for r in control.results if r.sample_id in own]
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs])
