"""Prompts of rerankers: a text with places, put to a model as it is or as a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from steelyard.contracts import Message, Prompt
from steelyard.errors import UsageError

Form: TypeAlias = Literal["plain", "chat"]
"""``plain``: the text itself, continued; ``chat``: a user's message, rendered by the model's chat template."""
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places such as ``{query}``; braces in what is put there are left as they are."""

    text: str
    form: Form = "plain"

    def prompt(self, **values: str) -> Prompt:
        """The text with its places filled.

        >>> Template("Passage: {passage}").prompt(passage="{query}")
        'Passage: {query}'
        """
        text = _PLACE.sub(lambda place: values.get(place[1], place[0]), self.text)
        return text if self.form == "plain" else [Message("user", text)]

    def answer(self, text: str) -> str:
        """``text`` as it continues the prompt: after a space, unless the assistant's turn has just begun."""
        return f" {text}" if self.form == "plain" else text


def checked_template(text: str, form: Form, places: Sequence[str], part: str) -> Template:
    """The template, if it has exactly the places that the reranker ``part`` fills.

    Raises:
        UsageError: a place is missing or unknown.
    """
    found = set(_PLACE.findall(text))
    if unknown := found - set(places):
        raise UsageError(
            f"part {part!r}, setting 'template': no place {{{min(unknown)}}}; there are {_names(places)}"
        )
    if missing := set(places) - found:
        raise UsageError(f"part {part!r}, setting 'template': the place {{{min(missing)}}} is missing")
    return Template(text, form)


def first_words(text: str, words: int) -> str:
    """The first ``words`` words of a text as they stand there, without white space around them.

    >>> first_words(" a  b c ", 2), first_words("a b", 2)
    ('a  b', 'a b')
    """
    found = re.match(rf"\s*(?:\S+\s*){{0,{words}}}", text)
    return found[0].strip() if found else ""


def _names(places: Sequence[str]) -> str:
    return ", ".join(f"{{{place}}}" for place in places)
