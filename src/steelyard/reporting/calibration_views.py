"""How far a model's confidences can be relied on: the reliability diagram and its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from steelyard.contracts import Interval
from steelyard.reporting import formatting as fmt
from steelyard.reporting.figures import element, group
from steelyard.reporting.formatting import finite, interval_of
from steelyard.reporting.interval_plots import percent
from steelyard.reporting.scales import Scale

SIZE = 420.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 12.0, 96.0
HISTOGRAM = 34.0
"""Height of the bars below the diagram that show where the samples are."""


@dataclass(frozen=True, slots=True)
class BinView:
    """One bin: its range, mean confidence, accuracy with interval, and how many samples it holds."""

    low: float
    high: float
    confidence: float
    accuracy: Interval

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Range, confidence, accuracy and n, as printed."""
        bounds = f"[{100 * self.accuracy.low:.1f}, {100 * self.accuracy.high:.1f}]"
        return (
            f"{100 * self.low:.0f} to {100 * self.high:.0f}%",
            f"{100 * self.confidence:.1f}%",
            f"{100 * self.accuracy.value:.1f}% {bounds}",
            fmt.integer_text(self.accuracy.n),
        )


@dataclass(frozen=True, slots=True)
class CalibrationView:
    """A reliability diagram with its bins and the sentence that sums it up."""

    diagram: Markup
    bins: tuple[BinView, ...]
    sentence: str


def calibration_view(record: Any, key: str = "reliability") -> CalibrationView | None:
    """The view of a record's ``calibration``; None where none was measured."""
    if not isinstance(record, Mapping):
        return None
    bins = tuple(
        BinView(low, high, confidence, accuracy)
        for entry in record.get("bins") or ()
        if (low := finite(entry.get("low"))) is not None
        and (high := finite(entry.get("high"))) is not None
        and (confidence := finite(entry.get("confidence"))) is not None
        and (accuracy := interval_of(entry.get("accuracy"))) is not None
    )
    ece = interval_of(record.get("ece"))
    if not bins or ece is None:
        return None
    sentence = _sentence(ece, finite(record.get("chance")), len(bins))
    return CalibrationView(reliability_diagram(bins, key, sentence), bins, sentence)


def _sentence(ece: Interval, chance: float | None, bins: int) -> str:
    """The error with all it rests on; it is called miscalibration only where chance does not explain it."""
    bounds = f" [{100 * ece.low:.1f}, {100 * ece.high:.1f}]" if math.isfinite(ece.high - ece.low) else ""
    text = f"Expected calibration error {100 * ece.value:.1f} points{bounds}, n {ece.n}, {bins} bins in use."
    if chance is None:
        return text
    limit = f"{100 * chance:.1f} points"
    if ece.value > chance:
        return f"{text} 95% of perfectly calibrated models stay below {limit} in such samples; this one does not."
    return f"{text} A perfectly calibrated model may reach {limit} in such samples: no miscalibration is shown."


def reliability_diagram(bins: Sequence[BinView], key: str, description: str) -> Markup:
    """Accuracy with its interval against mean confidence, beside the diagonal; below it where the samples are."""
    x, y = Scale((0, 1), (LEFT, SIZE - RIGHT)), Scale((0, 1), (SIZE - BOTTOM, TOP))
    content = group(
        element("title", "Reliability diagram", id=f"{key}-t"),
        element("desc", description, id=f"{key}-d"),
        _frame(x, y),
        *(_bin(found, x, y) for found in bins),
        _histogram(bins, x),
    )
    return element(
        "svg",
        content,
        class_="plot reliability",
        viewBox=f"0 0 {SIZE:g} {SIZE:g}",
        role="img",
        aria_labelledby=f"{key}-t {key}-d",
    )


def _frame(x: Scale, y: Scale) -> Markup:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(element("line", class_="grid", x1=x(0), x2=x(1), y1=y(tick), y2=y(tick)))
        parts.append(element("text", percent(tick), class_="tick end", x=x(0) - 8, y=y(tick) + 4))
        parts.append(element("text", percent(tick), class_="tick mid", x=x(tick), y=SIZE - 28))
    middle = (y(0) + y(1)) / 2
    return group(
        *parts,
        element("line", class_="axis", x1=x(0), x2=x(1), y1=y(0), y2=y(0)),
        element("line", class_="against", x1=x(0), x2=x(1), y1=y(0), y2=y(1)),
        element("text", "Accuracy", class_="title mid", transform=f"translate(13 {middle:g}) rotate(-90)"),
        element("text", "Confidence; bars: samples in each bin", class_="title mid", x=x(0.5), y=SIZE - 6),
    )


def _bin(found: BinView, x: Scale, y: Scale) -> Markup:
    place, value = x(found.confidence), y(found.accuracy.value)
    high, low = y(found.accuracy.high), y(found.accuracy.low)
    bar = f"M{place:.1f} {high:.1f}V{low:.1f}M{place - 4:.1f} {high:.1f}h8M{place - 4:.1f} {low:.1f}h8"
    name, confidence, accuracy, n = found.cells
    return element(
        "g",
        group(
            element("title", f"confidence {name}: mean {confidence}, accuracy {accuracy}, n {n}"),
            element("path", class_="error", d=bar),
            element("circle", class_="dot", cx=place, cy=value, r=5),
        ),
        class_="row main",
    )


def _histogram(bins: Sequence[BinView], x: Scale) -> Markup:
    most = max(found.accuracy.n for found in bins)
    base = SIZE - BOTTOM + 8 + HISTOGRAM
    parts = []
    for found in bins:
        height = max(HISTOGRAM * found.accuracy.n / most, 1.0)
        left, right = x(found.low) + 1, x(found.high) - 1
        bar = element("rect", class_="count", x=left, y=base - height, width=right - left, height=height)
        parts.append(element("g", group(element("title", f"n {found.accuracy.n}"), bar)))
    return group(*parts, element("line", class_="axis", x1=x(0), x2=x(1), y1=base, y2=base))
