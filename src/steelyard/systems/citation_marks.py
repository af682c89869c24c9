"""Marks such as [2] that a model writes into its answer: read, and taken out of the text."""

from __future__ import annotations

import re
from typing import NamedTuple

_MARK = re.compile(r"\s*\[([1-9]\d?(?:\s*,\s*[1-9]\d?)*)\]")
_BEGINNING = re.compile(r"\s*(?:\[[\d,\s]*)?\Z")


class Mark(NamedTuple):
    """A place in the text without marks, and the numbers that were written there."""

    place: int
    numbers: tuple[int, ...]


class Unmarked(NamedTuple):
    """An answer's text without its marks, and the marks in their order, one for each place."""

    text: str
    marks: tuple[Mark, ...]


def without_marks(text: str) -> Unmarked:
    """Take the marks out of an answer, each with the white space before it.

    A mark is one or more numbers from 1 to 99 in square brackets. Marks that stand together become one.

    >>> without_marks("It is old [1][3].")
    Unmarked(text='It is old.', marks=(Mark(place=9, numbers=(1, 3)),))
    """
    pieces: list[str] = []
    marks: list[Mark] = []
    length = begin = 0
    for found in _MARK.finditer(text):
        pieces.append(text[begin : found.start()])
        length += len(pieces[-1])
        begin = found.end()
        numbers = [int(number) for number in found[1].split(",")]
        if marks and marks[-1].place == length:
            numbers = [*marks.pop().numbers, *numbers]
        marks.append(Mark(length, tuple(dict.fromkeys(numbers))))
    pieces.append(text[begin:])
    return Unmarked("".join(pieces), tuple(marks))


class MarkFilter:
    """Takes marks out of a text that comes in pieces, holding back what may still become one."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be shown now that ``text`` has come."""
        self._held += text
        beginning = _BEGINNING.search(self._held)
        cut = beginning.start() if beginning else len(self._held)
        shown, self._held = without_marks(self._held[:cut]).text, self._held[cut:]
        return shown

    def end(self) -> str:
        """What was held back and turned out to be text."""
        rest, self._held = without_marks(self._held).text, ""
        return rest
