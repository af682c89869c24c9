"""Summaries: from the marks of many samples to one interval a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steelyard.contracts import Interval, Marks
from steelyard.evaluation.statistics import mean_interval, ratio_interval


def summarise_marks(
    marks: Sequence[Marks], weights: Sequence[float], *, level: float = 0.95
) -> dict[str, Interval]:
    """One interval for each metric, over the samples that have it.

    Plain metrics lie between 0 and 1 and are averaged. A metric with denominators (``Marks.weights``) is the
    ratio of the sums: ``values`` holds each sample's own ratio and ``weights`` its denominator. Bits per byte
    b also gives ``byte_perplexity`` 2^b. Ends that cannot be known from one sample are infinite.

    >>> summarise_marks([Marks({"accuracy": 1.0}), Marks({"accuracy": 0.0})], [1, 1])["accuracy"].value
    0.5
    """
    if len(marks) != len(weights):
        raise ValueError(f"{len(marks)} marks for {len(weights)} weights")
    names = dict.fromkeys(name for mark in marks for name in mark.values)
    summary: dict[str, Interval] = {}
    for name in names:
        having = [(mark, weight) for mark, weight in zip(marks, weights, strict=True) if name in mark.values]
        values = [mark.values[name] for mark, _ in having]
        importance = [weight for _, weight in having]
        sizes = [mark.weights.get(name) for mark, _ in having]
        known = [size for size in sizes if size is not None]
        if not known:
            summary[name] = mean_interval(values, importance, bounds=(0.0, 1.0), level=level)
        elif len(known) < len(values):
            raise ValueError(f"some samples have no denominator for the ratio metric {name!r}")
        else:
            amounts = [value * size for value, size in zip(values, known, strict=True)]
            value, low, high, n = ratio_interval(amounts, known, importance, level=level)
            summary[name] = Interval(value, max(0.0, low), high, n)
    if "bits_per_byte" in summary:
        value, low, high, n = summary["bits_per_byte"]
        summary["byte_perplexity"] = Interval(_power(value), _power(low), _power(high), n)
    return summary


def _power(bits: float) -> float:
    return math.inf if bits > 1000 else 2.0**bits
