"""Kneser-Ney smoothing over patterns: discounts, interpolation weights, probabilities.

With c the counts of a pattern (:mod:`steelyard.models.ngrams.counts`), h the words it uses and B the patterns it
backs off to,

    P(w | h) = max(c(h w) - D(c(h w)), 0) / c(h .) + gamma(h) * mean of P(w | h') over B
    gamma(h) = (D1 N1(h .) + D2 N2(h .) + D3 N3+(h .)) / c(h .)

where Nk(h .) is the number of words with count k after h. Where h was never seen, P is the mean alone. Below the
unigrams lies the uniform distribution over the vocabulary without ``<s>``.

Source: Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", equations 23
to 27; Pickhardt et al. 2014, equation 4, for more than one pattern in B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import InputError
from steelyard.models.ngrams.counts import (
    MISSING,
    Counts,
    context_of,
    contexts_at,
    look_up,
    lower_patterns,
    number_patterns,
)
from steelyard.models.ngrams.words import BEGIN_ID, Stream

Floats = NDArray[np.float64]
Discounting: TypeAlias = Literal["modified", "single"]
Discounts: TypeAlias = tuple[float, float, float]
FALLBACK: Discounts = (0.5, 1.0, 1.5)
_AT_ONCE = 1 << 18  # tokens whose probabilities of all patterns are held together


class Pattern(NamedTuple):
    """One pattern, smoothed: ``totals`` and ``gammas`` float64 (contexts,) belong to its contexts."""

    counts: Counts
    discounts: Discounts
    totals: Floats
    gammas: Floats


class Smoothed(NamedTuple):
    """A smoothed model: its patterns, its vocabulary's size, its order, and whether it skips."""

    patterns: Mapping[int, Pattern]
    size: int
    order: int
    skips: bool

    @property
    def entries(self) -> int:
        """Number of n-grams with a count."""
        return sum(int((table.counts.counts > 0).sum()) for table in self.patterns.values())

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        """Everything that bears on its probabilities."""
        for _, table in sorted(self.patterns.items()):
            yield from (*table.counts, np.array(table.discounts), table.totals, table.gammas)

    def probabilities(self, stream: Stream) -> Floats:
        """See :func:`probabilities`."""
        return probabilities(self, stream)

    def distribution(self, context: Sequence[int]) -> Floats:
        """See :func:`distribution`."""
        return distribution(self, context)


def discounts_of(counts: NDArray[np.int64], method: Discounting) -> Discounts | None:
    """D1, D2 and D3+ from the numbers n1 ... n4 of n-grams with count 1 ... 4; None where these do not allow it.

    Modified: Y = n1/(n1 + 2 n2), Dk = k - (k + 1) Y n(k+1)/nk. Single: Y for every count.

    >>> discounts_of(np.array([1] * 10 + [2] * 5 + [3] * 3 + [4] * 2), "modified")
    (0.5, 1.1, 1.6666666666666667)
    >>> discounts_of(np.array([1, 1, 5]), "modified") is None
    True
    """
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not n1 or not n2:
        return None
    y = n1 / (n1 + 2 * n2)
    if method == "single":
        return (y, y, y)
    if not n3:
        return None
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if n4 and all(0 <= d <= k for k, d in enumerate(found, 1)) else None


def smooth(
    tables: Mapping[int, Counts],
    size: int,
    order: int,
    skips: bool,
    *,
    method: Discounting = "modified",
    fallback: bool = False,
) -> Smoothed:
    """Discounts and interpolation weights of every pattern.

    ``fallback`` takes the discounts 0.5, 1 and 1.5 where a small or artificial corpus does not determine them;
    without it such a corpus raises :class:`InputError`.
    """
    found: dict[int, Pattern] = {}
    for pattern, counts in tables.items():
        discounts = discounts_of(counts.counts, method)
        if discounts is None:
            if not fallback:
                raise InputError(
                    f"n-gram model: the corpus is too small or too uniform to find the discounts of pattern "
                    f"{pattern:b}; give more text, or fallback=true for the discounts 0.5, 1 and 1.5"
                )
            discounts = FALLBACK
        context, _ = context_of(pattern)
        contexts = len(tables[context].keys) if context else 1
        found[pattern] = _weighted(counts, discounts, contexts, size)
    return Smoothed(found, size, order, skips)


def _weighted(counts: Counts, discounts: Discounts, contexts: int, size: int) -> Pattern:
    owners = counts.keys // size
    totals = np.bincount(owners, weights=counts.counts, minlength=contexts).astype(np.float64)
    taken = np.array((0.0, *discounts))[np.minimum(counts.counts, 3)]
    taken = np.minimum(taken, counts.counts)
    left = np.bincount(owners, weights=taken, minlength=contexts)
    gammas = np.divide(left, totals, out=np.ones(contexts), where=totals > 0)
    return Pattern(counts, discounts, totals, gammas)


def probabilities(model: Smoothed, stream: Stream) -> Floats:
    """P(token | the tokens of its sentence before it) for every token: float64 (n,); NaN at ``<s>``."""
    results = []
    start = 0
    while start < len(stream.tokens):
        end = min(start + _AT_ONCE, len(stream.tokens))
        before = max(0, start - model.order)
        part = Stream(stream.tokens[before:end], stream.places[before:end])
        results.append(_probabilities(model, part)[start - before :])
        start = end
    return np.concatenate(results) if results else np.zeros(0)


def _probabilities(model: Smoothed, stream: Stream) -> Floats:
    numbers = number_patterns({p: t.counts for p, t in model.patterns.items()}, stream, model.size)
    found: dict[int, Floats] = {}
    result = np.empty(len(stream.tokens))
    for pattern in sorted(model.patterns):
        table = model.patterns[pattern]
        if pattern == 1:
            lower = np.full(len(result), 1 / (model.size - 1))
        else:
            below = lower_patterns(pattern, model.skips)
            lower = np.mean([found[p] for p in below], axis=0)
        contexts = contexts_at(pattern, numbers, stream)
        totals = _at(table.totals, contexts, 0.0)
        gammas = np.where(totals > 0, _at(table.gammas, contexts, 1.0), 1.0)
        counts = _at(table.counts.counts, numbers[pattern], 0)
        kept = _discounted(counts, table.discounts)
        found[pattern] = np.divide(kept, totals, out=np.zeros(len(kept)), where=totals > 0) + gammas * lower
        length = pattern.bit_length()
        if pattern == (1 << length) - 1:  # the longest context that the sentence's start allows
            result = np.where(np.minimum(stream.places, model.order - 1) == length - 1, found[pattern], result)
    result[stream.tokens == BEGIN_ID] = np.nan
    return result


def _at(values: NDArray[Any], places: NDArray[np.int64], otherwise: float) -> NDArray[Any]:
    """``values`` at ``places``, ``otherwise`` where a place is negative; a text may be too short for a pattern."""
    if not len(values):
        return np.full(len(places), otherwise, dtype=values.dtype)
    return np.where(places >= 0, values[np.maximum(places, 0)], otherwise)


def _discounted(counts: NDArray[np.int64], discounts: Discounts) -> Floats:
    taken = np.array((0.0, *discounts))[np.minimum(counts, 3)]
    result: Floats = np.maximum(counts - taken, 0.0)
    return result


def distribution(model: Smoothed, context: Sequence[int]) -> Floats:
    """P(. | context) over the whole vocabulary, float64 (size,); ``<s>`` has 0.

    ``context`` holds the sentence so far, its ``<s>`` included, or its last ``order - 1`` tokens.
    """
    recent = list(context)[-(model.order - 1) :] if model.order > 1 else []
    weights = dict.fromkeys(model.patterns, 0.0)
    weights[(1 << (len(recent) + 1)) - 1] = 1.0
    result = np.zeros(model.size)
    for pattern in sorted(model.patterns, reverse=True):
        weight = weights[pattern]
        if not weight:
            continue
        table = model.patterns[pattern]
        number = _context_number(model, pattern, recent)
        if number != MISSING and table.totals[number] > 0:
            low, high = np.searchsorted(table.counts.keys, (number * model.size, (number + 1) * model.size))
            words = table.counts.keys[low:high] - number * model.size
            kept = _discounted(table.counts.counts[low:high], table.discounts)
            result[words] += weight * kept / table.totals[number]
            weight *= table.gammas[number]
        below = lower_patterns(pattern, model.skips)
        for lower in below:
            weights[lower] += weight / len(below)
        if pattern == 1:
            result += weight / (model.size - 1)
    result[BEGIN_ID] = 0.0
    return result


def _context_number(model: Smoothed, pattern: int, recent: Sequence[int]) -> int:
    """The number of the context of ``pattern`` that ends ``recent``, -1 where unknown."""
    number, seen, last = 0, 0, 0
    for distance in range(pattern.bit_length() - 1, 0, -1):
        if not pattern >> distance & 1:
            continue
        seen = (seen << (last - distance)) | 1 if seen else 1
        last = distance
        key = np.array([number * model.size + recent[-distance]])
        number = int(look_up(model.patterns[seen].counts.keys, key)[0])
        if number == MISSING:
            break
    return number
