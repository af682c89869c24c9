"""Text to index terms: words by Unicode's rules, bigrams where words are not set apart, stems."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, NamedTuple

import regex  # type: ignore[import-untyped]

from steelyard.errors import UsageError
from steelyard.parts import nearest

NO_STEMMING = "none"
CODES = {
    "ar": "arabic", "da": "danish", "de": "german", "en": "english", "es": "spanish", "fi": "finnish",
    "fr": "french", "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip
"""Codes of languages, for names of stemmers."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"[\w--[{_UNSPACED}]]"
_WORDS = regex.compile(
    rf"(?V1){_LETTER}+(?:(?:'(?=\p{{L}})|(?<=\p{{Nd}})[.,](?=\p{{Nd}})){_LETTER}+)*|[{_UNSPACED}]+"
)
_UNSPACED_RUN = regex.compile(rf"(?V1)[{_UNSPACED}]")
_ASCII_WORDS = re.compile(r"[a-z0-9_]+(?:(?:'(?=[a-z])|(?<=[0-9])[.,](?=[0-9]))[a-z0-9_]+)*")
_PHRASE = re.compile(r'"([^"]*)"|“([^“”]*)”')
MEMO = 1_000_000
"""So many words' stems are remembered before starting afresh."""


class Query(NamedTuple):
    """What a query asks for: its words, all of them, and phrases that must occur."""

    terms: list[str]
    phrases: list[list[str]]


class Analyzer:
    """Turns text into terms, the same way for documents and queries.

    Text is brought to NFKC and its case folded. Words follow Unicode's default boundaries (UAX #29) in that
    apostrophes between letters and points and commas between digits belong to them; other punctuation separates.
    Runs of scripts that are written without spaces become overlapping pairs of characters, a single character
    staying alone. Words are then stemmed by Snowball's algorithm for the language.

    Example:
        >>> Analyzer("english").terms("Wings don't lift 3.5 tonnes; 翼型很")
        ['wing', "don't", 'lift', '3.5', 'tonn', '翼型', '型很']
    """

    def __init__(self, language: str = "english") -> None:
        self.language = CODES.get(language.lower(), language.lower())
        self._stemmer: Any = None
        self._stems: dict[str, str] = {}

    def terms(self, text: str) -> list[str]:
        """The terms of ``text``, in its order; their places are their positions for phrases."""
        if text.isascii():
            words = _ASCII_WORDS.findall(text.lower())
        else:
            folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
            words = [part for word in _WORDS.findall(folded) for part in _parts(word)]
        stems = self._stems
        try:
            return list(map(stems.__getitem__, words))
        except KeyError:
            self._learn(words)
        return [self._stems[word] for word in words]

    def query(self, text: str) -> Query:
        """A query's terms and its phrases, which stand in double quotation marks.

        The words of a phrase are terms too. A phrase of one word asks for that word.
        """
        phrases = [self.terms(straight or curly) for straight, curly in _PHRASE.findall(text)]
        return Query(self.terms(text), [phrase for phrase in phrases if phrase])

    def _learn(self, words: list[str]) -> None:
        unknown = list(set(words).difference(self._stems))
        if len(self._stems) + len(unknown) > MEMO:
            self._stems = {}
            unknown = list(set(words))
        self._stems.update(zip(unknown, self._stemmed(unknown), strict=True))

    def _stemmed(self, words: list[str]) -> list[str]:
        if self.language == NO_STEMMING:
            return words
        if self._stemmer is None:
            self._stemmer = _stemmer(self.language)
        stems: list[str] = self._stemmer.stemWords(words)
        return stems


def _parts(word: str) -> list[str]:
    if len(word) == 1 or not _UNSPACED_RUN.match(word):
        return [word]
    return [word[i : i + 2] for i in range(len(word) - 1)]


def _stemmer(language: str) -> Any:
    try:
        import Stemmer
    except ModuleNotFoundError as error:
        raise UsageError(
            f"stemming {language} needs the package 'PyStemmer': pip install 'steelyard[retrieval]', or use the "
            f"language {NO_STEMMING!r}"
        ) from error
    known = Stemmer.algorithms()
    if language not in known:
        raise UsageError(
            f"there is no stemmer for the language {language!r}{nearest(language, known)}; "
            f"{NO_STEMMING!r} does without"
        )
    return Stemmer.Stemmer(language)
