"""Generation: greedy or sampled, batched, with stop strings, seeds and streaming.

Greedy output equals transformers' ``generate`` token for token. A sampled answer depends on the prompt and the
:class:`~steelyard.contracts.Sampling` alone, never on what else is in the batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from steelyard.contracts import FinishReason, Generation, Prompt, Sampling, Samplings, Usage
from steelyard.errors import InputError, ModelError
from steelyard.models.detokenizing import Detokenizer, find_stop, held_back
from steelyard.models.forward import Engine
from steelyard.models.readout import top_alternatives
from steelyard.models.requests import check_sampling, encode_prompt, sampling_each
from steelyard.models.stepping import stepper

MOST_ROWS = 32
"""Most sequences of one batch."""
END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>")
"""Tokens that end an answer in known chat formats, where the vocabulary has them as special tokens."""


def generate(engine: Engine, prompts: Sequence[Prompt], sampling: Samplings) -> list[Generation]:
    """Continue prompts, in order; raises :class:`InputError` where they cannot fit the context."""
    each = sampling_each(prompts, sampling)
    tokens = [prepare(engine, prompt, chosen) for prompt, chosen in zip(prompts, each, strict=True)]
    ends = end_tokens(engine)
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]), reverse=True)
    done: dict[int, Generation] = {}
    while order:
        widest = len(tokens[order[0]]) + max(chosen.max_tokens for chosen in each)
        count = min(MOST_ROWS, max(1, engine.batch_tokens // widest))
        batch, order = order[:count], order[count:]
        answers = [Answer(engine, tokens[i], each[i]) for i in batch]
        for _ in run(engine, answers, ends):
            pass
        done.update(zip(batch, (answer.generation() for answer in answers), strict=True))
    return [done[i] for i in range(len(tokens))]


def stream(engine: Engine, prompt: Prompt, sampling: Sampling) -> Iterator[Generation]:
    """Continue one prompt, yielding what is new; the last record carries the finish reason and the usage."""
    answer = Answer(engine, prepare(engine, prompt, sampling), sampling)
    for _ in run(engine, [answer], end_tokens(engine)):
        if answer.finish_reason is None:
            increment = answer.increment()
            if increment.text:
                yield increment
    yield answer.increment()


def prepare(engine: Engine, prompt: Prompt, sampling: Sampling) -> list[int]:
    """Tokens of a prompt, cut on the left only as far as ``max_tokens`` new ones need the room."""
    check_sampling(sampling)
    tokens = encode_prompt(engine.tokenizer, prompt, engine.name)
    length = engine.context_length
    if length is None:
        return tokens
    if sampling.max_tokens >= length:
        raise InputError(
            f"{engine.name}: max_tokens {sampling.max_tokens} leaves no room for a prompt in its context of "
            f"{length} tokens; ask for fewer"
        )
    return tokens[-length:] if engine.encoder_decoder else tokens[-(length - sampling.max_tokens) :]


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

    def __init__(self, engine: Engine, prompt: Sequence[int], sampling: Sampling) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.detokenizer = Detokenizer(engine.tokenizer, () if engine.encoder_decoder else prompt)
        self.generator = _generator(sampling.seed, prompt) if sampling.temperature > 0 else None
        self.pieces: list[str] = []
        self.logprobs: list[float] = []
        self.tops: list[Mapping[str, float]] = []
        self.text = ""
        self.written = 0
        self.finish_reason: FinishReason | None = None if sampling.max_tokens else "length"
        self._sent_text = 0
        self._sent_tokens = 0

    def take(self, token: int, logprob: float, top: Mapping[str, float] | None, ends: frozenset[int]) -> None:
        """Append one token."""
        self.written += 1
        if token in ends:
            self._add(self.detokenizer.flush())
            self._finish("stop")
            return
        self.logprobs.append(logprob)
        if top is not None:
            self.tops.append(top)
        self.pieces.append("")
        self._add(self.detokenizer.push(token))
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


def run(engine: Engine, answers: Sequence[Answer], ends: frozenset[int]) -> Iterator[None]:
    """Advance answers together until all are finished; yields after each token. Finished ones leave the batch."""
    alive = [answer for answer in answers if answer.finish_reason is None]
    if not alive:
        return
    batch = stepper(engine, [answer.prompt for answer in alive])
    logits = batch.begin()
    while True:
        tokens = _choose(engine, alive, logits, ends)
        yield
        rows = [row for row, answer in enumerate(alive) if answer.finish_reason is None]
        if not rows:
            return
        if len(rows) < len(alive):
            batch.keep(rows)
            alive = [alive[row] for row in rows]
        logits = batch.advance([tokens[row] for row in rows])


def _choose(engine: Engine, answers: Sequence[Answer], logits: torch.Tensor, ends: frozenset[int]) -> list[int]:
    norms = logits.logsumexp(-1)
    if bool(torch.isnan(norms).any()):
        raise ModelError(
            f"{engine.name}: the probabilities of the next token are not numbers; its weights are damaged or "
            "overflow in this dtype: load it in float32"
        )
    greedy = logits.argmax(-1).tolist()
    tokens = [
        best if answer.generator is None else sample(logits[row], answer.sampling, answer.generator)
        for row, (answer, best) in enumerate(zip(answers, greedy, strict=True))
    ]
    index = torch.tensor(tokens, device=logits.device).unsqueeze(1)
    logprobs = (logits.gather(1, index).squeeze(1) - norms).tolist()
    count = answers[0].sampling.logprobs
    tops = top_alternatives(engine.tokenizer, logits, norms, count) if count else [None] * len(answers)
    for answer, token, logprob, top in zip(answers, tokens, logprobs, tops, strict=True):
        answer.take(token, logprob, top, ends)
    return tokens


def sample(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw a token from logits (vocabulary,) by inverting the cumulative distribution.

    ``top_k`` keeps the most probable tokens, ``top_p`` the fewest most probable ones that together reach that
    probability.
    """
    scaled = (logits / sampling.temperature).double()
    if sampling.top_k:
        scaled, tokens = scaled.topk(min(sampling.top_k, len(scaled)))
    elif sampling.top_p < 1:
        scaled, tokens = scaled.sort(descending=True)
    else:
        tokens = None
    cumulative = scaled.softmax(-1).cumsum(-1)
    if sampling.top_p < 1:
        kept = int((cumulative < sampling.top_p).sum()) + 1
        cumulative = cumulative[:kept]
    draw = torch.rand(1, generator=generator, dtype=torch.float64).to(cumulative.device) * cumulative[-1]
    place = min(int(torch.searchsorted(cumulative, draw, right=True)), len(cumulative) - 1)
    return place if tokens is None else int(tokens[place])


def _generator(seed: int, prompt: Sequence[int]) -> torch.Generator:
    """Random numbers that belong to this seed and this prompt."""
    digest = hashlib.sha256(repr((seed, list(prompt))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def summary_of(parts: Sequence[Generation]) -> Generation:
    """The whole answer a stream's increments stand for."""
    last: Any = parts[-1]
    logprobs = tuple(value for part in parts for value in part.token_logprobs)
    return Generation(
        text="".join(part.text for part in parts),
        tokens=tuple(token for part in parts for token in part.tokens),
        logprob=math.fsum(logprobs),
        finish_reason=last.finish_reason,
        usage=last.usage,
        token_logprobs=logprobs,
        top=tuple(top for part in parts for top in part.top),
    )
