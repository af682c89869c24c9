"""Texts cut every few tokens, at places where they can be read again as the same tokens.

A language model is asked in texts, so a cut is only sound where the tokens of the beginning are the first tokens
of the whole: not within a character or a merged piece, and not behind white space, which a model reads as part of
what follows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from steelyard.errors import CapabilityError


class TokenText(NamedTuple):
    """A text with its tokens; ``starts`` holds each token's first character and, last, the length of the text."""

    text: str
    tokens: tuple[int, ...]
    starts: tuple[int, ...]

    def at(self, character: int) -> int:
        """The first token that starts at ``character`` or behind it."""
        return bisect_left(self.starts, character, hi=len(self.tokens))

    def piece(self, first: int, last: int) -> str:
        """The text from token ``first`` up to token ``last``, which is not in it."""
        return self.text[self.starts[max(0, first)] : self.starts[last]]


def tokenizer_of(model: Any, caller: str) -> Any:
    """The model's tokenizer; raises :class:`CapabilityError` where there is none that tells characters."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None or not getattr(tokenizer, "is_fast", False):
        raise CapabilityError(
            f"{caller} cuts texts at tokens, and {model.card.name} shows no fast tokenizer; give it open weights"
        )
    return tokenizer


def tokenized(tokenizer: Any, texts: Sequence[str]) -> list[TokenText]:
    """The texts with their tokens, without special tokens."""
    if not texts:
        return []
    found = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pairs = zip(texts, found["input_ids"], found["offset_mapping"], strict=True)
    return [
        TokenText(text, tuple(tokens), (*(start for start, _ in offsets), len(text)))
        for text, tokens, offsets in pairs
    ]


def stride_ends(tokenizer: Any, whole: TokenText, first: int, stride: int) -> list[int]:
    """Where the pieces of ``whole`` from token ``first`` on end: after ``stride`` tokens each, or at the next
    sound place behind that. The last end is the number of tokens.

    A place is sound where the piece alone gives the same tokens, and no white space is before it.
    """
    ends: list[int] = []
    begin, count = first, len(whole.tokens)
    while begin < count:
        end = begin + stride
        while end < count and not _sound(tokenizer, whole, begin, end):
            end += 1
        ends.append(min(end, count))
        begin = end
    return ends


def shortened(tokenizer: Any, text: str, tokens: int) -> TokenText:
    """The first ``tokens`` tokens of a text."""
    whole = tokenized(tokenizer, [text])[0]
    if len(whole.tokens) <= tokens:
        return whole
    cut = whole.starts[tokens]
    return TokenText(text[:cut], whole.tokens[:tokens], (*whole.starts[:tokens], cut))


def _sound(tokenizer: Any, whole: TokenText, begin: int, end: int) -> bool:
    cut = whole.starts[end]
    if cut <= whole.starts[begin] or whole.text[cut - 1].isspace():
        return False
    alone = tokenizer(whole.piece(begin, end), add_special_tokens=False, verbose=False)["input_ids"]
    return tuple(alone) == whole.tokens[begin:end]
