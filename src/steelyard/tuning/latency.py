"""What one answer costs when it is asked alone: seconds, tokens, operations.

Speed is only comparable within one process and one stretch of time, so every candidate is timed in turns
with the reference candidate, sample by sample, and the ratio is what is compared; seconds are reported as
measured.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from steelyard.contracts import Ask, Generation, LanguageModel, PromptStyle, Sample, Task
from steelyard.evaluation.evaluate import answer
from steelyard.evaluation.statistics import interval_record, mean_interval

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of single answers, with the median's bootstrap interval, and tokens read and written.

    ``ratio`` is the mean of this candidate's seconds over the reference's, paired by sample.
    """

    p50: float
    p95: float
    low: float
    high: float
    n: int
    ratio: dict[str, Any]
    tokens: float

    def to_record(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def time_pairs(
    candidate: tuple[LanguageModel, PromptStyle],
    reference: tuple[LanguageModel, PromptStyle],
    task: Task,
    samples: Sequence[Sample],
) -> Timing:
    """Time ``candidate`` and ``reference`` on each sample in turn, after one answer each to warm up.

    Which of the two goes first alternates, so that neither always finds the other's caches warm.
    """
    for model, style in (candidate, reference):
        _seconds_and_tokens(model, style, task, samples[0])
    mine, theirs = in_turns(
        lambda turn: _seconds_and_tokens(*candidate, task, samples[turn]),
        lambda turn: _seconds_and_tokens(*reference, task, samples[turn]),
        len(samples),
    )
    seconds, tokens = zip(*mine, strict=True)
    return summarise(seconds, [taken for taken, _ in theirs], tokens)


def in_turns(first: Callable[[int], T], second: Callable[[int], T], count: int) -> tuple[list[T], list[T]]:
    """What both functions give for 0 to ``count`` - 1, called in turns; which of them begins alternates.

    >>> in_turns(lambda turn: turn, lambda turn: -turn, 3)
    ([0, 1, 2], [0, -1, -2])
    """
    found: tuple[list[T], list[T]] = ([], [])
    for turn in range(count):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            found[side].append((first, second)[side](turn))
    return found


def summarise(seconds: Sequence[float], reference: Sequence[float], tokens: Sequence[int]) -> Timing:
    """Turn paired seconds into a :class:`Timing`.

    >>> summarise([2.0, 2.0], [1.0, 1.0], [10, 20]).ratio["value"]
    2.0
    """
    values = np.asarray(seconds)
    draws = np.random.default_rng(0).choice(values, size=(1000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return Timing(
        p50=float(np.median(values)),
        p95=float(np.quantile(values, 0.95)),
        low=float(low),
        high=float(high),
        n=len(values),
        ratio=interval_record(mean_interval(values / np.asarray(reference))),
        tokens=float(np.mean(tokens)),
    )


def probe_samples(task: Task, count: int, seed: int) -> list[Sample]:
    """``count`` samples to time, drawn by seed: the same for every candidate."""
    samples = list(task.samples())
    return random.Random(seed).sample(samples, min(count, len(samples)))


def _seconds_and_tokens(model: LanguageModel, style: PromptStyle, task: Task, sample: Sample) -> tuple[float, int]:
    requests = task.requests(sample, style)
    started = time.perf_counter()
    responses = answer(model, requests)
    seconds = time.perf_counter() - started
    tokens = 0
    for request, response in zip(requests, responses, strict=True):
        if isinstance(response, Generation) and isinstance(request, Ask):
            tokens += response.usage.prompt_tokens + response.usage.completion_tokens
        elif not isinstance(response, Generation):
            tokens += response.context_tokens + len(response.tokens)
    return seconds, tokens
