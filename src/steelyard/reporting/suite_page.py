"""The page of a suite: what it says as a whole, every task with its interval, and all tasks' samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Interval
from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.answers import SYSTEM
from steelyard.reporting.calibration_views import CalibrationView, calibration_view
from steelyard.reporting.formatting import DASH, Measure, finite, interval_of, measure_of
from steelyard.reporting.interval_plots import DotPlot, DotPlots, DotRow, dot_plots, percent
from steelyard.reporting.measurement_views import TableView, table_views, value_plot, value_views
from steelyard.reporting.methods import statistics_text
from steelyard.reporting.page import BrowsedTask, Frame, Page, System, page
from steelyard.reporting.systems_page import group_plot
from steelyard.reporting.task_views import FORMS, task_view
from steelyard.reporting.views import Cell

PLAIN_TABLE = ("task", "metric", "value", "seconds")
"""Columns of the summary that only repeats the tasks; the page's own table of tasks says more."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task of a suite: the cells of its row, its groups and its calibration."""

    anchor: str
    name: str
    metric: str
    quality: Interval | None
    cell: Cell
    measure: Measure
    n: Cell
    seconds: Cell
    form: str
    data_set: str
    skipped: int
    groups: tuple[tuple[str, Cell], ...]
    plot: DotPlots | None
    calibration: CalibrationView | None


def suite_page(record: Mapping[str, Any]) -> Page:
    """The page of a suite record."""
    style, measurement = record.get("style"), record.get("measurement") or {}
    rows = task_rows(record)
    label = system_label(record)
    tables = other_tables(measurement)
    values = value_views(measurement)
    context = {
        "label": label,
        "system": system_cells(record),
        "samples_n": fmt.integer_text(sum(row.quality.n for row in rows if row.quality)),
        "rows": rows,
        "values": values,
        "plot_of_values": value_plot(measurement),
        "tables": tables,
        "notes": [str(note) for note in measurement.get("notes") or ()],
        "plot_of_tasks": task_plot(rows),
        "not_drawn": sum(not row.measure.fraction for row in rows),
        "calibrated": [row for row in rows if row.calibration],
        "grouped": [row for row in rows if row.groups],
    }
    sections = [
        ("tasks", "Tasks"),
        *([("tables", "Tables")] if tables else []),
        *([("groups", "Groups")] if context["grouped"] else []),
        *([("calibration", "Calibration")] if context["calibrated"] else []),
    ]
    frame = Frame(
        title=str(record["suite"]["name"]),
        kind="suite",
        sections=sections,
        tasks=[task_view(task, style) for task in record["tasks"]],
        systems=[System(0, SYSTEM, label, label)],
        browsed=[
            BrowsedTask(row.name, task.get("samples") or (), row.measure.fraction, row.measure.higher_is_better)
            for row, task in zip(rows, record["tasks"], strict=True)
        ],
        statistics=statistics_text("suite"),
    )
    return page(record, "suite.html.j2", frame, context)


def system_label(record: Mapping[str, Any]) -> str:
    """What was measured, in a few words."""
    return views.recipe_text(record) or "the system"


def system_cells(record: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """What a system costs, as far as it is known without timing it."""
    memory, parameters = finite(record.get("memory_bytes")), finite(record.get("parameters"))
    seconds = finite((record.get("run") or {}).get("seconds"))
    return [
        ("Memory", Cell(fmt.bytes_text(memory), reason="memory not known")),
        ("Parameters", Cell(fmt.count_text(parameters), reason="parameters not known")),
        ("Model time", Cell(fmt.duration_text(seconds), reason="not timed")),
    ]


def other_tables(measurement: Mapping[str, Any]) -> list[TableView]:
    """The suite's own tables, but for the one that only lists its tasks."""
    return [table for table in table_views(measurement) if table.columns != PLAIN_TABLE]


def task_rows(record: Mapping[str, Any]) -> list[TaskRow]:
    """Every task of the suite, in its order."""
    return [_task_row(place, task) for place, task in enumerate(record["tasks"])]


def _task_row(place: int, task: Mapping[str, Any]) -> TaskRow:
    quality = interval_of(task.get("quality"))
    measure = measure_of(str(task["metric"]), [quality], bool(task.get("higher_is_better", True)))
    groups = {str(name): interval_of(value) for name, value in (task.get("by_group") or {}).items()}
    seconds = finite(task.get("seconds"))
    form = str(task.get("form") or "")
    return TaskRow(
        anchor=f"task-{place}",
        name=str(task["name"]),
        metric=measure.name.replace("_", " "),
        quality=quality,
        cell=(
            Cell(measure.value(quality.value), measure.bounds(quality), quality.value)
            if quality
            else Cell(DASH, reason="not measured")
        ),
        measure=measure,
        n=Cell(fmt.integer_text(quality.n if quality else 0), sort=quality.n if quality else 0),
        seconds=Cell(fmt.duration_text(seconds), sort=seconds, reason="not timed"),
        form=form if form in FORMS else "",
        data_set=str((task.get("header") or {}).get("data_set") or ""),
        skipped=len(task.get("skipped") or ()),
        groups=tuple(
            (name, Cell(measure.value(i.value), f"{measure.bounds(i)} n {i.n}", i.value))
            for name, i in groups.items()
            if i
        ),
        plot=group_plot(task.get("by_group") or {}, quality, measure, f"groups-{place}"),
        calibration=calibration_view(task.get("calibration"), f"reliability-{place}"),
    )


def task_plot(rows: Sequence[TaskRow]) -> DotPlots | None:
    """The tasks that are measured in shares, on one axis."""
    dots = [
        DotRow(
            row.name, row.quality, f"{row.metric} {row.measure.interval(row.quality)}, n {row.quality.n}", "main"
        )
        for row in rows
        if row.quality and row.measure.fraction
    ]
    names = {row.metric for row in rows if row.measure.fraction}
    axis = names.pop() if len(names) == 1 else "each task's own metric"
    return dot_plots(
        DotPlot("tasks", "Every task of the suite", axis[:1].upper() + axis[1:], (0.0, 1.0), tick=percent), dots
    )
