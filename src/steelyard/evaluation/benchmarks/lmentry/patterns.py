"""Patterns that LMentry's scorers are made of: mentions of words, letters and numbers, and claims about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_UNITS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TYPOGRAPHIC = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "_": " ", "*": "", "`": ""})

BEFORE = r"""["'(\[]*"""
AFTER = r"""["')\].,;]*"""
TAIL = r"""[\s.!"')]*"""
IS = r"(?: is| would be|:| -)"
NUMBER = r"(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|zero|a single)"
_LEAD = re.compile(r"(?:of|from|between|among|in) [^.\n]{1,120}?, ")
_SAID = re.compile(
    r"(?:(?:sure|certainly|of course|okay|ok|well)[,.!:]? )?"
    r"(?:(?:the )?(?:correct |right |final )?answer(?: to (?:this|the|your) question)?(?: is|:| would be):? ?"
    r"|a: ?|(?:it is|it's|it would be|that is|that's|that would be|this is) "
    r"|i (?:think|believe|would say|would choose|choose|pick)(?: that)?(?: it is| it's)? )?"
)


class Verdict(NamedTuple):
    """1 for right and 0 for wrong, and whether the whole output was understood."""

    score: int
    certain: bool


def normalised(output: str) -> str:
    """Lower case, plain quotes, no markup, single spaces within lines."""
    text = output.translate(_TYPOGRAPHIC).strip().lower()
    return re.sub(r"[ \t]+", " ", text)


def word(text: str) -> str:
    """A mention of a word, quoted or not, with or without "the word"."""
    return rf"(?:the word )?{BEFORE}\b{re.escape(text.lower())}\b{AFTER}"


def any_word(texts: Sequence[str]) -> str:
    """A mention of one of several words."""
    return rf"(?:the word )?{BEFORE}\b(?:{'|'.join(re.escape(text.lower()) for text in texts)})\b{AFTER}"


def letter(text: str) -> str:
    """A mention of a letter; ``text`` may be a class of letters."""
    return rf"(?:the letter )?{BEFORE}(?<![\w']){text}(?![\w']){AFTER}"


def number(value: int) -> str:
    """A mention of a whole number, in digits (with or without thousands separators) or words."""
    words = number_words(value).replace("-", "[- ]").replace(" and ", " (?:and )?")
    forms = sorted({str(value), f"{value:,}"})
    return (
        rf"(?:the number )?{BEFORE}(?<![\d.,])\b(?:{'|'.join(map(re.escape, forms))}|{words})\b(?![.,]\d){AFTER}"
    )


def number_words(value: int) -> str:
    """A whole number below a million in words.

    >>> number_words(723), number_words(40), number_words(1001)
    ('seven hundred and twenty-three', 'forty', 'one thousand and one')
    """
    if value < 20:
        return _UNITS[value]
    if value < 100:
        tens, unit = divmod(value, 10)
        return _TENS[tens - 2] + (f"-{_UNITS[unit]}" if unit else "")
    size, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    much, rest = divmod(value, size)
    joint = " and " if 0 < rest < 100 else " "
    return f"{number_words(much)} {name}" + (f"{joint}{number_words(rest)}" if rest else "")


def shared(answer: str) -> list[str]:
    """Claims that hold for any question: "the answer is X", "X is the answer"."""
    return [
        rf"(?:correct |right |final )?answer(?: is|:| would be):? {answer}",
        rf"{answer} is the (?:correct |right )?(?:answer|one|choice|option)\b",
    ]


def openings(text: str) -> list[str]:
    """An output as it stands, and without what may open an answer ("The answer is ...", "Of the two, ...")."""
    said = _SAID.match(text)
    rest = text[said.end() :] if said else text
    lead = _LEAD.match(rest)
    return list(dict.fromkeys([text, rest, rest[lead.end() :] if lead else rest]))


def opens_with(text: str, answer: str) -> bool:
    """Whether an output begins with a bare answer, as a sentence of its own or followed by a reason."""
    ending = r"(?:\s*$|\s*[.!;:\n]|,? (?:because|since|as|for|which|it)\b|(?<=[.,;:]) )"
    return any(re.match(f"{answer}{ending}", each) for each in openings(text))


def whole(text: str, *patterns: str) -> bool:
    """Whether an output is nothing but one of these, with an opening phrase at most."""
    found = re.compile(f"(?:{'|'.join(patterns)}){TAIL}") if patterns else None
    return found is not None and any(found.fullmatch(each) for each in openings(text))


def only(text: str, pattern: str) -> bool:
    """Whether every word of an output is the answer, said once or again and again."""
    words = re.findall(r"[a-z\d][a-z\d'-]*", text)
    return bool(words) and all(re.fullmatch(pattern, each) for each in words)


def first_place(text: str, patterns: Sequence[str]) -> int | None:
    """Where the earliest of several patterns begins in an output."""
    found = re.search("|".join(f"(?:{pattern})" for pattern in patterns), text) if patterns else None
    return found.start() if found else None


def weigh(
    text: str, right: Sequence[str], wrong: Sequence[str], *, bare: tuple[str, str] | None = None
) -> Verdict:
    """The verdict on an output: what it claims first counts.

    Args:
        text: A normalised output.
        right: Claims that are right.
        wrong: Claims that are wrong.
        bare: The answer and the wrong answers as patterns, where an answer may stand by itself.
    """
    if not re.search(r"[a-z\d]", text):
        return Verdict(0, True)
    if bare is not None:
        for pattern, score in zip(bare, (1, 0), strict=True):
            if whole(text, pattern) or only(text, pattern):
                return Verdict(score, True)
    good, bad = first_place(text, right), first_place(text, wrong)
    if good is None and bad is None:
        if bare is None:
            return Verdict(0, False)
        return Verdict(int(opens_with(text, bare[0])), opens_with(text, bare[1]))
    score = int(bad is None or (good is not None and good < bad))
    return Verdict(score, whole(text, *(right if score else wrong)))
