"""Asking a language model for a reranker: what it lacks or cannot hold is an error, and the cost is counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.contracts import (
    Capability,
    Continuation,
    Generation,
    LanguageModel,
    OpenWeights,
    Prompt,
    Samplings,
    Score,
)
from steelyard.errors import CapabilityError, InputError
from steelyard.models.requests import encode_prompt, sampling_each

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RerankCost:
    """What a run of a reranker took, and what went wrong in it.

    Attributes:
        requests: scores and generations asked for.
        read_tokens: tokens of these requests, each counted by itself as a server without a cache would.
        written_tokens: tokens generated.
        passes: forward passes; None where they cannot be seen (servers, generation).
        computed_tokens: tokens of these passes, where shared beginnings count once and padding counts too; None as
            above.
        unread: answers in which nothing could be read.
        repaired: readable answers in which passages were missing or named twice.
        ties: pairs of passages of which neither won.
        shortened: passages of which the model saw the beginning only.
        unchanged: orders written that are the one in which passages were shown.
    """

    requests: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    passes: int | None = 0
    computed_tokens: int | None = 0
    unread: int = 0
    repaired: int = 0
    ties: int = 0
    shortened: int = 0
    unchanged: int = 0

    def __add__(self, other: RerankCost) -> RerankCost:
        """The cost of both; what is not known of one is not known of both."""
        return RerankCost(
            self.requests + other.requests,
            self.read_tokens + other.read_tokens,
            self.written_tokens + other.written_tokens,
            _sum(self.passes, other.passes),
            _sum(self.computed_tokens, other.computed_tokens),
            self.unread + other.unread,
            self.repaired + other.repaired,
            self.ties + other.ties,
            self.shortened + other.shortened,
            self.unchanged + other.unchanged,
        )


class Scored(NamedTuple):
    """Scores in the order of the requests, and their cost."""

    scores: list[Score]
    cost: RerankCost


class Generated(NamedTuple):
    """Generations in the order of the prompts, and their cost."""

    generations: list[Generation]
    cost: RerankCost


def score(model: LanguageModel, requests: Sequence[Continuation], part: str) -> Scored:
    """Score ``requests`` for the reranker ``part``, all in one call.

    Raises:
        CapabilityError: the model gives no log-probabilities of a given text.
        InputError: a request does not fit the model's context, which would cut off its beginning.
    """
    if not requests:
        return Scored([], RerankCost())
    need(model, "score", part)
    with forward_counts(model) as counts:
        scores = model.score(requests)
    length = model.card.context_length
    for one in scores:
        tokens = one.context_tokens + len(one.token_logprobs)
        if length is not None and tokens - 1 > length:
            raise InputError(_too_long(part, model.card.name, tokens, length))
    read = sum(one.context_tokens + len(one.token_logprobs) for one in scores)
    known = counts.passes > 0
    return Scored(
        scores,
        RerankCost(
            requests=len(requests),
            read_tokens=read,
            passes=counts.passes if known else None,
            computed_tokens=counts.tokens if known else None,
        ),
    )


def generate(model: LanguageModel, prompts: Sequence[Prompt], sampling: Samplings, part: str) -> Generated:
    """Continue ``prompts`` for the part ``part``, all in one call.

    Raises:
        CapabilityError: the model does not generate, or takes no conversations where the prompts are such.
        InputError: a prompt and the longest answer to it do not fit the context of a local model.
    """
    if not prompts:
        return Generated([], RerankCost())
    need(model, "generate", part)
    if any(not isinstance(prompt, str) for prompt in prompts):
        need(model, "chat", part)
    length = model.card.context_length
    if length is not None and isinstance(model, OpenWeights):
        for prompt, chosen in zip(prompts, sampling_each(prompts, sampling), strict=True):
            tokens = len(encode_prompt(model.tokenizer, prompt, model.card.name)) + chosen.max_tokens
            if tokens > length:
                raise InputError(_too_long(part, model.card.name, tokens, length))
    generations = model.generate(prompts, sampling)
    return Generated(
        generations,
        RerankCost(
            requests=len(prompts),
            read_tokens=sum(one.usage.prompt_tokens for one in generations),
            written_tokens=sum(one.usage.completion_tokens for one in generations),
            passes=None,
            computed_tokens=None,
        ),
    )


def need(model: LanguageModel, capability: Capability, part: str) -> None:
    """Raise :class:`CapabilityError` where the model lacks ``capability``."""
    card = model.card
    if capability not in card.capabilities:
        have = ", ".join(sorted(card.capabilities)) or "none"
        raise CapabilityError(
            f"{part} needs the capability {capability!r}, which {card.name} lacks (it has: {have})"
        )


@dataclass(slots=True)
class ForwardCounts:
    """Forward passes of a module so far, and tokens that went into them."""

    passes: int = 0
    tokens: int = 0


@contextmanager
def forward_counts(model: LanguageModel) -> Iterator[ForwardCounts]:
    """Count the forward passes of open weights while the block runs; of other models none are seen.

    What an engine finds out about its module by trying, once, is found out before.
    """
    counts = ForwardCounts()
    if not isinstance(model, OpenWeights):
        yield counts
        return

    engine = getattr(model, "engine", None)
    if engine is not None:
        _log.debug("%s: masks %s, plain head %s", model.card.name, engine.takes_masks, engine.plain_head)

    def count(_: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        for ids in (*arguments, *(named.get(name) for name in ("input_ids", "decoder_input_ids"))):
            if ids is not None and hasattr(ids, "numel"):
                counts.tokens += int(ids.numel())
        counts.passes += 1

    handle = model.module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counts
    finally:
        handle.remove()


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _too_long(part: str, name: str, tokens: int, length: int) -> str:
    return (
        f"{part}: a request of {tokens} tokens does not fit the context of {name}, {length} tokens; give a "
        "smaller passage_words, or fewer passages at a time where the part has a window"
    )
