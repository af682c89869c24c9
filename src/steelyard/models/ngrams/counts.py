"""Counting n-grams with and without gaps, as sorted arrays.

A *pattern* says which words of an n-gram are used: an odd integer whose bit d stands for the word at distance d
before the predicted one, bit 0. ``0b111`` is a trigram, ``0b101`` a trigram with a gap, ``0b1`` a unigram.
Dropping the first word shortens the pattern, ``0b101`` to ``0b1``: no gap is kept in front.

The n-grams of a pattern are numbered in sorted order of (number of the context, word), where the context is
numbered by its own pattern: that of the words before the last one, moved to the right, so ``0b1101`` has the
contexts ``0b11``. A lookup is a binary search a word, and whole texts are looked up at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.models.ngrams.words import BEGIN_ID, Stream

Ints = NDArray[np.int64]
MISSING = -1


class Counts(NamedTuple):
    """The n-grams of one pattern.

    ``keys`` int64 (n,), rising: context number times vocabulary size plus word. ``counts`` int64 (n,): how often
    an n-gram of the highest order occurs, or in how many ways a lower one is continued (see
    :func:`count_patterns`).
    """

    keys: Ints
    counts: Ints


def patterns(order: int, skips: bool) -> list[int]:
    """The patterns of a model, rising, so that each comes after those it backs off to.

    >>> [bin(p) for p in patterns(3, True)]
    ['0b1', '0b11', '0b101', '0b111']
    >>> [bin(p) for p in patterns(3, False)]
    ['0b1', '0b11', '0b111']
    """
    if skips:
        return list(range(1, 1 << order, 2))
    return [(1 << length) - 1 for length in range(1, order + 1)]


def context_of(pattern: int) -> tuple[int, int]:
    """The pattern of the words before the last one, and how far before it their last one stands.

    >>> context_of(0b1101) == (0b11, 2), context_of(0b1)
    (True, (0, 1))
    """
    rest, distance = pattern >> 1, 1
    while rest and not rest & 1:
        rest, distance = rest >> 1, distance + 1
    return rest, distance


def lower_patterns(pattern: int, skips: bool) -> list[int]:
    """What a pattern is interpolated with: itself without one context word; the first one, unless ``skips``.

    >>> [bin(p) for p in lower_patterns(0b111, True)]
    ['0b101', '0b11']
    >>> [bin(p) for p in lower_patterns(0b111, False)]
    ['0b11']
    """
    places = [d for d in range(1, pattern.bit_length()) if pattern >> d & 1]
    return [pattern ^ (1 << d) for d in (places if skips else places[-1:])]


def count_patterns(stream: Stream, size: int, order: int, skips: bool) -> dict[int, Counts]:
    """Counts of every pattern of a model with ``size`` words in its vocabulary.

    The highest order holds frequencies. A lower pattern holds continuation counts: with gaps, the number of
    different ways to fill them; without, the number of different words before the n-gram, or its frequency where
    it starts with ``<s>``, before which there is none. ``<s>`` is never predicted, so it counts 0.

    Source: Pickhardt et al. 2014, equations 5 and 6, where several gaps are filled together; the treatment of
    ``<s>`` is that of Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation".
    """
    numbers: dict[int, Ints] = {1: stream.tokens}
    found = {1: Counts(np.arange(size, dtype=np.int64), np.zeros(size, np.int64))}
    wanted = patterns(order, skips)
    for pattern in wanted[1:]:
        keys = _keys(pattern, numbers, stream, size)
        known, inverse = np.unique(keys[keys >= 0], return_inverse=True)
        numbers[pattern] = np.full(len(keys), MISSING)
        numbers[pattern][keys >= 0] = inverse
        found[pattern] = Counts(known, np.zeros(len(known), np.int64))
    return {p: Counts(found[p].keys, _adjusted(p, numbers, stream, len(found[p].keys), order)) for p in wanted}


def number_patterns(tables: Mapping[int, Counts], stream: Stream, size: int) -> dict[int, Ints]:
    """The number of the n-gram of each pattern that ends at each token: int64 (n,) a pattern, -1 where unknown."""
    numbers: dict[int, Ints] = {1: stream.tokens}
    for pattern in sorted(tables)[1:]:
        keys = _keys(pattern, numbers, stream, size)
        numbers[pattern] = look_up(tables[pattern].keys, keys)
    return numbers


def look_up(known: Ints, keys: Ints) -> Ints:
    """Places of ``keys`` in the rising ``known``, -1 where absent or negative."""
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    if not len(known):
        return np.full(len(keys), MISSING)
    return np.where((keys >= 0) & (known[places] == keys), places, MISSING)


def contexts_at(pattern: int, numbers: Mapping[int, Ints], stream: Stream) -> Ints:
    """The number of the context of ``pattern`` before each token, -1 where unknown or cut by the sentence's
    start.
    """
    context, distance = context_of(pattern)
    if not context:
        return np.zeros(len(stream.tokens), np.int64)
    before = np.full(len(stream.tokens), MISSING)
    before[distance:] = numbers[context][:-distance] if distance < len(before) else before[distance:]
    return np.where(stream.places >= pattern.bit_length() - 1, before, MISSING)


def _keys(pattern: int, numbers: Mapping[int, Ints], stream: Stream, size: int) -> Ints:
    contexts = contexts_at(pattern, numbers, stream)
    return np.where(contexts >= 0, contexts * size + stream.tokens, MISSING)


def _adjusted(pattern: int, numbers: Mapping[int, Ints], stream: Stream, count: int, order: int) -> Ints:
    mine, length = numbers[pattern], pattern.bit_length()
    solid = pattern == (1 << length) - 1
    frequencies = np.bincount(mine[mine >= 0], minlength=count)
    if solid and length == order:
        counts = frequencies
    else:
        # each different n-gram that fills the gaps, or has one word more in front, counts once
        wider = numbers[(1 << (length + 1 if solid else length)) - 1]
        _, first = np.unique(wider, return_index=True)
        first = first[wider[first] >= 0]
        counts = np.bincount(mine[first], minlength=count)
    if solid and length < order:
        starts = mine[stream.places == length - 1]  # what begins with <s>
        counts[starts] = frequencies[starts]
    if pattern == 1:
        counts[BEGIN_ID] = 0
    return counts.astype(np.int64)
