"""Chunks: passages of a document that follow its structure and can be cited to the character."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from steelyard.contracts import Hit
from steelyard.errors import UsageError
from steelyard.retrieval.documents.document import Document, Extract, Heading, Mark

Counter: TypeAlias = Callable[[Sequence[str]], list[int]]
"""Texts to their numbers of tokens."""

_WORD = re.compile(r"\S+")
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+(?=\S)|(?<=[。！？])[」』”）]*\s*(?=\S)")
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")


def count_words(texts: Sequence[str]) -> list[int]:
    """Words between spaces, where a Chinese, Japanese, Korean or Thai character counts as one of its own.

    >>> count_words(["They lift.", "翼型"])
    [2, 2]
    """
    return [max(len(_WORD.findall(text)), len(_IDEOGRAPHS.findall(text))) for text in texts]


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """How large chunks are: at most ``tokens``, of which up to ``overlap`` repeat the end of the one before."""

    tokens: int = 200
    overlap: int = 40


class Span(NamedTuple):
    """A chunk's place in its document's text: ``text[start:end]``."""

    start: int
    end: int


class _Unit(NamedTuple):
    start: int
    end: int
    tokens: int


def split(extract: Extract, size: ChunkSize = ChunkSize(), count: Counter = count_words) -> list[Span]:
    """The spans of a document's chunks, in order.

    Text is cut at headings and around records, there into paragraphs, these into sentences, and sentences that are
    over the budget into words (into characters where one word is). Consecutive sentences are packed together up to
    the budget; a chunk begins with the last sentences of the one before as far as they fit into the overlap. A
    heading that nothing follows before the next one stays with that one. The tokens of a chunk are counted as the
    sum of those of its sentences.

    Every character other than white space is in at least one chunk, no chunk is empty, and without overlap chunks
    do not share any.

    Args:
        extract: the text with its headings and marks.
        size: budget and overlap.
        count: texts to their numbers of tokens.

    Raises:
        UsageError: A budget below 1, or an overlap that is negative or not below it.
    """
    if size.tokens < 1 or not 0 <= size.overlap < size.tokens:
        raise UsageError(
            f"chunks of {size.tokens} tokens with an overlap of {size.overlap}: the budget must be positive and "
            f"the overlap smaller than it"
        )
    spans: list[Span] = []
    for section in _sections(extract):
        spans += _pack(_units(extract.text, section, size, count), size)
    return spans


def _sections(extract: Extract) -> Iterator[Span]:
    """The text between two cuts, without white space around; headings without a text of their own do not cut."""
    text = extract.text
    cuts = {0, len(text)}
    for mark in extract.marks:
        if mark.separate:
            cuts.update((mark.start, mark.end))
    body_from = 0
    for heading in extract.headings:
        if text[body_from : heading.start].strip():
            cuts.add(heading.start)
        body_from = heading.end
    places = sorted(cuts)
    for start, end in itertools.pairwise(places):
        trimmed = _trimmed(text, start, end)
        if trimmed.start < trimmed.end:
            yield trimmed


def _trimmed(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end)


def _pieces(text: str, span: Span, pattern: re.Pattern[str]) -> Iterator[Span]:
    start = span.start
    for gap in pattern.finditer(text, span.start, span.end):
        yield _trimmed(text, start, gap.end())
        start = gap.end()
    yield _trimmed(text, start, span.end)


def sentences_of(text: str, within: Span | None = None) -> list[Span]:
    """The sentences of a text, or of a stretch of it, without the white space around them; paragraphs end one.

    >>> sentences_of("It rained. It poured!")
    [Span(start=0, end=10), Span(start=11, end=21)]
    """
    paragraphs = _pieces(text, within or Span(0, len(text)), _PARAGRAPH)
    return [s for p in paragraphs for s in _pieces(text, p, _SENTENCE) if s.start < s.end]


def _units(text: str, section: Span, size: ChunkSize, count: Counter) -> list[_Unit]:
    """Sentences with their tokens, none over the budget."""
    sentences = sentences_of(text, section)
    counted = count([text[s.start : s.end] for s in sentences])
    units: list[_Unit] = []
    for sentence, tokens in zip(sentences, counted, strict=True):
        if tokens <= size.tokens:
            units.append(_Unit(*sentence, tokens))
        else:
            units += _broken(text, sentence, size, count)
    return units


def _broken(text: str, sentence: Span, size: ChunkSize, count: Counter) -> Iterator[_Unit]:
    """An over-long sentence in words, and an over-long word halved until its parts fit."""
    words = [Span(*m.span()) for m in _WORD.finditer(text, sentence.start, sentence.end)]
    for word, tokens in zip(words, count([text[w.start : w.end] for w in words]), strict=True):
        pending = [_Unit(*word, tokens)]
        while pending:
            unit = pending.pop()
            if unit.tokens <= size.tokens or unit.end - unit.start == 1:
                yield unit
                continue
            middle = (unit.start + unit.end) // 2
            halves = [Span(unit.start, middle), Span(middle, unit.end)]
            counted = count([text[h.start : h.end] for h in halves])
            pending += [_Unit(*half, n) for half, n in zip(halves, counted, strict=True)][::-1]


def _pack(units: Sequence[_Unit], size: ChunkSize) -> Iterator[Span]:
    first = tokens = 0
    for i, unit in enumerate(units):
        if i > first and tokens + unit.tokens > size.tokens:
            yield Span(units[first].start, units[i - 1].end)
            start, kept = i, 0
            while start > first + 1:
                more = units[start - 1].tokens
                if kept + more > size.overlap or kept + more + unit.tokens > size.tokens:
                    break
                start, kept = start - 1, kept + more
            first, tokens = start, kept
        tokens += unit.tokens
    if units:
        yield Span(units[first].start, units[-1].end)


def chunks(document: Document, size: ChunkSize = ChunkSize(), count: Counter = count_words) -> list[Hit]:
    """A document's chunks as passages to index, ``text`` being ``extract.text[start:end]``.

    The id is a hash of the document's name and the chunk's text (and how often that text came before in the
    document), so a chunk keeps it when something else in the document changes. Metadata are those of the document,
    of the marks the chunk lies in (``page`` being that of its beginning) and ``section``, the headings above it.

    Example:
        >>> document = Document("wings.txt", "", Extract("They lift. They drag."))
        >>> [(chunk.start, chunk.text) for chunk in chunks(document, ChunkSize(2, 0))]
        [(0, 'They lift.'), (11, 'They drag.')]
    """
    extract = document.extract
    seen: dict[str, int] = {}
    found = []
    sections, marks = _Path(extract.headings, extract.text), _Place(extract.marks)
    for start, end in split(extract, size, count):
        text = extract.text[start:end]
        seen[text] = seen.get(text, 0) + 1
        metadata = dict(extract.metadata) | marks.at(start)
        section = sections.at(start)
        if section:
            metadata["section"] = section
        key = f"{document.source}\0{text}\0{seen[text]}"
        identity = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        found.append(Hit(identity, 0.0, text, document.source, start, end, metadata))
    return found


class _Path:
    """The headings above a place, for places that come in order."""

    def __init__(self, headings: Sequence[Heading], text: str) -> None:
        self._headings = headings
        self._text = text
        self._next = 0
        self._above: list[tuple[int, str]] = []

    def at(self, place: int) -> str:
        while self._next < len(self._headings) and self._headings[self._next].start <= place:
            heading = self._headings[self._next]
            self._next += 1
            title = " ".join(self._text[heading.start : heading.end].split("\n")[0].strip().strip("#").split())
            self._above = [above for above in self._above if above[0] < heading.level]
            self._above.append((heading.level, title[:200]))
        return " > ".join(title for _, title in self._above)


class _Place:
    """The metadata of the marks over a place, for places that come in order; later marks begin later."""

    def __init__(self, marks: Sequence[Mark]) -> None:
        self._marks = marks
        self._next = 0
        self._open: list[Mark] = []

    def at(self, place: int) -> dict[str, Any]:
        while self._next < len(self._marks) and self._marks[self._next].start <= place:
            self._open.append(self._marks[self._next])
            self._next += 1
        self._open = [mark for mark in self._open if place < mark.end]
        return {key: value for mark in self._open for key, value in mark.metadata.items()}
