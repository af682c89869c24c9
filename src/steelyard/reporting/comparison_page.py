"""The page of a comparison: the paired difference, what the test supports, and where the two disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Interval
from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.formatting import DASH, Measure, finite, interval_of, measure_of
from steelyard.reporting.interval_plots import DotPlot, DotPlots, DotRow, dot_plots, points
from steelyard.reporting.methods import statistics_text
from steelyard.reporting.page import BrowsedTask, Frame, Page, System, page
from steelyard.reporting.task_views import style_text, task_view
from steelyard.reporting.views import Cell

SIDES = ("first", "second")


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group: both systems, their difference, its corrected p-value and the samples behind it."""

    name: str
    sides: tuple[Cell, Cell]
    difference: Cell
    p_value: Cell
    n: Cell
    interval: Interval


def comparison_measure(record: Mapping[str, Any]) -> Measure:
    """How the compared metric is printed."""
    known = [interval_of(record.get(side)) for side in SIDES]
    return measure_of(str(record["metric"]), known, bool(record.get("higher_is_better", True)))


def detectable_text(record: Mapping[str, Any], measure: Measure) -> str:
    """The smallest difference that the samples could have shown, with all it depends on."""
    found, sd = finite(record.get("detectable")), finite(record.get("sd"))
    n = fmt.integer_text(record.get("n"))
    if found is None or sd is None:
        return f"The two never differ on these {n} samples, so what difference they could show is not known."
    power = fmt.share_text(record.get("power"), 1)
    alpha = f"{finite(record.get('alpha')) or 0.05:g}"
    size, spread = (100 * found, 100 * sd) if measure.fraction else (found, sd)
    return (
        f"{n} samples show a true difference of {fmt.significant(size)} {measure.difference_unit} or more with"
        f" {power} probability at alpha {alpha} (standard deviation of the differences {fmt.significant(spread)})."
    )


def group_views(record: Mapping[str, Any], measure: Measure) -> list[GroupView]:
    """The groups of the samples, as far as both systems were measured there."""
    found = []
    for entry in record.get("groups") or ():
        difference = interval_of(entry.get("difference"))
        sides = [interval_of(entry.get(side)) for side in SIDES]
        if difference is None or None in sides:
            continue
        first, second = (Cell(measure.value(s.value), measure.bounds(s), s.value) for s in sides if s)
        p_value = finite(entry.get("p_value"))
        found.append(
            GroupView(
                str(entry["group"]),
                (first, second),
                Cell(measure.difference(difference), sort=difference.value),
                Cell(fmt.p_value_text(p_value), sort=p_value, reason="not tested"),
                Cell(fmt.integer_text(difference.n), sort=difference.n),
                difference,
            )
        )
    return found


def comparison_page(record: Mapping[str, Any]) -> Page:
    """The page of a comparison record."""
    measure, names = comparison_measure(record), [str(name) for name in record["names"]]
    groups, difference = group_views(record, measure), interval_of(record.get("difference"))
    short = views.short_labels(names)
    counts = record.get("counts")
    facts = list(record.get("systems") or ({}, {}))
    context = {
        "names": names,
        "short": short,
        "metric": measure.name.replace("_", " "),
        "unit": measure.difference_unit,
        "n": fmt.integer_text(record.get("n")),
        "alone": [(short[i], fmt.integer_text(record.get(f"only_{side}"))) for i, side in enumerate(SIDES)]
        if any(record.get(f"only_{side}") for side in SIDES)
        else [],
        "different": bool(record.get("different")),
        "verdict": str(record.get("verdict") or ""),
        "difference": _difference_cell(difference, measure),
        "test": str(record.get("test") or "paired"),
        "p_value": fmt.p_value_text(finite(record.get("p_value"))),
        "sides": [_side_row(record, i, measure, names, facts[i]) for i in range(2)],
        "detectable": detectable_text(record, measure),
        "counts": counts and {name: fmt.integer_text(value) for name, value in counts.items()},
        "groups": groups,
        "drawing": _plot(groups, difference, measure),
    }
    named = [("pairs", "Pairs", counts), ("groups", "Groups", groups)]
    frame = Frame(
        title=f"{short[0]} and {short[1]}",
        kind="comparison",
        sections=[("systems", "Systems"), *((a, name) for a, name, shown in named if shown)],
        tasks=[task_view(record["task"])] if record.get("task") else (),
        systems=[System(i, side, names[i], short[i]) for i, side in enumerate(SIDES)],
        browsed=[
            BrowsedTask("", record.get("samples") or (), measure.fraction, measure.higher_is_better),
        ],
        statistics=statistics_text("comparison"),
        compared=(0, 1),
    )
    return page(record, "comparison.html.j2", frame, context)


def _difference_cell(difference: Interval | None, measure: Measure) -> Cell:
    if difference is None:
        return Cell(DASH, reason="not known")
    value, _, bounds = measure.difference(difference).partition(" ")
    return Cell(value, bounds, difference.value)


def _side_row(
    record: Mapping[str, Any], place: int, measure: Measure, names: list[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    interval = interval_of(record.get(SIDES[place]))
    memory, parameters = finite(facts.get("memory_bytes")), finite(facts.get("parameters"))
    return {
        "name": names[place],
        "recipe": views.recipe_text(facts),
        "prompt": style_text(facts.get("style")),
        "quality": Cell(measure.value(interval.value), measure.bounds(interval), interval.value)
        if interval
        else Cell(DASH, reason="not measured"),
        "n": Cell(fmt.integer_text(interval.n if interval else 0)),
        "memory": Cell(fmt.bytes_text(memory), sort=memory, reason="memory not known"),
        "parameters": Cell(fmt.count_text(parameters), sort=parameters, reason="parameters not known"),
    }


def _plot(groups: list[GroupView], overall: Interval | None, measure: Measure) -> DotPlots | None:
    """The difference in all samples and in each group, beside zero."""
    rows = [
        DotRow(name, interval, f"{measure.difference(interval)} {measure.difference_unit}, n {interval.n}", status)
        for name, interval, status in [
            *([("all samples", overall, "main")] if overall else []),
            *((group.name, group.interval, "") for group in groups),
        ]
    ]
    ends = (-1.0, 1.0) if measure.fraction else (-math.inf, math.inf)
    tick = points if measure.fraction else fmt.tick_text
    axis = f"Difference, first minus second ({measure.difference_unit})"
    return dot_plots(DotPlot("differences", "Difference by group", axis, ends, 0.0, "no difference", tick), rows)
