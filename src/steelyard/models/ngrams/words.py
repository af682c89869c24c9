r"""Words, sentence marks and the vocabulary: what an n-gram model reads of a text.

A word is a run of characters that are not white space. A line is a sentence: it begins with the mark ``<s>``,
which is never predicted, and its line break is the mark ``</s>``, which is. Blank lines are no sentences: white
space with one or more line breaks in it is one end mark, and at the start of a sentence it is none.

    split_units("the cat\nsat", False)      # the, cat, end mark, sat
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
UNKNOWN_ID, BEGIN_ID, END_ID = 0, 1, 2
MARKS = (UNKNOWN, BEGIN, END)

_WORD = re.compile(r"(\s*)(\S+)")


class Unit(NamedTuple):
    """A word with the white space before it, or an end mark, whose ``word`` is ``</s>``; pieces spell the text."""

    piece: str
    word: str


def split_units(text: str, begun: bool) -> list[Unit]:
    r"""Words and end marks of ``text``; ``begun`` says whether a sentence with words in it is going on before
    it.

    White space behind the last word belongs to that word, unless a line break in it makes it an end mark.

    >>> [tuple(unit) for unit in split_units("a  b\n\n c ", False)]
    [('a', 'a'), ('  b', 'b'), ('\n\n', '</s>'), (' c ', 'c')]
    """
    units: list[Unit] = []
    end = 0
    for match in _WORD.finditer(text):
        space, word = match.groups()
        cut = space.rfind("\n") + 1
        if cut and begun:
            units.append(Unit(space[:cut], END))
            space = space[cut:]
        units.append(Unit(space + word, word if word != END else UNKNOWN))
        begun, end = True, match.end()
    rest = text[end:]
    if "\n" in rest and begun:
        units.append(Unit(rest, END))
    elif rest and units:
        units[-1] = Unit(units[-1].piece + rest, units[-1].word)
    return units


def sentences(texts: Iterable[str]) -> Iterator[list[str]]:
    r"""The words of every line that has any.

    >>> list(sentences(["a b\n\nc", "d"]))
    [['a', 'b'], ['c'], ['d']]
    """
    for text in texts:
        for line in text.split("\n"):
            words = line.split()
            if words:
                yield words


@dataclass(frozen=True)
class Vocabulary:
    """Words by number; 0, 1 and 2 are ``<unk>``, ``<s>`` and ``</s>``. A word that is not listed is ``<unk>``."""

    words: tuple[str, ...]

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Word to number; the sentence marks are no words, so text that spells one is unknown."""
        return {word: n for n, word in enumerate(self.words) if n not in (BEGIN_ID, END_ID)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.numbers and word != UNKNOWN

    def encode(self, words: Iterable[str]) -> list[int]:
        """Numbers of words."""
        numbers = self.numbers
        return [numbers.get(word, UNKNOWN_ID) for word in words]


def build_vocabulary(lines: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
    """The words that ``lines`` hold at least ``min_count`` times, the most frequent first, then in order of code
    points.

    >>> build_vocabulary([["a", "b"], ["b"]], 2).words
    ('<unk>', '<s>', '</s>', 'b')
    """
    counts: Counter[str] = Counter()
    for words in lines:
        counts.update(words)
    kept = [(-count, word) for word, count in counts.items() if count >= min_count and word not in MARKS]
    return Vocabulary((*MARKS, *(word for _, word in sorted(kept))))


class Stream(NamedTuple):
    """Sentences one after the other: ``tokens`` int64 (n,), and ``places``, their distance from their ``<s>``."""

    tokens: NDArray[np.int64]
    places: NDArray[np.int64]


def encode_sentences(vocabulary: Vocabulary, lines: Iterable[Sequence[str]]) -> Stream:
    """Every line as ``<s>``, its words, ``</s>``."""
    tokens: list[int] = []
    lengths: list[int] = []
    for words in lines:
        tokens += (BEGIN_ID, *vocabulary.encode(words), END_ID)
        lengths.append(len(words) + 2)
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = np.repeat(ends - lengths, lengths) if lengths else np.zeros(0, np.int64)
    return Stream(np.array(tokens, dtype=np.int64), np.arange(len(tokens), dtype=np.int64) - starts)
