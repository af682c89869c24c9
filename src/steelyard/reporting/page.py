"""What every page is made of: a template, what it prints, and the data that its script reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.reporting import formatting as fmt
from steelyard.reporting import payload, views
from steelyard.reporting.formatting import finite
from steelyard.reporting.task_views import TaskView


@dataclass(frozen=True, slots=True)
class System:
    """One system of a page: its place, its names, and the facts of its tooltip."""

    index: int
    id: str
    label: str
    short: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BrowsedTask:
    """The samples of one task with the answers of the page's systems, for the sample browser.

    ``fraction`` says that values are shares of being right, ``higher_is_better`` which way is good.
    """

    name: str
    samples: Sequence[Mapping[str, Any]]
    fraction: bool
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Frame:
    """What pages of all kinds have.

    ``sections`` are the anchors and names of the page's own sections, in order; ``compared`` names two systems
    whose answers the browser shows side by side from the start.
    """

    title: str
    kind: str
    sections: Sequence[tuple[str, str]]
    tasks: Sequence[TaskView]
    systems: Sequence[System]
    browsed: Sequence[BrowsedTask]
    statistics: Sequence[str]
    compared: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page ready to be laid out."""

    template: str
    context: Mapping[str, Any]
    data: str


def page(record: Mapping[str, Any], template: str, frame: Frame, context: Mapping[str, Any]) -> Page:
    """The page of a record: its own context within what all pages have."""
    run = record.get("run") or {}
    browsed = [task for task in frame.browsed if task.samples]
    sections = [
        *frame.sections,
        *([("samples", "Samples")] if browsed else []),
        *([("task", "Task" if len(frame.tasks) == 1 else "Data")] if frame.tasks else []),
        ("reproduce", "Reproduce"),
        ("method", "Method"),
    ]
    shared = {
        "title": frame.title,
        "kind": frame.kind,
        "sections": sections,
        "created": views.time_text(run.get("created")),
        "findings": [str(f) for f in record.get("findings") or ()],
        "commands": [str(c) for c in record.get("commands") or ()],
        "system_file": record.get("system_file") or "",
        "tasks": frame.tasks,
        "systems": frame.systems,
        "has_samples": bool(browsed),
        "several_tasks": len(browsed) > 1,
        "statistics": [str(s) for s in record.get("statistics") or frame.statistics],
        "run_facts": run_facts(run),
        "environment": views.facts(record.get("environment") or {}),
    }
    return Page(template, {**shared, **context}, data_json(frame.systems, browsed, frame.compared))


def run_facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """When and how a run was made."""
    facts = [
        ("run", run.get("id")),
        ("created", views.time_text(run.get("created")) or None),
        ("finished", views.time_text(run.get("finished")) or None),
        ("took", fmt.duration_text(run["seconds"]) if finite(run.get("seconds")) is not None else None),
        ("seed", run.get("seed")),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def data_json(
    systems: Sequence[System], browsed: Sequence[BrowsedTask], compared: tuple[int, int] | None = None
) -> str:
    """The JSON that the script reads."""
    texts = payload.Texts()
    order = {system.id: system.index for system in systems}
    rows = [
        [*row, place]
        for place, task in enumerate(browsed)
        for row in payload.sample_rows(task.samples, order, texts)
    ]
    return payload.script_json(
        {
            "candidates": [{"label": s.label, "short": s.short, "lines": s.lines} for s in systems],
            "tasks": [
                {"name": t.name, "fraction": t.fraction, "higherIsBetter": t.higher_is_better} for t in browsed
            ],
            "compared": compared,
            "samples": rows,
            "texts": list(texts.numbers),
        }
    )
