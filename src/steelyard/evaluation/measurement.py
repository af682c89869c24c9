"""What a measure hands over: values with intervals, tables and sentences, ready to print, store and plot.

A *measure* is a part of kind ``measure``: a function ``(model or models, *data, **settings) -> Measurement`` for
what is not a task, such as code lengths, hidden-state similarity or a mixture's perplexity. It is run by
``steelyard eval MODEL --task PART:setting=value``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from steelyard.contracts import Interval
from steelyard.evaluation.statistics import interval_record

Cell: TypeAlias = str | int | float | Interval | None
"""A cell of a table; None is missing and is shown as missing."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; ``note`` says what the numbers are and in which unit."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: {len(row)} cells under {len(self.columns)} columns")


@dataclass(frozen=True, slots=True)
class MeasuredItem:
    """What one question, query or text earned, so that two runs can be compared on those that they share.

    ``values`` are named as the measurement's own and better where higher; ``prompt``, ``reference`` and
    ``prediction`` are what a reader wants to see. ``system`` says whose it is where a measure compares several.
    """

    id: str
    values: Mapping[str, float]
    prompt: str = ""
    reference: str = ""
    prediction: str = ""
    system: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measure's result.

    ``values`` are its headline numbers, ``notes`` sentences that a reader needs beside them (a null result, a
    caution), ``details`` JSON-ready raw material such as per-document values. ``items`` make it comparable.

    >>> Measurement("x", {"rate": Interval(0.5, 0.4, 0.6, 10)}).to_record()["values"]["rate"]["n"]
    10
    """

    name: str
    values: Mapping[str, Interval]
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    items: tuple[MeasuredItem, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """The JSON-ready form; numbers that are not finite become null."""
        return {
            "name": self.name,
            "values": {name: interval_record(value) for name, value in self.values.items()},
            "tables": [
                {
                    "title": table.title,
                    "columns": list(table.columns),
                    "rows": [[_cell_record(cell) for cell in row] for row in table.rows],
                    "note": table.note,
                }
                for table in self.tables
            ],
            "notes": list(self.notes),
            "details": dict(self.details),
            **({"items": [asdict(item) for item in self.items]} if self.items else {}),
        }


def _cell_record(cell: Cell) -> Any:
    if isinstance(cell, Interval):
        return interval_record(cell)
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
