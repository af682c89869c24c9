"""Plain text and Markdown: decoding, and headings that are written as such."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from steelyard.retrieval.documents.document import Extract, Heading, Unreadable
from steelyard.retrieval.documents.limits import Limits

_MARKS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
GUESSED_BYTES = 200_000
"""How much of a file an encoding is guessed from: a guess takes time in proportion."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")


def decode(data: bytes, declared: str | None = None) -> str:
    r"""Text of ``data``: by byte order mark, the ``declared`` encoding, UTF-8, or else by a guess.

    Line ends become ``\n``. Encodings other than these are guessed with charset-normalizer, from the letters that
    a language uses.

    Raises:
        Unreadable: NUL bytes, or no encoding fits.
    """
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    if marked is None and b"\0" in data:
        raise Unreadable("holds NUL bytes, so it is no text")
    encoding = marked or _known(declared) or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode(_guessed(data), errors="replace")
    if "\0" in text:
        raise Unreadable("holds NUL characters, so it is no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _known(encoding: str | None) -> str | None:
    try:
        return codecs.lookup(encoding).name if encoding else None
    except (LookupError, ValueError):
        return None


def _guessed(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:GUESSED_BYTES]).best()
    if best is None:
        raise Unreadable("is in no known encoding; save it as UTF-8")
    return str(best.encoding)


def plain_text(data: bytes, limits: Limits) -> Extract:
    """The text of a plain text file, as it is."""
    text = decode(data)
    check_lines(text, limits)
    return Extract(text)


def markdown(data: bytes, limits: Limits) -> Extract:
    """The text of a Markdown file, as it is, with its headings (``#`` and underlined ones, outside code)."""
    text = decode(data)
    check_lines(text, limits)
    return Extract(text, tuple(markdown_headings(text)))


def check_lines(text: str, limits: Limits) -> None:
    """Refuse text with a line that is longer than anybody writes."""
    start, number = 0, 1
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end - start > limits.line_characters:
            raise Unreadable(f"line {number} has more than {limits.line_characters:,} characters")
        start, number = end + 1, number + 1


def markdown_headings(text: str) -> Iterator[Heading]:
    """Headings by the rules of CommonMark, for those outside of lists and quotations."""
    fence, start, previous = "", 0, (0, "")
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\n")
        opened = _FENCE.match(bare)
        if fence:
            if opened and opened[1].startswith(fence):
                fence = ""
            bare = ""
        elif opened:
            fence, bare = opened[1], ""
        elif heading := _ATX.match(bare):
            yield Heading(start, start + len(bare), len(heading[1]))
            bare = ""
        elif previous[1].strip() and not previous[1].startswith((" " * 4, "\t")) and _SETEXT.match(bare):
            level = 1 if "=" in bare else 2
            yield Heading(previous[0], start + len(bare), level)
            bare = ""
        previous = (start, bare)
        start += len(line)
