"""Rows of a task file: JSONL, CSV or Parquet, with the place of each row for error messages.

Files are untrusted. Everything wrong is collected, then reported in one line that names the first place.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from steelyard.errors import InputError

LINE_LIMIT = 16 * 2**20
"""Longest line of a JSONL file, in bytes."""

CELL_LIMIT = 131_072
"""Longest cell of a CSV file, in characters: the limit of Python's csv module, which is global there."""

SUFFIXES = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as read: ``place`` is ``"12"`` (a line) or ``"row 12"``; absent cells are not in ``values``."""

    place: str
    values: Mapping[str, Any]


@dataclass(slots=True)
class Problems:
    """What is wrong with one file, in the order found.

    ``fatal`` says that something is wrong with the file as a whole, so that leaving rows out does not help.
    """

    path: Path
    found: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    fatal: bool = False

    def add(self, place: str, problem: str, remedy: str) -> None:
        """Note one problem; ``place`` may be empty for the file as a whole."""
        where = f"{self.path}:{place}" if place else str(self.path)
        self.found.append(f"{where}: {problem}; {remedy}")
        self.places.append(place)

    def stop(self, place: str, problem: str, remedy: str) -> NoReturn:
        """Note a problem after which reading makes no sense, and raise."""
        self.add(place, problem, remedy)
        raise self.error()

    def check(self, total: int = 0) -> None:
        """Raise :class:`InputError` if anything was noted; ``total`` is the number of rows, where known."""
        if self.found:
            raise self.error(total)

    def error(self, total: int = 0) -> InputError:
        """The first problem, and how many others there are and where, in one line."""
        others = len(self.found) - 1
        notes = [f"and {others} more{_at(self.places[1:])}"] if others else []
        if total and not self.fatal:
            notes.append(f"{len(self.found)} of {total} rows are bad; --skip-bad leaves them out")
        more = f" ({'; '.join(notes)})" if notes else ""
        return InputError(" ".join((self.found[0] + more).splitlines()))


def _at(places: Sequence[str]) -> str:
    """``", at lines 9, 12"``; at most ten places."""
    named = [place.removeprefix("row ") for place in places if place]
    kind = "rows" if places and places[0].startswith("row") else "lines"
    return f", at {kind} {', '.join(named[:10])}{', ...' if len(named) > 10 else ''}" if named else ""


def read_rows(path: Path, problems: Problems) -> list[Row]:
    """All rows of a file; what is wrong with single rows is noted in ``problems``.

    Raises :class:`InputError` where the file as a whole cannot be read.
    """
    readers: Mapping[str, Callable[[Path, Problems], Iterator[Row]]] = {
        ".jsonl": _jsonl_rows,
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    if not path.exists():
        problems.stop("", "no such file", "check the path")
    if path.is_dir():
        problems.stop("", "is a folder, not a task file", f"name a file ending in {', '.join(SUFFIXES)}")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        kind = f"the ending {path.suffix!r}" if path.suffix else "a name without an ending"
        problems.stop("", f"{kind} is not known for task files", f"use {', '.join(SUFFIXES)}")
    try:
        return list(reader(path, problems))
    except OSError as error:
        problems.stop("", f"cannot be read ({error.strerror or error})", "check the file and its permissions")


def quoted(value: Any, limit: int = 60) -> str:
    """A value as shown in an error message: its repr, shortened."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _jsonl_rows(path: Path, problems: Problems) -> Iterator[Row]:
    offset = 0
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) > LINE_LIMIT and not line.endswith(b"\n"):
                problems.stop(
                    str(number),
                    f"the line is longer than {LINE_LIMIT // 2**20} MiB",
                    "split the record into several",
                )
            text = _decoded(line, str(number), offset, problems)
            offset = file.tell()
            if text is None or not text.strip():
                continue
            values = _json_object(text, str(number), problems)
            if values is not None:
                yield Row(str(number), values)


def _json_object(text: str, place: str, problems: Problems) -> dict[str, Any] | None:
    """The object on one line, without null members; None (and a note) if it is not one."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_pairs)
    except json.JSONDecodeError as error:
        problems.add(
            place, f"broken JSON at column {error.colno} ({error.msg})", "write one complete object a line"
        )
        return None
    except RecursionError:
        problems.add(place, "the JSON is nested too deeply", "use the columns of a task file")
        return None
    except ValueError as error:
        problems.add(place, str(error), "mend the value")
        return None
    if not isinstance(value, dict):
        kind = "an array" if isinstance(value, list) else "a single value"
        problems.add(place, f"is {kind}, not an object", 'write one object a line, such as {"prompt": ...}')
        return None
    return {name: cell for name, cell in value.items() if cell is not None}


def _csv_rows(path: Path, problems: Problems) -> Iterator[Row]:
    text = _decoded(path.read_bytes(), "", 0, problems)
    if text is None:
        raise problems.error()
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if "field larger" in str(error):
                problem = f"a cell is longer than {CELL_LIMIT:,} characters"
                problems.stop(str(start), problem, "use JSONL for long texts, or close an open quote")
            problems.stop(str(start), f"broken CSV ({error})", 'quote cells as "...", doubling quotes inside')
        if cells is None:
            return
        place, start = str(start), reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            _check_header(header, place, problems)
        elif len(cells) != len(header):
            problem = f"has {len(cells)} cells where the header has {len(header)}"
            problems.add(place, problem, "quote cells that contain commas")
        else:
            yield Row(place, {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()})


def _check_header(header: list[str], place: str, problems: Problems) -> None:
    for name in header:
        if not name:
            problems.stop(place, "a column has no name", "give every column of the header a name")
        if header.count(name) > 1:
            problems.stop(place, f"the column {name!r} appears twice", "keep one of them")


def _parquet_rows(path: Path, problems: Problems) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    if path.stat().st_size == 0:
        return
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                problems.stop("", "a column appears twice", "keep one of them")
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", {name: cell for name, cell in record.items() if cell is not None})
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        problems.stop("", f"is not a readable Parquet file ({reason})", "write it again, or use JSONL")


def _decoded(raw: bytes, place: str, offset: int, problems: Problems) -> str | None:
    """The text of a line (or of the whole file, then with an empty ``place``), without a byte order mark."""
    if offset == 0 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        problems.stop("1", "the file is encoded as UTF-16 or UTF-32", "save it as UTF-8")
    try:
        text = raw.decode("utf-8")
        return text.removeprefix("\ufeff") if offset == 0 else text
    except UnicodeDecodeError as error:
        where = place or str(raw[: error.start].count(b"\n") + 1)
        at = offset + error.start
        problems.add(where, f"byte 0x{raw[error.start]:02x} at offset {at} is not UTF-8", "save the file as UTF-8")
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the member {name!r} appears twice")
        members[name] = value
    return members
