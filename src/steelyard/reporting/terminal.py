"""The report of a record, and the list of runs, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from steelyard.reporting import views
from steelyard.reporting.kinds import checked_kind
from steelyard.reporting.terminal_tables import Printer

RUN_FIELDS = ("id", "verb", "status", "created", "finding")


def show_record(record: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what a record found.

    Args:
        record: the JSON-ready record, as :func:`steelyard.reporting.html.render_html` takes it.
        console: where to print; standard output unless given.

    Raises:
        InputError: the record is of another kind or format than this version reads.
    """
    checked_kind(record).show(record, Printer(console or Console()))


def show_runs(runs: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print a list of runs: records with id, verb, status, created and finding."""
    printer = Printer(console or Console())
    if not runs:
        printer.line("no runs yet")
        return
    rows = [
        [str(views.time_text(run.get(k)) if k == "created" else run.get(k) or "") for k in RUN_FIELDS]
        for run in runs
    ]
    printer.table(("run", "verb", "status", "created", "finding"), rows)
