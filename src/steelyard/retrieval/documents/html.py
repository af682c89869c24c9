"""HTML: the text a reader sees, block by block, with its headings."""

from __future__ import annotations

import re
from typing import Any

from steelyard.retrieval.documents.document import Extract, Heading, Unreadable
from steelyard.retrieval.documents.limits import Limits
from steelyard.retrieval.documents.plain import decode

HIDDEN = frozenset(("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "head"))
BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset"),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li"),
        *("main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
    )
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


def html(data: bytes, limits: Limits) -> Extract:
    """Visible text: blocks are paragraphs, ``br`` a line end, cells of a row are set apart by tabs.

    Parsed with lxml, walked without recursion. Scripts, styles and embedded objects are left out; the title is
    metadata.
    """
    from lxml import etree
    from lxml import html as lxml_html

    declared = _CHARSET.search(data[:4096])
    text = _DECLARATION.sub("", decode(data, declared[1].decode("ascii") if declared else None))
    if not text.strip():
        return Extract("")
    try:
        parser = lxml_html.HTMLParser(huge_tree=True)  # limits are the process's, which reads nothing but this
        root = lxml_html.document_fromstring(text, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(f"is no HTML that can be read ({str(error).splitlines()[0]})") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Unreadable("is nested too deeply")  # the parser would leave out the rest in silence
    title = root.find(".//title")
    named = " ".join((title.text or "").split()) if title is not None else ""
    blocks = _Blocks()
    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        blocks.visit(event, element)
    blocks.close()
    return Extract("".join(blocks.pieces), tuple(blocks.headings), metadata={"title": named} if named else {})


class _Blocks:
    """Gathers the text of a walk through the elements."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.headings: list[Heading] = []
        self._block: list[str] = []
        self._length = 0
        self._hidden = 0
        self._preformatted = 0
        self._level = 0

    def visit(self, event: str, element: Any) -> None:
        """Take an element's start or end into account."""
        if event in ("comment", "pi"):
            self._say(element.tail)
            return
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            self._enter(tag)
            self._say(element.text)
        else:
            self._leave(tag)
            self._say(element.tail)

    def _enter(self, tag: str) -> None:
        self._hidden += tag in HIDDEN
        self._preformatted += tag == "pre"
        if tag in BLOCKS:
            self.close()
        if tag == "br" and not self._hidden:
            self._block.append("\n")
        if tag in ("td", "th") and not self._hidden:
            self._block.append("\t")
        if re.fullmatch("h[1-6]", tag):
            self._level = int(tag[1])

    def _leave(self, tag: str) -> None:
        if tag in BLOCKS:
            self.close()
        self._hidden -= tag in HIDDEN
        self._preformatted -= tag == "pre"
        if re.fullmatch("h[1-6]", tag):
            self._level = 0

    def _say(self, text: str | None) -> None:
        if text and not self._hidden:
            self._block.append(text if self._preformatted else re.sub(r"\s+", " ", text))

    def close(self) -> None:
        """End the block being gathered."""
        text = "".join(self._block)
        self._block.clear()
        if not self._preformatted:
            text = "\n".join(re.sub(r" *\t *", "\t", re.sub(" +", " ", line)).strip() for line in text.split("\n"))
        text = text.strip("\n") if self._preformatted else text.strip()
        if not text.strip():
            return
        if self.pieces:
            self.pieces.append("\n\n")
            self._length += 2
        if self._level:
            self.headings.append(Heading(self._length, self._length + len(text), self._level))
        self.pieces.append(text)
        self._length += len(text)
