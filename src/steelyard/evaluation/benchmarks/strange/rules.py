"""A checker for self-referential statements whose truth can be counted.

A rule says what a statement claims of its own text, and a value what it claims exactly. A shipped item holds if
its true statement keeps what it claims and its false twin does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from steelyard.errors import InputError

_WORD = re.compile(r"[A-Za-z0-9]+(?:['’-][A-Za-z0-9]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in lower case; a hyphenated word is one.

    >>> words('The "well-made" one.')
    ['the', 'well-made', 'one']
    """
    return [word.lower() for word in _WORD.findall(text)]


def sentences(text: str) -> int:
    """How many runs of text end with a full stop, a question mark or an exclamation mark."""
    return len([part for part in re.split(r"[.!?]+", text) if part.strip()])


Rule = Callable[[str, Any], bool]
RULES: Mapping[str, Rule] = {
    "words": lambda text, value: len(words(text)) == value,
    "word 1": lambda text, value: words(text)[0] == value,
    "word 3": lambda text, value: words(text)[2] == value,
    "last word": lambda text, value: words(text)[-1] == value,
    "penultimate word": lambda text, value: words(text)[-2] == value,
    "last word length": lambda text, value: len(words(text)[-1]) == value,
    "longest word": lambda text, value: max(words(text), key=len) == value,
    "repeats": lambda text, value: words(text).count(value) >= 2,
    "words shorter than": lambda text, value: all(len(word) < value for word in words(text)),
    "count of k": lambda text, value: text.lower().count("k") == value,
    "count of z": lambda text, value: text.lower().count("z") == value,
    "first letter": lambda text, value: text.lower().startswith(value),
    "without letter": lambda text, value: value not in text.lower(),
    "contains": lambda text, value: value in text,
    "contains a digit": lambda text, value: any(character.isdigit() for character in text),
    "no capitals": lambda text, value: text == text.lower(),
    "ends with": lambda text, value: text.endswith(value),
    "sentences": lambda text, value: sentences(text) == value,
    "lines": lambda text, value: len(text.splitlines()) == value,
}
"""Every rule: the statement's text and the claimed value to whether the claim is kept."""


def keeps(item: Mapping[str, Any], *, true: bool) -> bool:
    """Whether an item's statement (the true one or its twin) keeps what it claims.

    Raises:
        InputError: The item has no rule, or one that is not known.
    """
    name = item.get("rule")
    if name not in RULES:
        raise InputError(f"item {item.get('id')!r}: no such rule {name!r}; there are {', '.join(RULES)}")
    side = "true" if true else "false"
    text = str(item["beginning"]) + str(item[f"{side}_continuation"])
    return RULES[str(name)](text, item[f"{side}_value"])


def sound(item: Mapping[str, Any]) -> bool:
    """Whether the true statement is true and its twin false.

    >>> sound({"beginning": "This sentence has", "true_continuation": " five words.", "true_value": 5,
    ...        "false_continuation": " six words.", "false_value": 6, "rule": "words"})
    True
    """
    return keeps(item, true=True) and not keeps(item, true=False)
