"""An answer that is generated a few tokens at a time, with a new prompt for every stride."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from steelyard.contracts import FinishReason, Generation, Prompt, Sampling, Usage

_SEED_STEP = 1_000_003
"""Strides of one answer draw from different seeds, or each would begin with the same random numbers."""


class StridedAnswer:
    """What is known of one answer; :meth:`take` adds the next stride.

    Attributes:
        prompt: what is continued, without a passage.
        text: the answer so far.
        finish: why it ended; None while it goes on.
    """

    def __init__(self, prompt: Prompt, sampling: Sampling, stride: int) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.stride = stride
        self.text = ""
        self.finish: FinishReason | None = None
        self._left = sampling.max_tokens
        self._asked = stride
        self._taken = 0
        self._pieces: list[Generation] = []

    def next_sampling(self) -> Sampling:
        """How to generate the next stride."""
        seed = self.sampling.seed + _SEED_STEP * self._taken
        return dataclasses.replace(self.sampling, max_tokens=min(self._asked, self._left), seed=seed)

    def take(self, piece: Generation) -> None:
        """Add a stride, and notice where the answer ends.

        A stride that ends within a character is dropped and asked for again, twice as long.
        """
        broken = not piece.text or piece.text.endswith("\ufffd")
        if piece.finish_reason == "length" and broken and self._asked < self._left:
            self._asked *= 2
            return
        self._asked = self.stride
        self._taken += 1
        self._pieces.append(piece)
        self._left -= piece.usage.completion_tokens or len(piece.tokens)
        self.text += piece.text
        places = [place for stop in self.sampling.stop if (place := self.text.find(stop)) >= 0]
        if places:
            self.text, self.finish = self.text[: min(places)], "stop"
        elif piece.finish_reason != "length":
            self.finish = piece.finish_reason
        elif self._left <= 0:
            self.finish = "length"

    def generation(self) -> Generation:
        """The whole answer; tokens that a stop string cut off are left out."""
        tokens: list[str] = []
        length = 0
        for token in (token for piece in self._pieces for token in piece.tokens):
            if length >= len(self.text) and token:
                break
            tokens.append(token)
            length += len(token)
        logprobs = [value for piece in self._pieces for value in piece.token_logprobs][: len(tokens)]
        top: list[Mapping[str, float]] = [found for piece in self._pieces for found in piece.top][: len(tokens)]
        known = all(piece.logprob is not None for piece in self._pieces)
        return Generation(
            text=self.text,
            tokens=tuple(tokens),
            logprob=sum(piece.logprob or 0.0 for piece in self._pieces) if known else None,
            finish_reason=self.finish,
            usage=Usage(
                sum(piece.usage.prompt_tokens for piece in self._pieces),
                sum(piece.usage.completion_tokens for piece in self._pieces),
            ),
            token_logprobs=tuple(logprobs),
            top=tuple(top),
        )
