"""N-gram models as files: one ``.npz`` that is read back exactly, and ARPA for other tools."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import AppliedPart
from steelyard.errors import InputError, UsageError
from steelyard.models.ngrams.counts import Counts, context_of, lower_patterns
from steelyard.models.ngrams.smoothing import Pattern, Smoothed
from steelyard.models.ngrams.words import BEGIN_ID, Vocabulary

if TYPE_CHECKING:
    from steelyard.models.ngrams.model import NgramModel

FORMAT = "steelyard-ngrams-1"
NEVER = -99.0
"""What ARPA files hold for the probability of ``<s>``, which is never predicted."""


def save(model: NgramModel, file: Path) -> Path:
    """Write ``model`` to ``file``; nothing half written is ever seen under that name."""
    file = Path(file)
    if file.suffix != ".npz":
        raise UsageError(f"{file}: an n-gram model is saved as .npz; give such a name")
    smoothed, part = model.smoothed, model.part
    record = {
        "format": FORMAT,
        "name": model.name,
        "part": {"name": part.name, "settings": dict(part.settings)} if part else None,
        "words": list(model.vocabulary.words),
        "order": smoothed.order,
        "skips": smoothed.skips,
    }
    arrays: dict[str, NDArray[np.generic]] = {
        "record": np.frombuffer(json.dumps(record).encode(), dtype=np.uint8).copy()
    }
    for number, table in smoothed.patterns.items():
        arrays[f"keys-{number}"], arrays[f"counts-{number}"] = table.counts
        arrays[f"discounts-{number}"] = np.array(table.discounts)
        arrays[f"totals-{number}"], arrays[f"gammas-{number}"] = table.totals, table.gammas
    part_file = file.with_name(file.name + ".part")
    with part_file.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    part_file.replace(file)
    return file


def load(file: Path) -> NgramModel:
    """Read what :func:`save` wrote; raises :class:`InputError` for anything else."""
    from steelyard.models.ngrams.model import NgramModel

    try:
        with np.load(file, allow_pickle=False) as arrays:
            record = json.loads(bytes(arrays["record"]))
            if record["format"] != FORMAT:
                raise ValueError(f"its format is {record['format']!r}, not {FORMAT!r}")
            words = Vocabulary(tuple(record["words"]))
            numbers = sorted(int(name.removeprefix("keys-")) for name in arrays if name.startswith("keys-"))
            tables = {n: _pattern(arrays, n) for n in numbers}
        part = record["part"]
        smoothed = Smoothed(tables, len(words), int(record["order"]), bool(record["skips"]))
        return NgramModel(words, smoothed, record["name"], AppliedPart(**part) if part else None, source=str(file))
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: not an n-gram model that can be read ({reason}); save it again") from error


def _pattern(arrays: np.lib.npyio.NpzFile, number: int) -> Pattern:
    keys, counts = arrays[f"keys-{number}"], arrays[f"counts-{number}"]
    if keys.shape != counts.shape or (np.diff(keys) <= 0).any():
        raise ValueError(f"the n-grams of pattern {number:b} are damaged")
    d1, d2, d3 = (float(d) for d in arrays[f"discounts-{number}"])
    return Pattern(Counts(keys, counts), (d1, d2, d3), arrays[f"totals-{number}"], arrays[f"gammas-{number}"])


def write_arpa(model: NgramModel, file: Path) -> Path:
    """Write the model as an ARPA back-off file: log10 probabilities and back-off weights, for KenLM, SRILM and
    others.

    The interpolated probability of every n-gram is written, and gamma(h) as the back-off weight of h, which
    together give the same probabilities. A model that skips positions has no such form and raises
    :class:`UsageError`.
    """
    smoothed = model.smoothed
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
