"""``steelyard run``: carry out a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, StoreOption, console, print_json, progress


def command(
    recipe: Annotated[Path, typer.Argument(help="A recipe file (.yaml).")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for results (default: what the recipe says).")
    ] = None,
    exhaustive: Annotated[bool, typer.Option(help="For a tune recipe: measure everything.")] = False,
    store: StoreOption = None,
    json: JsonFlag = False,
) -> None:
    """Carry out a recipe: a tune, an eval or a rank written down in a file."""
    from steelyard.cli.recipes import run
    from steelyard.reporting.terminal import show_record

    with progress() as bars:
        changes = {"exhaustive": True} if exhaustive else {}
        done = run(recipe, out=out, store=store, progress=bars, changes=changes)
    if json:
        print_json(done.record)
        return
    terminal = console()
    show_record(done.record, terminal)
    for name, file in done.files.items():
        terminal.print(f"{name}: {file}", markup=False, soft_wrap=True)
