"""What comes out of a file: its text, and where in it headings, pages and records lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Heading(NamedTuple):
    """A heading: its place in the text (it starts a line), and its level, 1 the highest."""

    start: int
    end: int
    level: int


class Mark(NamedTuple):
    """A stretch of the text of which something is known: a page, or one record of a table.

    Chunks begin and end with a ``separate`` stretch; others they may cross.
    """

    start: int
    end: int
    metadata: Mapping[str, Any]
    separate: bool = False


@dataclass(frozen=True, slots=True)
class Extract:
    """The text of a file with its headings and marks, both in the order of the text.

    Offsets count characters of ``text``. ``notes`` say what could not be read while the rest could.
    """

    text: str
    headings: tuple[Heading, ...] = ()
    marks: tuple[Mark, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A file's extract, its name within the folder of documents, and the hash of its bytes."""

    source: str
    digest: str
    extract: Extract


class Skipped(NamedTuple):
    """A file, or a line of one, that is not read, and why."""

    source: str
    reason: str


class Unreadable(Exception):
    """Why a file gives no text; becomes a :class:`Skipped` and never ends a run."""
