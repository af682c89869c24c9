"""CSV and JSON Lines: every record a stretch of text of its own, its short fields the metadata."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from steelyard.retrieval.documents.document import Extract, Mark, Unreadable
from steelyard.retrieval.documents.limits import Limits
from steelyard.retrieval.documents.plain import check_lines, decode

TEXT_FIELDS = ("text", "content", "contents", "body", "passage", "abstract")
TITLE_FIELDS = ("title", "name", "heading")
METADATA_CHARACTERS = 200
"""Longer fields are text and not something to filter by."""
NOTES = 20
"""So many bad lines are reported one by one."""


def csv_table(data: bytes, limits: Limits) -> Extract:
    """Every row of a table with a header line is a record; the separator is found in the first lines."""
    text = decode(data)
    check_lines(text, limits)
    try:
        dialect: Any = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(max(csv.field_size_limit(), limits.line_characters))
    rows = csv.reader(io.StringIO(text, newline=""), dialect)
    return _extract(_csv_records(rows, limits))


def _csv_records(rows: Any, limits: Limits) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        header = [name.strip() for name in next(rows, [])]
        if len(header) > limits.columns:
            raise Unreadable(f"has {len(header)} columns, more than {limits.columns}")
        line = rows.line_num + 1
        for row in rows:
            if len(row) > len(header):
                yield line, f"has {len(row)} fields where the header has {len(header)}"
            elif any(field.strip() for field in row):
                yield line, dict(zip(header, row, strict=False))
            line = rows.line_num + 1
    except csv.Error as error:
        raise Unreadable(f"line {rows.line_num}: {error}") from error


def json_lines(data: bytes, limits: Limits) -> Extract:
    """Every line is an object; lines that are not are noted, and the rest is read."""
    text = decode(data)
    check_lines(text, limits)
    return _extract(_json_records(text, limits))


def _json_records(text: str, limits: Limits) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "is no JSON"
            continue
        if not isinstance(record, dict):
            yield number, "is no JSON object"
        elif len(record) > limits.columns:
            yield number, f"has {len(record)} fields, more than {limits.columns}"
        else:
            yield number, record


def _extract(records: Iterator[tuple[int, Mapping[str, Any] | str]]) -> Extract:
    pieces: list[str] = []
    marks: list[Mark] = []
    notes: list[str] = []
    at = bad = 0
    for line, record in records:
        piece = record if isinstance(record, str) else record_text(record)
        if isinstance(record, str) or not piece.strip():
            bad += 1
            if bad <= NOTES:
                notes.append(f"line {line} {record if isinstance(record, str) else 'holds no text'}")
            continue
        pieces.append(piece)
        marks.append(Mark(at, at + len(piece), {"line": line, **_metadata(record)}, separate=True))
        at += len(piece) + 2
    if bad > NOTES:
        notes.append(f"{bad - NOTES} more lines likewise")
    if notes and not pieces:
        raise Unreadable(notes[0])
    return Extract("\n\n".join(pieces), marks=tuple(marks), notes=tuple(notes))


def record_text(record: Mapping[str, Any]) -> str:
    r"""What a record says: its title and text where it has fields of such names, otherwise ``name: value`` lines.

    >>> record_text({"title": "Wings", "text": "They lift.", "year": 1951})
    'Wings\n\nThey lift.'
    >>> record_text({"town": "Ulm", "height": 161.5})
    'town: Ulm\nheight: 161.5'
    """
    fields = {str(name).lower(): value for name, value in record.items()}
    texts = [fields[name] for name in TEXT_FIELDS if isinstance(fields.get(name), str) and fields[name].strip()]
    if texts:
        titles = [fields[name] for name in TITLE_FIELDS if isinstance(fields.get(name), str)]
        return "\n\n".join(part.strip() for part in [*titles[:1], texts[0]] if part.strip())
    lines = [f"{name}: {value}" for name, value in record.items() if _is_plain(value) and str(value).strip()]
    return "\n".join(lines)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _metadata(record: Mapping[str, Any]) -> dict[str, Any]:
    """Fields to filter by: numbers, truth values, short strings, and lists of them."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, list):
            kept = [item for item in value if _is_short(item)]
            if kept and len(kept) == len(value):
                found[str(name)] = kept
        elif _is_short(value):
            found[str(name)] = value
    return found


def _is_short(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and 0 < len(value) <= METADATA_CHARACTERS)
