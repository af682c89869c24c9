"""How much faster a compressed model is: both read and write the same, in turns, in one process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Continuation, LanguageModel, Sampling
from steelyard.tuning.latency import Timing, in_turns, summarise

ROUNDS = 5
WRITTEN = 24
PROMPT = "The scales in the market hall were checked every morning, because"


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of the compressed model, and their ratio to the original's.

    ``reading`` is one passage scored by itself, ``writing`` one token of a short answer; None where the model has
    no such capability. A ratio below 1 is faster.
    """

    reading: Timing | None
    writing: Timing | None

    def to_record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            name: None if timing is None else timing.to_record()
            for name, timing in (("reading", self.reading), ("writing", self.writing))
        }


def measure_speed(
    before: LanguageModel, after: LanguageModel, passages: Sequence[str], *, rounds: int = ROUNDS
) -> Speed:
    """Time both models in turns, after one passage and one answer each to warm up."""
    shared = before.card.capabilities & after.card.capabilities
    return Speed(
        reading=_timed(_Reading(after, passages), _Reading(before, passages), rounds)
        if "score" in shared
        else None,
        writing=_timed(_Writing(after), _Writing(before), rounds) if "generate" in shared else None,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads one passage a turn: (seconds, tokens)."""

    model: LanguageModel
    passages: Sequence[str]

    def __call__(self, turn: int) -> tuple[float, int]:
        passage = self.passages[turn % len(self.passages)]
        began = time.perf_counter()
        score = self.model.score([Continuation("", passage)])[0]
        return time.perf_counter() - began, len(score.token_logprobs)


@dataclass(frozen=True, slots=True)
class _Writing:
    """Writes one answer a turn: (seconds a token, tokens); answers may differ in length."""

    model: LanguageModel

    def __call__(self, turn: int) -> tuple[float, int]:
        began = time.perf_counter()
        answer = self.model.generate([PROMPT], Sampling(max_tokens=WRITTEN))[0]
        written = max(1, answer.usage.completion_tokens)
        return (time.perf_counter() - began) / written, written


def _timed(candidate: _Reading | _Writing, reference: _Reading | _Writing, rounds: int) -> Timing:
    for side in (candidate, reference):
        side(0)
    mine, theirs = in_turns(candidate, reference, rounds)
    seconds, tokens = zip(*mine, strict=True)
    return summarise(seconds, [taken for taken, _ in theirs], tokens)
