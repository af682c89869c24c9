"""Word files (.docx): paragraphs, headings and tables of the main text."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from steelyard.retrieval.documents.document import Extract, Heading, Unreadable
from steelyard.retrieval.documents.limits import Limits

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_BODY = "word/document.xml"
_STYLES = "word/styles.xml"
_HEADING = re.compile(r"heading\s*([1-9])|^(title)$", re.IGNORECASE)
LEAST_BYTES = 1_000_000
"""What an archive may unfold to however small it is."""


def docx(data: bytes, limits: Limits) -> Extract:
    """Text of the body, one paragraph a line pair; cells of a table's row are set apart by tabs.

    Read straight from the archive, of which only two members are opened and nothing is written anywhere. A
    member is unfolded no further than the limit on expansion, whatever size it claims. Deleted text of tracked
    changes is left out. Entities and external references of the XML are never resolved.

    Raises:
        Unreadable: No Word file, damaged, encrypted, or one that unfolds to more than it may.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        allowed = int(max(LEAST_BYTES, limits.expansion * len(data)))
        styles = _levels(_member(archive, _STYLES, allowed)) if _STYLES in archive.namelist() else {}
        body = _member(archive, _BODY, allowed)
    except KeyError as error:
        raise Unreadable("is an archive without a Word document in it") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise Unreadable(f"is no Word file that can be read ({str(error).splitlines()[0][:200]})") from error
    pieces: list[str] = []
    headings: list[Heading] = []
    at = 0
    for text, style in _paragraphs(body):
        text = text.strip()
        if not text:
            continue
        level = styles.get(style) or _level(style)
        if level:
            headings.append(Heading(at, at + len(text), level))
        pieces.append(text)
        at += len(text) + 2
    return Extract("\n\n".join(pieces), tuple(headings))


def _member(archive: zipfile.ZipFile, name: str, allowed: int) -> bytes:
    with archive.open(name) as file:
        data = file.read(allowed + 1)
    if len(data) > allowed:
        raise Unreadable(f"unfolds to more than {allowed:,} bytes; it may be a zip bomb")
    return data


def _parser() -> Any:
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def _parsed(data: bytes) -> Any:
    from lxml import etree

    try:
        return etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"holds XML that cannot be read ({str(error).splitlines()[0][:200]})") from error


def _levels(data: bytes) -> dict[str, int]:
    """The level of each style that is a heading: style names are English in every language of Word."""
    levels = {}
    for style in _parsed(data).iter(f"{_W}style"):
        name = style.find(f"{_W}name")
        level = _level(name.get(f"{_W}val", "")) if name is not None else 0
        if level:
            levels[style.get(f"{_W}styleId", "")] = level
    return levels


def _level(name: str) -> int:
    found = _HEADING.search(name)
    if found is None:
        return 0
    return int(found[1]) if found[1] else 1


def _paragraphs(body: bytes) -> Iterator[tuple[str, str]]:
    """Text and style of each paragraph; a table's row is one."""
    from lxml import etree

    pieces: list[str] = []
    style, row = "", 0
    for event, element in etree.iterwalk(_parsed(body), events=("start", "end")):
        tag = element.tag.removeprefix(_W) if isinstance(element.tag, str) else ""
        if event == "start":
            row += tag == "tr"
            if tag == "t":
                pieces.append(element.text or "")
            elif tag in ("tab", "br", "cr"):
                pieces.append("\t" if tag == "tab" else "\n")
            elif tag == "pStyle":
                style = element.get(f"{_W}val", "")
            continue
        row -= tag == "tr"
        if tag == "tc":
            pieces.append("\t")
        elif tag == "p" and row:
            pieces.append(" ")
        elif tag == "tr" and not row:
            yield re.sub(r" *\t\s*", "\t", "".join(pieces)), ""
            pieces, style = [], ""
        elif tag == "p":
            yield "".join(pieces), style
            pieces, style = [], ""
