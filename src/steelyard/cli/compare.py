"""``steelyard compare``: is one system better than another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, StoreOption, console, print_json, progress


def command(
    first: Annotated[
        str,
        typer.Argument(
            help="A run id (RUN:CANDIDATE of a tune, RUN:TASK of a suite); with --task a model or system."
        ),
    ],
    second: Annotated[str, typer.Argument(help="The other: a run id, or with --task a model or system file.")],
    task: Annotated[
        str | None, typer.Option("--task", help="Measure both on this task file or benchmark first.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric to compare (default: the task's own).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the HTML report here.")] = None,
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare two systems on the same samples with a paired test."""
    from steelyard.evaluation.recorded_comparison import compare_recorded
    from steelyard.reporting.html import write_report
    from steelyard.reporting.terminal import show_record

    with progress() as bars:
        found = compare_recorded(
            first, second, task=task, metric=metric, store=store, progress=bars, samples=out is not None
        )
    if out is not None:
        write_report(found, out)
    if json:
        print_json(found)
        return
    show_record(found, console())
    if out is not None:
        console().print(f"report: {out}", markup=False, soft_wrap=True)
