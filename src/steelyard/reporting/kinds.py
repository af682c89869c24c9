"""The kinds of records that can be reported, and what each has of its own: one entry a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.errors import InputError
from steelyard.reporting import answers, terminal_pages
from steelyard.reporting.comparison_page import comparison_page
from steelyard.reporting.compress_page import compress_page
from steelyard.reporting.leaderboard_page import leaderboard_page
from steelyard.reporting.measure_page import measure_page
from steelyard.reporting.page import Page
from steelyard.reporting.suite_page import suite_page
from steelyard.reporting.systems_page import systems_page
from steelyard.reporting.terminal_tables import Printer

FORMAT = 1
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How records of one kind are shown.

    Attributes:
        content: The field that holds what is reported; a record without it is refused.
        page: The record as a page.
        show: Prints the record in a terminal.
        restore: Puts the answers that the store keeps back into the record's samples.
    """

    content: str
    page: Callable[[Record], Page]
    show: Callable[[Record, Printer], None]
    restore: Callable[[Record, answers.Stored], dict[str, Any]] = answers.unchanged


KINDS: Mapping[str, Kind] = {
    "tune": Kind("candidates", systems_page, terminal_pages.show_systems, answers.of_systems),
    "eval": Kind("candidates", systems_page, terminal_pages.show_systems, answers.of_systems),
    "suite": Kind("tasks", suite_page, terminal_pages.show_suite, answers.of_tasks),
    "measure": Kind("measurement", measure_page, terminal_pages.show_measure),
    "comparison": Kind("names", comparison_page, terminal_pages.show_comparison),
    "rank": Kind("candidates", leaderboard_page, terminal_pages.show_leaderboard, answers.of_systems),
    "compress": Kind("card", compress_page, terminal_pages.show_compress, answers.of_sides),
}


def checked_kind(record: Record) -> Kind:
    """The kind of a record.

    Raises:
        InputError: a kind or format that this version does not read, or nothing to report.
    """
    name, version = record.get("kind"), record.get("format")
    if name not in KINDS:
        raise InputError(f"report record: kind is {name!r}, not one of {', '.join(KINDS)}")
    if version != FORMAT:
        raise InputError(f"report record: format {version!r}; this version of steelyard reads format {FORMAT}")
    kind = KINDS[str(name)]
    if not record.get(kind.content):
        raise InputError(f"report record: it holds no {kind.content}, so there is nothing to report")
    return kind
