"""What verbs share: where they print, how they show progress, and their common options."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from steelyard.contracts import Progress

JsonFlag = Annotated[bool, typer.Option("--json", help="Print machine-readable output on standard output.")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="STEELYARD_STORE",
        help="Run store: a file or a database URL (default: .steelyard/runs.db in this folder).",
        show_default=False,
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="Most memory of the weights and one forward pass, such as 900MB (the program itself comes on top).",
        show_default=False,
    ),
]


def console() -> Console:
    """Standard output, for results."""
    from rich.console import Console

    return Console(highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class BarProgress:
    """Progress bars with rate and time left on standard error; plain lines where that is no terminal."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def start(self, name: str, total: int, done: int = 0) -> None:
        """Begin (or begin again) the bar called ``name``."""
        if name in self._tasks:
            self._bars.remove_task(self._tasks[name])
        self._tasks[name] = self._bars.add_task(name, total=total, completed=done)
        if not self._bars.console.is_terminal:
            self._bars.console.print(f"{name}: {done}/{total}" if done else f"{name} (0/{total})")

    def advance(self, name: str, by: int = 1) -> None:
        """Move the bar called ``name``."""
        self._bars.advance(self._tasks[name], by)

    def note(self, text: str) -> None:
        """Say one line above the bars."""
        self._bars.console.print(text)


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars for as long as the block runs."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Finished per second, measured over the last steps."""

        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    error_console = Console(stderr=True, highlight=False, markup=False)
    with Progress(*columns, console=error_console, disable=not error_console.is_terminal) as bars:
        yield BarProgress(bars)


def hand_over(run_id: str, *, out: Path | None, store: str | None, as_json: bool) -> None:
    """Print a finished run, as a table or as JSON, and write its page to ``out`` if given."""
    from steelyard.reporting.report import report
    from steelyard.reporting.terminal import show_record

    record = report(run_id, out=out, store=store)
    if as_json:
        print_json(record)
        return
    show_record(record, console())
    if out is not None:
        console().print(f"report: {out}", markup=False, soft_wrap=True)
