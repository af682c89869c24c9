"""ARPA back-off files: what KenLM, SRILM and others read and write.

Each n-gram has log10 P and a back-off weight. P(w | h) is that of the n-gram h w where it is listed, else the
weight of h (1 where it is not listed) times P(w | h without its first word).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import InputError, UsageError
from steelyard.models.ngrams.counts import (
    MISSING,
    Counts,
    Ints,
    context_of,
    look_up,
    lower_patterns,
    number_patterns,
)
from steelyard.models.ngrams.smoothing import Floats, Pattern, Smoothed
from steelyard.models.ngrams.words import BEGIN_ID, END, MARKS, UNKNOWN_ID, Stream, Vocabulary

if TYPE_CHECKING:
    from steelyard.models.ngrams.model import NgramModel

NEVER = -99.0
"""What ARPA files hold for the probability of ``<s>``, which is never predicted."""
UNLISTED = -100.0
"""log10 P(``<unk>``) of files without it, as in KenLM."""


class BackoffTable(NamedTuple):
    """The n-grams of one length: ``keys`` int64 as in ``Counts``; natural logarithms float64, all (n,)."""

    keys: Ints
    logprobs: Floats
    weights: Floats


class Backoff(NamedTuple):
    """A back-off model: its tables by pattern (``0b111`` for trigrams), its vocabulary's size, and its order."""

    tables: Mapping[int, BackoffTable]
    size: int
    order: int

    @property
    def entries(self) -> int:
        """Number of n-grams."""
        return sum(len(table.keys) for table in self.tables.values())

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        """Everything that bears on its probabilities."""
        for _, table in sorted(self.tables.items()):
            yield from table

    def probabilities(self, stream: Stream) -> Floats:
        """P(token | the tokens of its sentence before it) for every token: float64 (n,); NaN at ``<s>``."""
        known = {pattern: Counts(table.keys, table.keys) for pattern, table in self.tables.items()}
        numbers = number_patterns(known, stream, self.size)
        found = self.tables[1].logprobs[stream.tokens]
        for pattern in sorted(self.tables)[1:]:
            table, below = self.tables[pattern], self.tables[pattern >> 1]
            before = np.roll(numbers[pattern >> 1], 1)
            reaches = stream.places >= pattern.bit_length() - 1
            weights = np.where(reaches & (before >= 0), below.weights[np.maximum(before, 0)], 0.0)
            listed = reaches & (numbers[pattern] >= 0)
            mine = table.logprobs[np.maximum(numbers[pattern], 0)] if len(table.keys) else found
            found = np.where(listed, mine, weights + found)
        result: Floats = np.exp(found)
        result[stream.tokens == BEGIN_ID] = np.nan
        return result

    def distribution(self, context: Sequence[int]) -> Floats:
        """P(. | context) over the whole vocabulary, float64 (size,); ``<s>`` has 0."""
        result = np.exp(self.tables[1].logprobs)
        recent = list(context)[-(self.order - 1) :] if self.order > 1 else []
        for length in range(1, len(recent) + 1):
            number = self._number(recent[-length:])
            if number == MISSING:
                continue
            table = self.tables[(1 << (length + 1)) - 1]
            result *= math.exp(self.tables[(1 << length) - 1].weights[number])
            low, high = np.searchsorted(table.keys, (number * self.size, (number + 1) * self.size))
            result[table.keys[low:high] - number * self.size] = np.exp(table.logprobs[low:high])
        result[BEGIN_ID] = 0.0
        return result

    def _number(self, words: Sequence[int]) -> int:
        number = 0
        for length, word in enumerate(words, 1):
            key = np.array([number * self.size + word])
            number = int(look_up(self.tables[(1 << length) - 1].keys, key)[0])
            if number == MISSING:
                break
        return number


def read_arpa(file: Path) -> tuple[Vocabulary, Backoff]:
    """Read a back-off model; anything else is an :class:`InputError` with its line."""
    sections: dict[int, list[tuple[list[str], float, float]]] = {}
    length, number = 0, 0
    try:
        with Path(file).open(encoding="utf-8") as stream:
            for line in stream:
                number += 1
                text = line.strip()
                if text.startswith("\\") and text.endswith("-grams:"):
                    length = int(text[1:-7])
                    sections[length] = []
                elif text == "\\end\\":
                    break
                elif text and length:
                    sections[length].append(_entry(text, length))
            else:
                raise ValueError("it has no \\end\\")
        return _assembled(sections)
    except (ValueError, OSError) as error:
        raise InputError(f"{file}:{number}: not an ARPA file that can be read ({error})") from error


def _entry(text: str, length: int) -> tuple[list[str], float, float]:
    fields = text.split()
    if len(fields) not in (length + 1, length + 2):
        raise ValueError(f"an entry of {length} words has {len(fields)} fields")
    weight = float(fields[length + 1]) if len(fields) == length + 2 else 0.0
    return fields[1 : length + 1], float(fields[0]), weight


def _assembled(sections: Mapping[int, Sequence[tuple[list[str], float, float]]]) -> tuple[Vocabulary, Backoff]:
    if sorted(sections) != list(range(1, len(sections) + 1)):
        raise ValueError("its sections are not those of lengths 1, 2, ...")
    words = [entry[0][0] for entry in sections[1]]
    if len(set(words)) != len(words) or END not in words:
        raise ValueError("its unigrams repeat a word or lack </s>")
    vocabulary = Vocabulary((*MARKS, *(word for word in words if word not in MARKS)))
    ids = {word: n for n, word in enumerate(vocabulary.words)}
    size = len(ids)
    first = BackoffTable(np.arange(size), np.full(size, UNLISTED * math.log(10)), np.zeros(size))
    tables = {1: first}
    for (word,), logprob, weight in sections[1]:
        first.logprobs[ids[word]], first.weights[ids[word]] = logprob * math.log(10), weight * math.log(10)
    for length in range(2, len(sections) + 1):
        tokens = np.array([[ids.get(w, UNKNOWN_ID) for w in e[0]] for e in sections[length]], dtype=np.int64)
        tokens = tokens.reshape(-1, length)
        values = np.array([e[1:] for e in sections[length]]).reshape(-1, 2) * math.log(10)
        contexts = tokens[:, 0]
        for place in range(1, length - 1):
            contexts = look_up(tables[(1 << (place + 1)) - 1].keys, contexts * size + tokens[:, place])
        if (contexts < 0).any():
            raise ValueError(f"a {length}-gram's context is not listed")
        keys = contexts * size + tokens[:, -1]
        order = np.argsort(keys)
        if (np.diff(keys[order]) == 0).any():
            raise ValueError(f"a {length}-gram is listed twice")
        tables[(1 << length) - 1] = BackoffTable(keys[order], values[order, 0], values[order, 1])
    return vocabulary, Backoff(tables, size, len(sections))


def write_arpa(model: NgramModel, file: Path) -> Path:
    """Write the model as an ARPA back-off file: log10 probabilities and back-off weights, for KenLM, SRILM and
    others.

    The interpolated probability of every n-gram is written, and gamma(h) as the back-off weight of h, which
    together give the same probabilities. A model that skips positions has no such form and raises
    :class:`UsageError`.
    """
    smoothed = model.smoothed
    if not isinstance(smoothed, Smoothed):
        raise UsageError(f"{model.name}: was read from an ARPA file; copy that")
    if smoothed.skips:
        raise UsageError(f"{model.name}: ARPA holds no skipped positions; train with backoff='left' to export")
    file = Path(file)
    values = _interpolated(smoothed)
    part_file = file.with_name(file.name + ".part")
    with part_file.open("w", encoding="utf-8") as stream:
        stream.write("\\data\\\n")
        for length, pattern in enumerate(sorted(smoothed.patterns), 1):
            stream.write(f"ngram {length}={len(smoothed.patterns[pattern].counts.keys)}\n")
        histories: list[tuple[str, ...]] = [()]
        for length, pattern in enumerate(sorted(smoothed.patterns), 1):
            histories = _ngrams(smoothed, pattern, histories, model.vocabulary.words)
            above = smoothed.patterns.get((pattern << 1) | 1)
            _write_section(stream, length, histories, values[pattern], above)
        stream.write("\n\\end\\\n")
    part_file.replace(file)
    return file


def _interpolated(smoothed: Smoothed) -> dict[int, NDArray[np.float64]]:
    """The interpolated probability of every listed n-gram, per pattern."""
    values: dict[int, NDArray[np.float64]] = {}
    suffixes: dict[int, NDArray[np.int64]] = {1: np.zeros(0, np.int64)}
    for pattern in sorted(smoothed.patterns):
        table = smoothed.patterns[pattern]
        owners, words = np.divmod(table.counts.keys, smoothed.size)
        taken = np.array((0.0, *table.discounts))[np.minimum(table.counts.counts, 3)]
        kept = np.maximum(table.counts.counts - taken, 0.0)
        if pattern == 1:
            values[1] = kept / table.totals[0] + table.gammas[0] / (smoothed.size - 1)
            values[1][BEGIN_ID] = 0.0
            continue
        (lower,) = lower_patterns(pattern, False)
        if lower == 1:
            suffix = words
        else:  # the suffix of an n-gram is its context's suffix, and its word
            context, _ = context_of(pattern)
            keys = suffixes[context][owners] * smoothed.size + words
            suffix = np.searchsorted(smoothed.patterns[lower].counts.keys, keys)
        suffixes[pattern] = suffix
        values[pattern] = kept / table.totals[owners] + table.gammas[owners] * values[lower][suffix]
    return values


def _ngrams(
    smoothed: Smoothed, pattern: int, histories: Sequence[tuple[str, ...]], words: Sequence[str]
) -> list[tuple[str, ...]]:
    owners, last = np.divmod(smoothed.patterns[pattern].counts.keys, smoothed.size)
    return [(*histories[o], words[w]) for o, w in zip(owners.tolist(), last.tolist(), strict=True)]


def _write_section(
    stream: TextIO,
    length: int,
    ngrams: Sequence[tuple[str, ...]],
    values: NDArray[np.float64],
    above: Pattern | None,
) -> None:
    stream.write(f"\n\\{length}-grams:\n")
    for number, (ngram, value) in enumerate(zip(ngrams, values.tolist(), strict=True)):
        line = f"{math.log10(value) if value > 0 else NEVER:.7g}\t{' '.join(ngram)}"
        if above is not None:
            gamma = float(above.gammas[number])
            line += f"\t{math.log10(gamma) if gamma > 0 else NEVER:.7g}"
        stream.write(line + "\n")
