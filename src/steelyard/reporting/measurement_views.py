"""A measurement's headline values and tables, ready to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.reporting import formatting as fmt
from steelyard.reporting.formatting import DASH, Measure, finite, interval_of, measure_of
from steelyard.reporting.interval_plots import DotPlot, DotPlots, DotRow, dot_plots, percent
from steelyard.reporting.views import Cell

MISSING = Cell(DASH, reason="not measured, or not defined here")


@dataclass(frozen=True, slots=True)
class TableView:
    """A table: cells under columns; ``numbers`` says which columns are numbers and are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    numbers: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ValueView:
    """A headline number: its name, the value with its interval, and n."""

    name: str
    cell: Cell
    n: str


def value_views(measurement: Mapping[str, Any]) -> list[ValueView]:
    """The headline values, each printed as its name and range ask for."""
    found = []
    for name, value in (measurement.get("values") or {}).items():
        interval = interval_of(value)
        if interval is None:
            found.append(ValueView(str(name), MISSING, DASH))
            continue
        measure = measure_of(str(name), [interval])
        cell = Cell(measure.value(interval.value), measure.bounds(interval), interval.value)
        found.append(ValueView(str(name), cell, fmt.integer_text(interval.n)))
    return found


def value_plot(measurement: Mapping[str, Any]) -> DotPlots | None:
    """The headline values that are shares, and so can stand on one axis, as a dot plot."""
    values = [(str(name), interval_of(value)) for name, value in (measurement.get("values") or {}).items()]
    known = [(name, i, measure_of(name, [i])) for name, i in values if i is not None]
    rows = [DotRow(name, i, f"{m.interval(i)}, n {i.n}", "main") for name, i, m in known if m.fraction]
    name = str(measurement.get("name") or "measurement")
    return dot_plots(DotPlot("values", f"{name}: values", "", (0.0, 1.0), tick=percent), rows)


def table_views(measurement: Mapping[str, Any]) -> list[TableView]:
    """Every table of a measurement; a missing cell is a dash that says so."""
    return [_table(table) for table in measurement.get("tables") or ()]


def _table(table: Mapping[str, Any]) -> TableView:
    columns = tuple(str(column) for column in table["columns"])
    rows: Sequence[Sequence[Any]] = table["rows"]
    measures = [_column(name, [row[i] for row in rows]) for i, name in enumerate(columns)]
    metric_at = columns.index("metric") if "metric" in columns else None
    cells = []
    for row in rows:
        # a column of several metrics prints each value as its own metric asks for
        named = None if metric_at is None else str(row[metric_at])
        cells.append(tuple(_cell(value, measures[i], columns[i], named) for i, value in enumerate(row)))
    numbers = tuple(all(not isinstance(row[i], str) for row in rows) for i in range(len(columns)))
    return TableView(str(table["title"]), columns, numbers, tuple(cells), str(table.get("note") or ""))


def _column(name: str, values: Sequence[Any]) -> Measure:
    return measure_of(name, [interval_of(value) for value in values])


def _cell(value: Any, measure: Measure, column: str, metric: str | None) -> Cell:
    interval = interval_of(value)
    if interval is not None:
        shown = measure if metric is None else measure_of(metric, [interval])
        return Cell(shown.value(interval.value), f"{shown.bounds(interval)} n {interval.n}", interval.value)
    if isinstance(value, str | bool):
        return Cell(str(value))
    number = finite(value)
    if number is None:
        return MISSING
    if column == "seconds":
        return Cell(fmt.duration_text(number), sort=number)
    text = fmt.integer_text(number) if isinstance(value, int) else fmt.significant(number)
    return Cell(text, sort=number)
