"""What a compression cost and what it saved: sizes, and bits per byte before and after on the same windows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steelyard.contracts import Continuation, Interval, LanguageModel, ModelCard, Texts
from steelyard.errors import InputError

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Compression:
    """The metric card of a compression.

    ``memory_ratio`` and ``parameter_ratio`` are after / before. Bits per byte are None where no text was given;
    ``difference`` is after - before, paired by window, so its interval is the one to judge by.
    """

    before: ModelCard
    after: ModelCard
    parameter_ratio: float | None
    memory_ratio: float | None
    bits_before: Interval | None = None
    bits_after: Interval | None = None
    difference: Interval | None = None
    folder: str | None = None


def sizes(before: ModelCard, after: ModelCard) -> tuple[float | None, float | None]:
    """Ratios (parameters, memory) of two cards, None where a card does not know."""
    return _ratio(after.parameters, before.parameters), _ratio(after.memory_bytes, before.memory_bytes)


def text_windows(texts: Texts, *, windows: int = 24, characters: int = 1000, seed: int = 0) -> list[str]:
    """Pieces of about ``characters`` characters, cut at blanks, drawn by ``seed`` and kept in order.

    >>> text_windows(["one two three four"], windows=3, characters=9)
    ['one two', 'three', 'four']
    """
    pieces = [piece for text in texts for piece in _pieces(text, characters)]
    if not pieces:
        raise InputError("the held-out texts are blank; give a few paragraphs to measure on")
    chosen = sorted(random.Random(seed).sample(range(len(pieces)), min(windows, len(pieces))))
    return [pieces[i] for i in chosen]


def window_bits(model: LanguageModel, windows: Sequence[str]) -> np.ndarray:
    """Bits and UTF-8 bytes of each window: float64 (n, 2)."""
    scores = model.score([Continuation("", window) for window in windows])
    return np.array([[-score.logprob / math.log(2), score.utf8_bytes] for score in scores], dtype=np.float64)


def compare_bits(before: np.ndarray, after: np.ndarray, *, seed: int = 0) -> tuple[Interval, Interval, Interval]:
    """Bits per byte before, after, and their difference, with 95% bootstrap intervals over windows.

    Both arrays are (n, 2), bits and bytes of the same windows, which are resampled together. With one window
    there is nothing to resample: the intervals are then infinitely wide.

    >>> compare_bits(np.array([[8.0, 8.0], [4.0, 4.0]]), np.array([[16.0, 8.0], [8.0, 4.0]]))[2]
    Interval(value=1.0, low=1.0, high=1.0, n=2)
    """
    n = len(before)
    picks = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))

    def rate(bits: np.ndarray, rows: np.ndarray) -> np.ndarray:
        chosen = bits[rows]
        return np.asarray(chosen[..., 0].sum(-1) / chosen[..., 1].sum(-1))

    whole = np.arange(n)[None]
    first, second = rate(before, picks), rate(after, picks)
    first_value, second_value = float(rate(before, whole)[0]), float(rate(after, whole)[0])
    return (
        _interval(first_value, first, n),
        _interval(second_value, second, n),
        _interval(second_value - first_value, second - first, n),
    )


def _interval(value: float, resampled: np.ndarray, n: int) -> Interval:
    if n < 2:
        return Interval(value, -math.inf, math.inf, n)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value, float(low), float(high), n)


def _ratio(after: int | None, before: int | None) -> float | None:
    return after / before if after is not None and before else None


def _pieces(text: str, characters: int) -> list[str]:
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = start + characters
        blank = text.rfind(" ", start + 1, end + 1) if end < len(text) else -1
        end = blank if blank > start else end
        pieces.append(text[start:end].strip())
        start = end
    if len(pieces) > 1 and len(pieces[-1]) < characters // 2:
        last = pieces.pop()
        pieces[-1] = f"{pieces[-1]} {last}"
    return [piece for piece in pieces if piece]
