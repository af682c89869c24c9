"""``steelyard compare``: is one system better than another?"""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, StoreOption, console, print_json, progress


def command(
    first: Annotated[str, typer.Argument(help="A run id, or with --task a model or system file.")],
    second: Annotated[str, typer.Argument(help="A run id, or with --task a model or system file.")],
    task: Annotated[
        str | None, typer.Option("--task", help="Measure both on this task file or benchmark first.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric to compare (default: the task's own).")] = None,
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare two systems on the same samples with a paired test."""
    from steelyard.evaluation.recorded import compare_recorded
    from steelyard.reporting.terminal import show_comparison

    with progress() as bars:
        comparison = compare_recorded(first, second, task=task, metric=metric, store=store, progress=bars)
    if json:
        print_json(comparison)
    else:
        show_comparison(comparison, console())
