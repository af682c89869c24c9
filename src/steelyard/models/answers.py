"""One answer as it grows: tokens, their probabilities, the text, stop strings, and why it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from steelyard.contracts import FinishReason, Generation, Sampling, Usage
from steelyard.models.detokenizing import Detokenizer, find_stop, held_back
from steelyard.models.forward import Engine
from steelyard.models.grammars import Follower
from steelyard.models.sampling import Chooser, random_numbers

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>")
"""Tokens that end an answer in known chat formats, where the vocabulary has them as special tokens."""


def end_tokens(engine: Engine) -> frozenset[int]:
    """Tokens that end an answer: those of the configurations, the tokenizer and known chat formats."""
    found: set[int] = set()
    sources = (getattr(engine.module, "generation_config", None), engine.module.config)
    values = [getattr(source, "eos_token_id", None) for source in sources] + [engine.tokenizer.eos_token_id]
    for value in values:
        found.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    special = getattr(engine.tokenizer, "added_tokens_encoder", {})
    found.update(special[token] for token in END_OF_TURN if token in special)
    return frozenset(int(token) for token in found)


class Answer:
    """One sequence as it grows: tokens, their probabilities, the text, and why it ended."""

    def __init__(
        self, engine: Engine, prompt: Sequence[int], sampling: Sampling, follower: Follower | None = None
    ) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.follower = follower
        self.detokenizer = Detokenizer(engine.tokenizer, () if engine.encoder_decoder else prompt)
        self.generator = random_numbers(sampling.seed, prompt) if sampling.temperature > 0 else None
        self.seen: dict[int, None] = {} if engine.encoder_decoder else dict.fromkeys(prompt)
        self.pieces: list[str] = []
        self.logprobs: list[float] = []
        self.tops: list[Mapping[str, float]] = []
        self.text = ""
        self.written = 0
        self.finish_reason: FinishReason | None = None if sampling.max_tokens else "length"
        self._sent_text = 0
        self._sent_tokens = 0

    def chooser(self) -> Chooser:
        """What decides on the next token."""
        seen = list(self.seen) if self.sampling.repetition_penalty != 1 else None
        return Chooser(self.sampling, self.generator, seen, self.follower)

    def take(self, token: int, logprob: float, top: Mapping[str, float] | None, ends: frozenset[int]) -> None:
        """Append one token."""
        self.written += 1
        if token in ends:
            self._add(self.detokenizer.flush())
            self._finish("stop")
            return
        self.seen[token] = None
        self.logprobs.append(logprob)
        if top is not None:
            self.tops.append(top)
        self.pieces.append("")
        self._add(self.detokenizer.push(token))
        if self.follower is not None and self.finish_reason is None:
            self.follower.take(token)
            if self.follower.complete:
                self._add(self.detokenizer.flush())
                self._finish("stop")
        if self.finish_reason is None and self.written >= self.sampling.max_tokens:
            self._add(self.detokenizer.flush())
            self._finish("length")

    def increment(self) -> Generation:
        """What is new since the last call, without what may become a stop string."""
        end = len(self.text)
        if self.finish_reason is None:
            end -= held_back(self.text, self.sampling.stop)
        text, first = self.text[self._sent_text : end], self._sent_tokens
        self._sent_text = end
        last = len(self.pieces) if self.finish_reason else self._tokens_within(end)
        self._sent_tokens = last
        return self._record(text, slice(first, last), self.usage if self.finish_reason else Usage())

    def generation(self) -> Generation:
        """The whole answer."""
        return self._record(self.text, slice(0, len(self.pieces)), self.usage)

    @property
    def usage(self) -> Usage:
        """Tokens read and written, the end token included."""
        return Usage(len(self.prompt), self.written)

    def _record(self, text: str, part: slice, usage: Usage) -> Generation:
        logprobs = tuple(self.logprobs[part])
        return Generation(
            text=text,
            tokens=tuple(self.pieces[part]),
            logprob=math.fsum(logprobs),
            finish_reason=self.finish_reason,
            usage=usage,
            token_logprobs=logprobs,
            top=tuple(self.tops[part]),
        )

    def _add(self, piece: str) -> None:
        if not piece:
            return
        stops = self.sampling.stop
        longest = max((len(stop) for stop in stops), default=0)
        start = max(0, len(self.text) - longest)
        self.text += piece
        if self.pieces:
            self.pieces[-1] += piece
        place = find_stop(self.text, stops, start) if stops else None
        if place is not None:
            self._cut(place)
            self._finish("stop")

    def _cut(self, place: int) -> None:
        """End the text at ``place`` and drop the tokens that begin after it."""
        self.text = self.text[:place]
        kept: list[str] = []
        used = 0
        for piece in self.pieces:
            if used >= place:
                break
            kept.append(piece[: place - used])
            used += len(piece)
        self.pieces = kept
        del self.logprobs[len(kept) :], self.tops[len(kept) :]

    def _finish(self, reason: FinishReason) -> None:
        if self.finish_reason is None:
            self.finish_reason = reason

    def _tokens_within(self, end: int) -> int:
        used = 0
        for index, piece in enumerate(self.pieces):
            used += len(piece)
            if used > end or not piece:
                return index
        return len(self.pieces)
