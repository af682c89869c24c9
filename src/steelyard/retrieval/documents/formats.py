"""The table of formats: how each is recognised and read. A new format is one module and one row here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

from steelyard.errors import UsageError
from steelyard.retrieval.documents.document import Extract, Unreadable
from steelyard.retrieval.documents.limits import Limits

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Format:
    """One format: file name endings, the function that reads it, and whether that happens in a process apart.

    Parsers of complicated formats run apart, where time and memory are limited and a crash ends nothing else.
    """

    name: str
    endings: tuple[str, ...]
    reader: str
    apart: bool = False

    def read(self, data: bytes, limits: Limits) -> Extract:
        """The extract of a file's bytes.

        Raises:
            Unreadable: The reason why there is none.
        """
        module, _, function = self.reader.partition(":")
        try:
            read: Callable[[bytes, Limits], Extract] = getattr(
                import_module(f"steelyard.retrieval.documents.{module}"), function
            )
            extract = read(data, limits)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"reading {self.name} needs the package {error.name!r}: pip install 'steelyard[retrieval]'"
            ) from error
        if len(extract.text) > limits.characters:
            raise Unreadable(f"has more than {limits.characters:,} characters of text")
        # Halves of surrogate pairs, which JSON can write, are no characters; replaced one by one, offsets stay.
        return replace(extract, text=_SURROGATES.sub("\ufffd", extract.text))


FORMATS = (
    Format("plain text", (".txt", ".text", ".log", ".rst"), "plain:plain_text"),
    Format("Markdown", (".md", ".markdown", ".mdx"), "plain:markdown"),
    Format("HTML", (".html", ".htm", ".xhtml"), "html:html", apart=True),
    Format("PDF", (".pdf",), "pdf:pdf", apart=True),
    Format("Word", (".docx", ".docm"), "word:docx", apart=True),
    Format("a table", (".csv", ".tsv"), "tables:csv_table"),
    Format("JSON Lines", (".jsonl", ".ndjson"), "tables:json_lines"),
)

_BEGINNINGS = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "an archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Office file"),
    (b"\x1f\x8b", "an archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"SQLite format 3", "a database"),
)
_EXPECTED = {"PDF": "PDF", "Word": "an archive"}


def format_of(name: str) -> Format | None:
    """The format that a file name's ending says, or None."""
    lower = name.lower()
    return next((known for known in FORMATS if lower.endswith(known.endings)), None)


def check_beginning(chosen: Format, data: bytes) -> None:
    """Compare what a file begins with to what its name says.

    Raises:
        Unreadable: It is something else.
    """
    found = next((what for beginning, what in _BEGINNINGS if data.startswith(beginning)), None)
    if found is None and chosen.name == "PDF" and b"%PDF-" in data[:1024]:
        found = "PDF"  # readers accept some bytes of something else in front
    expected = _EXPECTED.get(chosen.name)
    if found != expected:
        raise Unreadable(f"is named like {chosen.name} but is {found or 'not'}")
