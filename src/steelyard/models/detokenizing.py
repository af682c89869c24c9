"""Text from tokens as they come: whole characters only, and nothing that may be the start of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TAIL = 4
"""How many tokens before are decoded along: white space and joined characters depend on them."""


class Detokenizer:
    """Turns tokens into text pieces, one by one; joined they are the text after the prompt.

    A piece is empty while its token ends within a character; :meth:`flush` gives what is left at the end.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.tokens = list(prompt[-TAIL:])
        self.start = 0
        self.read = len(self.tokens)
        self.before = self._decode(self.tokens)

    def push(self, token: int) -> str:
        """Take one token and return the text that is now certain."""
        self.tokens.append(token)
        text = self._decode(self.tokens[self.start :])
        if text.endswith("\ufffd") and len(self.tokens) - self.read < 8:
            return ""
        return self._advance(text)

    def flush(self) -> str:
        """What is left of an incomplete character, as a replacement character."""
        if self.read == len(self.tokens):
            return ""
        return self._advance(self._decode(self.tokens[self.start :]))

    def _advance(self, text: str) -> str:
        piece = text[len(self.before) :]
        self.start = max(self.start, self.read - 1)
        self.read = len(self.tokens)
        self.before = self._decode(self.tokens[self.start :])
        return piece

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def find_stop(text: str, stops: Sequence[str], start: int = 0) -> int | None:
    """Where the earliest stop string begins at or after ``start``, or None."""
    places = [place for stop in stops if stop and (place := text.find(stop, start)) >= 0]
    return min(places, default=None)


def held_back(text: str, stops: Sequence[str]) -> int:
    r"""How many last characters may still become a stop string.

    >>> held_back("the end\nQues", ("\nQuestion:",))
    5
    """
    longest = max((len(stop) for stop in stops), default=1)
    for length in range(min(longest - 1, len(text)), 0, -1):
        if any(len(stop) > length and stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0
