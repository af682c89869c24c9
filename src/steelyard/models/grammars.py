"""Grammars an answer has to follow: choices, a regular expression or a JSON schema, as masks over tokens.

The work is done by llguidance, which walks a grammar over the bytes of each token. A regular expression has the
syntax of Rust's ``regex`` crate and describes the whole answer.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from steelyard.contracts import Grammar
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.forward import Engine

WHITE_SPACE = "[ ]?"
"""White space between the parts of a JSON answer: with more a model may write nothing else until it is cut."""


def grammar_tokenizer(engine: Engine, ends: frozenset[int]) -> Any:
    """The vocabulary as llguidance sees it; costs up to seconds, so an engine keeps it.

    Raises:
        CapabilityError: llguidance is not installed, or cannot use this tokenizer.
    """
    try:
        from llguidance import hf
    except ImportError as error:
        raise CapabilityError(
            "a grammar needs the package llguidance: pip install 'steelyard[grammar]'"
        ) from error
    size = max(engine.vocabulary, len(engine.tokenizer))
    try:
        return hf.from_tokenizer(engine.tokenizer, n_vocab=size, eos_token=sorted(ends))
    except Exception as error:  # its own kinds, and those of Rust
        raise CapabilityError(
            f"{engine.name}: llguidance cannot use its tokenizer ({_one_line(str(error))}), so no grammar can be "
            "followed"
        ) from error


class Follower:
    """Where an answer stands in its grammar."""

    def __init__(self, matcher: Any, name: str) -> None:
        self.matcher = matcher
        self.name = name

    def copy(self) -> Follower:
        """Another one at the same place."""
        return Follower(self.matcher.deep_copy(), self.name)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self.matcher.is_stopped())

    def restrict(self, logits: torch.Tensor) -> None:
        """Set the logits (vocabulary,) of tokens that cannot follow to minus infinity, in place."""
        import numpy as np

        bits = np.unpackbits(np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        allowed = torch.zeros(len(logits), dtype=torch.bool)
        count = min(len(bits), len(logits))
        allowed[:count] = torch.from_numpy(bits[:count]).bool()
        if self.matcher.is_error() or not bool(allowed.any()):
            reason = _one_line(self.matcher.get_error()) or "no token of the vocabulary can follow"
            raise ModelError(f"{self.name}: the grammar cannot be followed further: {reason}")
        logits.masked_fill_(~allowed.to(logits.device), -torch.inf)

    def take(self, token: int) -> None:
        """Move on by a token that was allowed."""
        if not self.matcher.consume_token(token):
            raise ModelError(f"{self.name}: the grammar refuses a token: {_one_line(self.matcher.get_error())}")


def follower(engine: Engine, grammar: Grammar) -> Follower:
    """A grammar, ready to be followed from its beginning.

    Raises:
        UsageError: a malformed or unsupported expression or schema.
        CapabilityError: as for :func:`grammar_tokenizer`.
    """
    tokenizer = engine.grammar_tokenizer
    from llguidance import LLMatcher

    if grammar.choices:
        what = "choices"
        texts = (json.dumps(choice, ensure_ascii=False) for choice in grammar.choices)
        written = LLMatcher.grammar_from_lark("start: " + " | ".join(texts))
    elif grammar.regex:
        what = "regex"
        written = LLMatcher.grammar_from_regex(grammar.regex)
    else:
        what = "JSON schema"
        written = _schema(grammar.json_schema)
    matcher = LLMatcher(tokenizer, written, log_level=0)
    if matcher.is_error():
        raise UsageError(f"sampling: the {what} of the grammar cannot be used: {_one_line(matcher.get_error())}")
    return Follower(matcher, engine.name)


def _schema(text: str) -> str:
    from llguidance import LLMatcher

    try:
        schema = json.loads(text)
    except ValueError as error:
        raise UsageError(f"sampling: the JSON schema of the grammar is not JSON: {error}") from error
    if not isinstance(schema, dict | bool):
        raise UsageError("sampling: the JSON schema of the grammar must be an object")
    return str(LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": WHITE_SPACE}))


def _one_line(message: str) -> str:
    """What an error says, without the drawing of the place."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    stated = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (stated or lines or [""])[0][:200]
