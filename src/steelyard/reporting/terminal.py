"""The report of a record in a terminal: findings, candidates, what the search cost.

Styled where the output is a terminal; plain aligned text where it is a pipe or a file. Names and findings are
printed as data: neither Rich's markup nor control characters in them take effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.formatting import finite
from steelyard.reporting.html import check_record
from steelyard.reporting.views import CandidateView

MARKS = {"winner": "★", "frontier": "●", "kept": "·", "dropped": "○", "refused": "✗"}
STYLES = {"winner": "bold cyan", "frontier": "cyan", "kept": "", "dropped": "dim", "refused": "dim"}
RIGHT = ("n", "latency", "memory")
"""Columns that are aligned to the right."""

FOLDING = ("system", "finding")
"""Columns that may take several lines."""

RUN_FIELDS = ("id", "verb", "status", "created", "finding")

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def show_record(record: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what a tune or eval record found.

    Args:
        record: the JSON-ready record, as :func:`steelyard.reporting.html.render_html` takes it.
        console: where to print; standard output unless given.

    Raises:
        InputError: the record is of another kind or format than this version reads.
    """
    check_record(record)
    console = console or Console()
    measure = views.measure_for(record)
    candidates = views.candidate_views(record, measure)

    def show(thing: Text) -> None:
        console.print(thing, soft_wrap=not console.is_terminal)  # a file or a pipe gets lines that are not folded

    task = record.get("task") or {}
    metric = measure.name.replace("_", " ")
    show(_text(f"{task.get('name', 'task')}: {metric} on {fmt.integer_text(task.get('n'))} samples", "bold"))
    show(Text())
    headings = ("", "system", metric, "n", "latency", "ratio", "memory", "status")
    rows = [candidate_row(c) for c in candidates]
    show_rows(console, headings, rows, [STYLES[c.status] for c in candidates])
    show(Text())
    if record["kind"] == "tune":
        used = [s for s in MARKS if any(c.status == s for c in candidates)]
        show(_text("  ".join(f"{MARKS[s]} {s}" for s in used), "dim"))
        for line in search_lines(record, candidates):
            show(_text(line))
        show(Text())
    for finding in record.get("findings") or ():
        show(_text(f"• {finding}"))


def show_runs(runs: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print a list of runs: records with id, verb, status, created and finding."""
    console = console or Console()
    if not runs:
        console.print(Text("no runs yet"))
        return
    headings = ("run", "verb", "status", "created", "finding")
    rows = [
        [clean(str(views.time_text(run.get(k)) if k == "created" else run.get(k) or "")) for k in RUN_FIELDS]
        for run in runs
    ]
    show_rows(console, headings, rows, [""] * len(rows))


def show_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a comparison record: both systems, their paired difference, the test and the verdict."""
    console = console or Console()
    metric = str(comparison["metric"])
    sides = [fmt.interval_of(comparison[name]) for name in ("first", "second")]
    measure = fmt.measure_of(metric, sides)
    names = [str(name) for name in comparison["names"]]
    headings = ("system", metric.replace("_", " "), "n")
    rows = [
        [clean(name), measure.interval(side), fmt.integer_text(side.n if side else None)]
        for name, side in zip(names, sides, strict=True)
    ]
    show_rows(console, headings, rows, ["", ""])
    difference = measure.difference(fmt.interval_of(comparison["difference"]))
    unit = f" {measure.difference_unit}" if measure.fraction else ""
    lines = [
        f"difference (first minus second): {difference}{unit}",
        f"{comparison['test']} test, {fmt.p_value_text(comparison['p_value'])}, n {comparison['n']}",
        str(comparison["verdict"]),
    ]
    for line in lines:
        console.print(_text(line), soft_wrap=not console.is_terminal)


def candidate_row(view: CandidateView) -> list[str]:
    """The cells of one candidate, starting with the mark of its status."""
    ratio = fmt.interval_of((view.record.get("latency") or {}).get("ratio"))
    quality = f"{view.quality_cell.text} {view.quality_cell.detail}".strip()
    cells = [MARKS[view.status], view.short, quality, view.n.text, view.latency.text]
    return [clean(c) for c in (*cells, fmt.ratio_text(ratio), view.memory.text, view.status)]


def styled_table(headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> Table:
    """The rows as a table for a terminal; names and findings fold, numbers do not."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in RIGHT else "left", no_wrap=heading not in FOLDING)
    for row, style in zip(rows, styles, strict=True):
        table.add_row(*(Text(cell, style=style) for cell in row))
    return table


def aligned_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines of plain text, one per row, columns aligned by display width."""
    lines = [headings, *rows]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(headings))]

    def padded(text: str, i: int) -> str:
        room = " " * (widths[i] - cell_len(text))
        return room + text if headings[i] in RIGHT else text + room

    return ["  ".join(padded(text, i) for i, text in enumerate(line)).rstrip() for line in lines]


def search_lines(record: Mapping[str, Any], candidates: Sequence[CandidateView]) -> list[str]:
    """What the search measured, and whether an exhaustive run agrees."""
    lines = []
    budget = record.get("budget") or {}
    measured, total = finite(budget.get("cells_measured")), finite(budget.get("cells_total"))
    if measured is not None and total:
        share = fmt.share_text(measured, total)
        lines.append(f"measured {share} of all cells ({fmt.integer_text(measured)} of {fmt.integer_text(total)})")
    found = record.get("exhaustive")
    if isinstance(found, Mapping):
        names = {c.id: c.short for c in candidates}
        chosen = names.get(str(found.get("exhaustive_winner")), str(found.get("exhaustive_winner")))
        verb = "agrees" if found.get("agree") else "disagrees"
        lines.append(f"the exhaustive run {verb}: it chooses {chosen}")
    return lines


def show_line(console: Console, text: str, style: str = "") -> None:
    """Print one line as data; a file or a pipe gets it unfolded."""
    console.print(_text(text, style), soft_wrap=not console.is_terminal)


def show_rows(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]
) -> None:
    """Print rows under headings: a table on a terminal, aligned lines elsewhere."""
    if console.is_terminal:
        console.print(styled_table(headings, rows, styles))
        return
    for line in aligned_lines(headings, rows):
        console.print(Text(line), soft_wrap=True)


def clean(text: str) -> str:
    """The text without control characters, which could move the cursor or change colours."""
    return _CONTROLS.sub(" ", text)


def _text(text: str, style: str = "") -> Text:
    return Text(clean(text), style=style)
