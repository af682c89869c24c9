"""Tables and lines in a terminal.

Styled where the output is a terminal; plain aligned text where it is a pipe or a file. Names and findings are
printed as data: neither Rich's markup nor control characters in them take effect.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

RIGHT = ("n", "latency", "memory", "rank", "seconds")
"""Columns that are aligned to the right."""

FOLDING = ("system", "finding", "task", "group", "value")
"""Columns that may take several lines."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Printer:
    """Prints lines and tables on a console."""

    console: Console

    def line(self, text: str = "", style: str = "") -> None:
        """One line; in a file or a pipe it is not folded."""
        self.console.print(Text(clean(text), style=style), soft_wrap=not self.console.is_terminal)

    def table(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] | None = None
    ) -> None:
        """Rows under headings, columns aligned."""
        cleaned = [[clean(cell) for cell in row] for row in rows]
        if self.console.is_terminal:
            self.console.print(styled_table(headings, cleaned, styles or [""] * len(rows)))
            return
        for line in aligned_lines(headings, cleaned):
            self.console.print(Text(line), soft_wrap=True)


def clean(text: str) -> str:
    """The text without control characters."""
    return _CONTROLS.sub(" ", text)


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
