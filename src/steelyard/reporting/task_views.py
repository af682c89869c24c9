"""What a report says of a task: where its data come from, how it is put to a model, what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.reporting import formatting as fmt

FORMS = {
    "cloze": "cloze: every choice is scored as the answer",
    "letters": "letters: the choices are listed in the question and their letters scored",
}
HEADER = {
    "data_set": "data set",
    "paper": "paper",
    "licence": "licence of the data",
    "metric": "metric, as the paper has it",
    "hub": "on the hub",
    "url": "published at",
}


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as rows of name and text, and the rows of its file that were left out, a line each."""

    name: str
    facts: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]


def task_view(task: Mapping[str, Any], style: Mapping[str, Any] | None = None) -> TaskView:
    """The facts of a task's record; ``style`` is the prompt style it was asked in, where there is one."""
    header = task.get("header") or {}
    form = task.get("form")
    metric = str(task.get("metric") or "")
    way = "" if task.get("higher_is_better", True) else " (lower is better)"
    rows = [
        *((name, header.get(key)) for key, name in HEADER.items()),
        ("task", task.get("path")),
        ("ranked by", f"{metric.replace('_', ' ')}{way}" if metric else None),
        ("samples", fmt.integer_text(task.get("n"))),
        ("form of choices", FORMS.get(str(form), form)),
        ("prompt", style_text(style) or None),
        ("fingerprint", task.get("fingerprint")),
    ]
    skipped = tuple(str(line) for line in task.get("skipped") or ())
    if skipped:
        rows.append(("left out", f"{fmt.integer_text(len(skipped))} damaged {plural('row', len(skipped))}"))
    facts = tuple((name, str(value)) for name, value in rows if value not in (None, ""))
    return TaskView(str(task.get("name") or "task"), facts, skipped)


def style_text(style: Mapping[str, Any] | None) -> str:
    """A prompt style in words.

    >>> style_text({"style": "chat", "shots": 2, "seed": 7})
    'chat, 2 shots, seed 7'
    """
    if not style:
        return ""
    shots = int(style.get("shots") or 0)
    words = [str(style.get("style") or ""), f"{shots} {plural('shot', shots)}"]
    if shots and style.get("seed") is not None:
        words.append(f"seed {style['seed']}")
    if style.get("instruction"):
        words.append(f"instruction “{style['instruction']}”")
    return ", ".join(word for word in words if word)


def plural(noun: str, count: int) -> str:
    """The noun as it goes with a number."""
    return noun if count == 1 else f"{noun}s"
