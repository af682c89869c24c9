"""The next token of each sequence: penalties, grammar, temperature, cuts and the draw.

In this order, which is that of transformers (vLLM applies min-p before top-k and top-p):

1. ``repetition_penalty``: logits of tokens in prompt or answer are divided by it where positive, multiplied
   where negative. An encoder-decoder's prompt does not count, as it is no part of what is continued.
2. ``grammar``: tokens that cannot follow are ruled out. At temperature 0 the best of the rest is taken.
3. ``temperature`` divides the logits.
4. ``top_k`` keeps the most probable tokens, ``top_p`` of these the fewest most probable ones that together reach
   that probability, ``min_p`` of these the ones at least that share as probable as the best.

The log-probabilities reported with a token are the model's own, before any of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch

from steelyard.contracts import Sampling
from steelyard.models.grammars import Follower

CANDIDATES = 256
"""So many most probable tokens are looked at first; they nearly always hold all that top-p and min-p keep."""


class Ranked(NamedTuple):
    """Tokens by falling probability; ``probabilities`` are those among all tokens, or among top-k."""

    probabilities: torch.Tensor
    tokens: torch.Tensor


def random_numbers(seed: int, prompt: Sequence[int]) -> torch.Generator:
    """Random numbers that belong to this seed and this prompt."""
    digest = hashlib.sha256(repr((seed, list(prompt))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def penalise(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> None:
    """Disfavour the tokens ``seen`` in logits (vocabulary,), in place.

    Source: CTRL, section 4.1, with the sign rule of transformers.

    >>> logits = torch.tensor([2.0, -2.0, 1.0])
    >>> penalise(logits, torch.tensor([0, 1]), 2.0)
    >>> logits.tolist()
    [1.0, -4.0, 1.0]
    """
    chosen = logits[seen]
    logits[seen] = torch.where(chosen > 0, chosen / penalty, chosen * penalty)


class Chooser(NamedTuple):
    """What one sequence brings to the choice of its next token.

    ``seen`` holds its distinct tokens so far, where they are penalised; ``generator`` is None for greedy.
    """

    sampling: Sampling
    generator: torch.Generator | None
    seen: Sequence[int] | None
    follower: Follower | None


def choose(logits: torch.Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """The next token of each sequence, from logits float32 (sequences, vocabulary)."""
    if any(chooser.seen or chooser.follower for chooser in choosers):
        logits = logits.clone()
        for row, chooser in zip(logits, choosers, strict=True):
            if chooser.seen:
                penalise(row, torch.tensor(chooser.seen, device=row.device), chooser.sampling.repetition_penalty)
            if chooser.follower:
                chooser.follower.restrict(row)
    if all(chooser.generator is None for chooser in choosers):
        greedy: list[int] = logits.argmax(-1).tolist()
        return greedy
    return [
        int(row.argmax()) if chooser.generator is None else sample(row, chooser.sampling, chooser.generator)
        for row, chooser in zip(logits, choosers, strict=True)
    ]


def sample(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw a token from logits (vocabulary,) by inverting the cumulative distribution of what is kept."""
    scaled = (logits / sampling.temperature).double()
    tokens = None
    if sampling.top_k or sampling.top_p < 1 or sampling.min_p > 0:
        probabilities, tokens = kept(scaled, sampling)
    else:
        probabilities = scaled.softmax(-1)
    cumulative = probabilities.cumsum(-1)
    draw = torch.rand(1, generator=generator, dtype=torch.float64).to(cumulative.device) * cumulative[-1]
    place = int(torch.searchsorted(cumulative, draw, right=True))
    if place == len(cumulative):  # the product was rounded up to the sum: the last token that adds to it
        place = int((cumulative < cumulative[-1]).sum())
    return place if tokens is None else int(tokens[place])


def kept(scaled: torch.Tensor, sampling: Sampling) -> Ranked:
    """What top-k, top-p and min-p leave of logits (vocabulary,) already divided by the temperature."""
    probabilities, tokens = _ranked(scaled, sampling)
    count = len(tokens)
    if sampling.top_p < 1:
        count = min(count, int((probabilities.cumsum(-1) < sampling.top_p).sum()) + 1)
    if sampling.min_p > 0:
        count = min(count, int((probabilities >= sampling.min_p * probabilities[0]).sum()))
    return Ranked(probabilities[:count], tokens[:count])


def _ranked(scaled: torch.Tensor, sampling: Sampling) -> Ranked:
    size = len(scaled)
    if sampling.top_k:
        values, tokens = scaled.topk(min(sampling.top_k, size))
        return Ranked(values.softmax(-1), tokens)
    norm = scaled.logsumexp(-1)
    values, tokens = scaled.topk(min(CANDIDATES, size))
    probabilities = (values - norm).exp()
    enough = sampling.top_p < 1 and float(probabilities.sum()) >= sampling.top_p
    if enough or float(probabilities[-1]) < sampling.min_p * float(probabilities[0]):
        return Ranked(probabilities, tokens)
    values, tokens = scaled.sort(descending=True)
    return Ranked((values - norm).exp(), tokens)
