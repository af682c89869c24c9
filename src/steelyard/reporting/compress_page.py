"""The page of a compression: its metric card, what every task lost, and where the two models disagree."""

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
from steelyard.reporting.measurement_views import table_views
from steelyard.reporting.methods import statistics_text
from steelyard.reporting.page import BrowsedTask, Frame, Page, System, page
from steelyard.reporting.task_views import task_view
from steelyard.reporting.views import Cell

SIDES = ("before", "after")
NAMES = ("original", "compressed")
POINTS = Measure("accuracy", fraction=True)


@dataclass(frozen=True, slots=True)
class LostRow:
    """One task: both models, and what the compression changed."""

    name: str
    metric: str
    sides: tuple[Cell, Cell]
    difference: Cell
    p_value: Cell
    n: Cell
    measure: Measure
    interval: Interval | None


def compress_page(record: Mapping[str, Any]) -> Page:
    """The page of a compress record."""
    rows = lost_rows(record)
    context = {
        "label": compressed_label(record),
        "outcome": outcome_text(record),
        "tiles": tiles(record),
        "tables": table_views(record["measurement"]),
        "rows": rows,
        "drawing": _plot(rows),
        "texts": [
            ("calibration", texts_text(record.get("calibration"))),
            ("measured on", texts_text(record.get("held_out"))),
        ],
        "notes": [str(finding) for finding in record.get("findings") or ()],
    }
    frame = Frame(
        title=str((record["systems"]["before"] or {}).get("model") or "model"),
        kind="compress",
        sections=[("card", "Metric card"), *([("tasks", "Tasks")] if rows else []), ("texts", "Texts")],
        tasks=[task_view(task) for task in record.get("tasks") or ()],
        systems=[System(i, side, NAMES[i], NAMES[i]) for i, side in enumerate(SIDES)] if rows else [],
        browsed=[
            BrowsedTask(row.name, task.get("samples") or (), row.measure.fraction, row.measure.higher_is_better)
            for row, task in zip(rows, record.get("tasks") or (), strict=True)
        ],
        statistics=statistics_text("compress"),
        compared=(0, 1) if rows else None,
    )
    return page(record, "compress.html.j2", frame, context)


def compressed_label(record: Mapping[str, Any]) -> str:
    """The compressed model in a line: its name and its parts."""
    return views.recipe_text(record["systems"]["after"])


def outcome_text(record: Mapping[str, Any]) -> str:
    """What became of it."""
    limit = record.get("limit") or {}
    if record.get("folder"):
        return "Saved over its limit, as asked" if limit.get("problems") else "Compressed and saved"
    return "Not saved: it costs too much" if limit.get("problems") else "Compressed, and not saved"


def tiles(record: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    """The headline figures: size, bits per byte, accuracy, speed."""
    card = record["card"]
    quality, speed = card.get("quality") or {}, card.get("speed") or {}
    ratio = finite(card.get("compression_ratio"))
    found = [("Compression ratio", Cell(f"{fmt.significant(ratio)}x" if ratio else DASH, reason="not known"))]
    bits = interval_of((quality.get("bits per byte") or {}).get("loss"))
    right = interval_of((quality.get("quick-suite accuracy") or {}).get("difference"))
    found.append(("Rise of bits per byte", _percent(bits)))
    value, _, bounds = POINTS.difference(right).partition(" ")
    points_lost = Cell(value, bounds, reason="" if right else "not measured")
    found.append(("Accuracy, points", points_lost))
    for name in ("reading", "writing"):
        timing = interval_of((speed.get(name) or {}).get("ratio"))
        text, _, bounds = fmt.ratio_text(timing).partition(" ")
        found.append((f"Seconds, {name}", Cell(text, bounds, reason="" if timing else "not measured")))
    return found


def lost_rows(record: Mapping[str, Any]) -> list[LostRow]:
    """Every task that was measured before and after, in order."""
    return [_lost_row(task) for task in record.get("tasks") or ()]


def texts_text(found: Mapping[str, Any] | None) -> str:
    """Where texts come from, how many there are, and their fingerprint."""
    if not found:
        return "no texts"
    counts = [
        f"{fmt.integer_text(found[name])} {name}" for name in ("texts", "characters", "windows") if name in found
    ]
    return f"{found['source']} ({', '.join(counts)}; fingerprint {found['fingerprint']})"


def _lost_row(task: Mapping[str, Any]) -> LostRow:
    sides = [interval_of(task.get(side)) for side in SIDES]
    measure = measure_of(str(task["metric"]), sides, bool(task.get("higher_is_better", True)))
    difference, p_value = interval_of(task.get("difference")), finite(task.get("p_value"))
    value, _, bounds = measure.difference(difference).partition(" ")
    before, after = (
        Cell(measure.value(side.value), measure.bounds(side), side.value)
        if side
        else Cell(DASH, reason="not measured")
        for side in sides
    )
    n = sides[0].n if sides[0] else 0
    return LostRow(
        name=str(task["name"]),
        metric=measure.name.replace("_", " "),
        sides=(before, after),
        difference=Cell(value, bounds, difference.value)
        if difference
        else Cell(DASH, reason="see the metric card"),
        p_value=Cell(fmt.p_value_text(p_value), sort=p_value, reason="" if p_value is not None else "not tested"),
        n=Cell(fmt.integer_text(n), sort=n),
        measure=measure,
        interval=difference,
    )


def _percent(loss: Interval | None) -> Cell:
    if loss is None:
        return Cell(DASH, reason="not measured")
    value, low, high = (f"{100 * end:+.1f}".replace("-", fmt.MINUS) for end in loss[:3])
    return Cell(f"{value}%", f"[{low}, {high}]", loss.value)


def _plot(rows: list[LostRow]) -> DotPlots | None:
    """What each task lost, beside zero."""
    dots = [
        DotRow(
            row.name, row.interval, f"{row.measure.difference(row.interval)} points, n {row.interval.n}", "main"
        )
        for row in rows
        if row.interval and row.measure.fraction
    ]
    axis = "Accuracy, compressed minus original (points)"
    ends = (-1.0, 1.0) if dots else (-math.inf, math.inf)
    return dot_plots(DotPlot("lost", "Change by task", axis, ends, 0.0, "no change", points), dots)
