"""Language models as compressors of documents, before and after a date."""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from steelyard.contracts import Interval, LanguageModel
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.compression.code_lengths import code_lengths
from steelyard.evaluation.benchmarks.compression.dated_documents import Document, read_documents
from steelyard.evaluation.measurement import Measurement, Table
from steelyard.evaluation.statistics import ratio_interval, t_value
from steelyard.parts import part

Floats = NDArray[np.float64]


@part(papers=[221], kind="measure")
def compression_evaluation(
    model: LanguageModel,
    documents: Sequence[Document] | None = None,
    *,
    data: str = "",
    cutoff: Annotated[str, Field(pattern=r"^(\d{4}-\d{2})?$")] = "",
    context: PositiveInt | None = None,
    stride: PositiveInt | None = None,
) -> Measurement:
    """How many bits a byte documents take when a model codes them, and whether newer ones take more.

    The code length of a document is the sum of -log2 p over its tokens, which an arithmetic coder reaches to
    within a few bytes (``arithmetic_coding.compress`` is one). Rates are total bits over total raw bytes. Dated
    documents are bucketed by month; with ``cutoff``, the last month of the training data, the rate after it
    measures generalization and its difference to the rate before, per source, robustness.

    Args:
        model: anything that scores; ``context`` and documents of bytes need weights in this process.
        documents: what to code, each by itself.
        data: in their place a JSONL file with ``text`` or ``base64``, ``date`` and ``source``, or any other file
            as one document.
        cutoff: a month, such as ``2023-06``.
        context: tokens of a chunk or window; by default the model's own length.
        stride: tokens that a window moves on; without it chunks are coded apart, as in the paper's main results.

    Returns:
        ``bits_per_byte``, ``gzip`` and ``lzma`` over the same documents one by one, and with ``cutoff``
        ``bits_per_byte_after`` and ``gap``. Tables hold rates by source, months, and the baselines over all
        documents at once.

    Raises:
        UsageError: no documents, or a cutoff that leaves no documents on one side.
        InputError: a file with broken lines.
        CapabilityError: a context or bytes for a model that cannot be given them.

    Source:
        Evaluating Large Language Models for Generalization and Robustness via Data Compression (2024), section 3;
        chunks of 2,048 tokens there, or windows that move by 512. The authors' program does not pay for the first
        token of a chunk and drops the last, shorter chunk; here every byte is coded, so rates are slightly higher.
        Non-text bytes are one token each, as there.

    Relations:
        A task file with texts gives bits per byte in a run that can be resumed; this measure adds context,
        dates, bytes and baselines.

    Example:
        >>> compression_evaluation(model, [Document("To be, or not to be")]).values["gzip"]  # doctest: +SKIP
    """
    found = list(documents) if documents is not None else read_documents(Path(data)) if data else []
    if not found or any(not document.content for document in found):
        raise UsageError("compression-evaluation: give documents that are not empty, or data=FILE")
    if stride is not None and context is None:
        raise UsageError("compression-evaluation: a stride needs a context; give context=N as well")
    bits = code_lengths(model, found, context=context, stride=stride)
    sizes = np.array([len(document.raw) for document in found], dtype=np.float64)
    baselines = {"gzip": baseline_bits(found, "gzip"), "lzma": baseline_bits(found, "lzma")}
    values = {"bits_per_byte": ratio_interval(bits, sizes)}
    values |= {name: ratio_interval(alone, sizes) for name, (alone, _) in baselines.items()}
    tables = [_compressors(model.card.name, values, baselines, float(sizes.sum()))]
    notes: list[str] = []
    if any(document.month for document in found):
        tables.append(_months(found, bits, sizes))
    if cutoff:
        periods, gap_notes = _periods(found, bits, sizes, cutoff)
        tables.append(periods.table)
        notes += gap_notes
        values |= {"bits_per_byte_after": periods.after, "gap": periods.gap}
    details = {"bits": bits.tolist(), "bytes": sizes.tolist(), "context": context, "stride": stride}
    return Measurement("compression-evaluation", values, tuple(tables), tuple(notes), details)


class Baseline(NamedTuple):
    """Bits of every document compressed by itself, float64 (documents,), and of all joined."""

    alone: Floats
    together: float


def baseline_bits(documents: Sequence[Document], name: Literal["gzip", "lzma"]) -> Baseline:
    """Sizes under gzip (level 9) or lzma (xz, preset 9), headers included."""

    def press(raw: bytes) -> bytes:
        if name == "gzip":
            return gzip.compress(raw, 9, mtime=0)
        window = max(4096, len(raw))  # a larger one is only slower
        return lzma.compress(raw, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": window}])

    alone = np.array([8.0 * len(press(document.raw)) for document in documents])
    return Baseline(alone, 8.0 * len(press(b"".join(document.raw for document in documents))))


def _compressors(
    name: str, values: Mapping[str, Interval], baselines: Mapping[str, Baseline], size: float
) -> Table:
    rates = {name: values["bits_per_byte"]} | {press: values[press] for press in baselines}
    together = {press: found.together / size for press, found in baselines.items()}
    return Table(
        "Compressors",
        ("compressor", "bits per byte, one by one", "bits per byte, all at once", "share of raw size"),
        tuple((press, rate, together.get(press), rate.value / 8) for press, rate in rates.items()),
        "the model codes each document by itself; its own size is not counted",
    )


class _Periods(NamedTuple):
    after: Interval
    gap: Interval
    table: Table


def _periods(
    documents: Sequence[Document], bits: Floats, sizes: Floats, cutoff: str
) -> tuple[_Periods, list[str]]:
    """Rates up to the cutoff and after it, for every source and for all."""
    undated = [i for i, document in enumerate(documents) if not document.month]
    if undated:
        raise InputError(
            f"compression-evaluation: document {undated[0] + 1} has no date; cutoff needs one for all"
        )
    after = np.array([document.month > cutoff for document in documents])
    if after.all() or not after.any():
        raise UsageError(f"compression-evaluation: cutoff {cutoff} leaves no document on one side of it")
    sources = sorted({document.source for document in documents})
    groups = [("all", np.ones(len(documents), bool))]
    if len(sources) > 1:
        groups += [(s or "(none)", np.array([d.source == s for d in documents])) for s in sources]
    rows, notes, gaps = [], [], []
    for name, chosen in groups:
        sides = [chosen & ~after, chosen & after]
        if not all(side.any() for side in sides):
            rows.append((name, *(_rate(bits, sizes, side) for side in sides), None))
            continue
        gap = ratio_gap(*((bits[side], sizes[side]) for side in sides))
        gaps.append(gap)
        rows.append((name, *(_rate(bits, sizes, side) for side in sides), gap))
        if gap.low <= 0 <= gap.high:
            notes.append(f"{name}: no gap between before and after {cutoff} is detected")
    table = Table(
        "Before and after the cutoff",
        ("source", f"up to {cutoff}", "after", "gap"),
        tuple(rows),
        "bits per byte; a positive gap: newer documents compress less",
    )
    return _Periods(ratio_interval(bits[after], sizes[after]), gaps[0], table), notes


def _rate(bits: Floats, sizes: Floats, chosen: NDArray[np.bool_]) -> Interval | None:
    return ratio_interval(bits[chosen], sizes[chosen]) if chosen.any() else None


def _months(documents: Sequence[Document], bits: Floats, sizes: Floats) -> Table:
    months = sorted({document.month for document in documents if document.month})
    places = {month: np.array([document.month == month for document in documents]) for month in months}
    rows = tuple(
        (month, int(places[month].sum()), int(sizes[places[month]].sum()), _rate(bits, sizes, places[month]))
        for month in months
    )
    return Table("By month", ("month", "documents", "bytes", "bits per byte"), rows)


def ratio_gap(before: tuple[Floats, Floats], after: tuple[Floats, Floats], *, level: float = 0.95) -> Interval:
    """Rate of ``after`` minus rate of ``before``, each (bits, bytes) of independent documents.

    The variances of the two ratios, linearised, add up; the quantile is Student's t with Welch and Satterthwaite's
    degrees of freedom. A side with one document says nothing about the spread: the interval is infinite.

    Source: Cochran 1977, "Sampling techniques", section 6; Welch 1947.
    """
    rates, variances, freedoms = [], [], []
    for bits, sizes in (before, after):
        n, total = len(bits), float(sizes.sum())
        rate = float(bits.sum()) / total
        rates.append(rate)
        if n > 1:
            variances.append(n / (n - 1) * float(np.square(bits - rate * sizes).sum()) / total**2)
            freedoms.append(n - 1)
    gap, count = rates[1] - rates[0], len(before[0]) + len(after[0])
    if len(variances) < 2:
        return Interval(gap, -math.inf, math.inf, count)
    spread = sum(variances)
    if not spread:
        return Interval(gap, gap, gap, count)
    freedom = spread**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    half = t_value(level, freedom) * math.sqrt(spread)
    return Interval(gap, gap - half, gap + half, count)
