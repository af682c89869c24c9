"""Several models that answer together: a vote over answers, a mixture over texts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from steelyard.contracts import (
    AppliedPart,
    Capability,
    Continuation,
    Generation,
    LanguageModel,
    ModelCard,
    Prompt,
    Sampling,
    Samplings,
    Score,
)
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.fingerprint import fingerprint_of
from steelyard.systems.answer_scores import mixture_steps

JOINT: frozenset[Capability] = frozenset({"score", "generate", "chat", "logprobs"})


class OutputEnsemble:
    """A language model whose answer is the one most members give.

    Answers are compared as texts without the white space around them; a draw goes to the answer whose first giver
    comes first, so members are best given fittest first. A continuation is scored under the uniform mixture of the
    members, P(text) = mean_k P_k(text), which takes members of one tokenizer; it counts as greedy where every
    member would have chosen it.

        ensemble = OutputEnsemble([nursery.grow(one.genes) for one in evolution.population[:3]])

    Source:
        Nature-Inspired Population-Based Evolution of Large Language Models (GENOME+), the ensemble of the fittest:
        a majority vote.
    """

    def __init__(self, members: Sequence[LanguageModel], *, name: str = "ensemble") -> None:
        self.members = members
        self.name = name

    @property
    def card(self) -> ModelCard:
        """The members' cards as one: parameters and memory add up, capabilities are those of all."""
        cards = [member.card for member in self.members]
        if not cards:
            raise UsageError("an ensemble needs members")
        part = AppliedPart("output-ensemble", {"members": [card.fingerprint for card in cards]})
        lengths = [card.context_length for card in cards if card.context_length is not None]
        return dataclasses.replace(
            cards[0],
            name=self.name,
            fingerprint=fingerprint_of(cards[0].fingerprint, [part]),
            parameters=_sum([card.parameters for card in cards]),
            memory_bytes=_sum([card.memory_bytes for card in cards]),
            context_length=min(lengths, default=None),
            capabilities=frozenset.intersection(*(card.capabilities for card in cards)) & JOINT,
            parts=(*cards[0].parts, part),
        )

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each continuation under the mixture of members.

        Raises:
            CapabilityError: alternatives, ranks or entropies are asked for, or members cut a text differently.
        """
        if top or detail:
            raise CapabilityError(f"{self.name}: a mixture of models has no alternatives, ranks or entropies")
        columns = [member.score(requests) for member in self.members]
        return [self._mixed(scores) for scores in zip(*columns, strict=True)]

    def _mixed(self, scores: Sequence[Score]) -> Score:
        first = scores[0]
        if any(score.tokens != first.tokens for score in scores):
            raise CapabilityError(f"{self.name}: its members cut {''.join(first.tokens)!r} into different tokens")
        prior = np.full(len(scores), -math.log(len(scores)))
        steps = mixture_steps(prior, np.array([score.token_logprobs for score in scores], dtype=np.float64))
        return dataclasses.replace(
            first,
            logprob=float(steps.sum()),
            token_logprobs=tuple(float(step) for step in steps),
            greedy=all(score.greedy for score in scores),
        )

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """The answer to each prompt that most members give, as the first of them wrote it."""
        columns = [member.generate(prompts, sampling) for member in self.members]
        return [_elected(answers) for answers in zip(*columns, strict=True)]


def _elected(answers: Sequence[Generation]) -> Generation:
    texts = [answer.text.strip() for answer in answers]
    return answers[max(range(len(texts)), key=lambda place: (texts.count(texts[place]), -place))]


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
