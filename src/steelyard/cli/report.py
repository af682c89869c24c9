"""``steelyard report``: read a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, StoreOption, console, print_json


def command(
    run: Annotated[str | None, typer.Argument(help="A run id or its beginning (default: the latest run).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the HTML report here.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write every sample to this .jsonl or .parquet file.")
    ] = None,
    runs: Annotated[bool, typer.Option("--list", help="List the runs in the store.")] = False,
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Show a stored run, write its HTML report, or export its samples."""
    from steelyard.reporting.report import list_runs, report
    from steelyard.reporting.terminal import show_record, show_runs

    if runs:
        found = list_runs(store=store)
        print_json(found) if json else show_runs(found, console())
        return
    record = report(run, out=out, export_to=export, store=store)
    if json:
        print_json(record)
        return
    terminal = console()
    show_record(record, terminal)
    for file in (out, export):
        if file is not None:
            terminal.print(f"written: {file}", markup=False, soft_wrap=True)
