"""Documents to compress: text or bytes, with a date and a source where they are known."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import InputError
from steelyard.evaluation.records import Problems, read_rows

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Document:
    """What is coded: ``content`` is text, coded as the model's tokens, or bytes, coded one token a byte.

    ``date`` starts with a year and a month, such as ``2023-06`` or ``2023-06-30T12:00``; empty where unknown.
    """

    content: str | bytes
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.date and not _MONTH.match(self.date):
            raise InputError(
                f"a document's date {self.date[:20]!r} does not start with a year and a month (2023-06)"
            )

    @property
    def raw(self) -> bytes:
        """The bytes that the code stands for: UTF-8 for text."""
        return self.content if isinstance(self.content, bytes) else self.content.encode("utf-8", "surrogatepass")

    @property
    def month(self) -> str:
        """``2023-06``, or empty."""
        return self.date[:7]


def read_documents(file: Path) -> list[Document]:
    """Documents of a JSONL file, or a whole file of another kind as one document.

    A line holds ``text``, or ``base64`` for bytes, and may hold ``date`` and ``source``. Another file is text
    where it is UTF-8, bytes where not. Empty documents are refused, as nothing can be divided by their length.
    """
    if file.suffix.lower() != ".jsonl":
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
        try:
            found = [Document(raw.decode("utf-8"))]
        except UnicodeDecodeError:
            found = [Document(raw)]
        if not raw:
            raise InputError(f"{file}: is empty; give a document")
        return found
    problems = Problems(file)
    rows = read_rows(file, problems)
    documents = [_document(row.values, row.place, problems) for row in rows]
    problems.check()
    kept = [document for document in documents if document is not None]
    if not kept:
        raise InputError(f"{file}: holds no documents; give lines with text or base64")
    return kept


def _document(row: Mapping[str, Any], place: str, problems: Problems) -> Document | None:
    text, coded = row.get("text"), row.get("base64")
    content: str | bytes = ""
    if isinstance(text, str) and coded is None:
        content = text
    elif isinstance(coded, str) and text is None:
        try:
            content = base64.b64decode(coded, validate=True)
        except binascii.Error:
            problems.add(place, "base64 cannot be decoded", "encode the bytes again")
            return None
    if not content:
        problems.add(place, "needs a text or base64 that is not empty", "give one of the two")
        return None
    try:
        return Document(content, str(row.get("date") or ""), str(row.get("source") or ""))
    except InputError as error:
        problems.add(place, str(error), "write dates as 2023-06-30")
        return None
