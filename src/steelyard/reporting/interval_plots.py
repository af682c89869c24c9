"""Dot plots of intervals: one row a value, its 95% interval as a whisker, all on one axis.

Groups and tasks are compared in a dot plot and a heat map, not in a radar chart: a radar has no room for
intervals, its area grows with the square of the values and depends on the order of the spokes, and neighbours on a
circle are harder to compare than positions along one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from markupsafe import Markup

from steelyard.contracts import Interval
from steelyard.reporting.figures import element, group, text_width
from steelyard.reporting.formatting import MINUS, tick_text
from steelyard.reporting.scales import Scale, scale_for

WIDTHS = {"wide": 920.0, "narrow": 400.0}
ROW_HEIGHT = {"wide": 28.0, "narrow": 42.0}
MANY = 40
"""A plot of more rows than this is folded away until it is asked for."""


@dataclass(frozen=True, slots=True)
class DotRow:
    """One value: its name, the interval, the same in words for the tooltip, and a class (``main`` stands out)."""

    label: str
    interval: Interval
    text: str
    status: str = ""


class DotPlots(NamedTuple):
    """One plot as drawn for wide and for narrow screens; ``folded`` where it has more than :data:`MANY` rows."""

    wide: Markup
    narrow: Markup
    folded: bool


@dataclass(frozen=True, slots=True)
class DotPlot:
    """What a dot plot says apart from its rows.

    ``bounds`` are ends that the axis does not go beyond; ``line`` is drawn at a value that rows are compared with,
    called ``line_text``. ``tick`` prints a value on the axis.
    """

    key: str
    title: str
    axis: str
    bounds: tuple[float, float] = (-math.inf, math.inf)
    line: float | None = None
    line_text: str = ""
    tick: Callable[[float], str] = tick_text
    size: str = "wide"


def percent(value: float) -> str:
    """``0.25`` -> ``"25%"``."""
    return f"{100 * value:.4g}%".replace("-", MINUS)


def points(value: float) -> str:
    """``-0.05`` -> ``"−5"``: a difference of percentages."""
    return f"{100 * value:+.4g}".replace("-", MINUS) if value else "0"


def dot_plots(plot: DotPlot, rows: Sequence[DotRow]) -> DotPlots | None:
    """The plot for wide and for narrow screens; None without at least two rows."""
    if len(rows) < 2:
        return None
    wide, narrow = (dot_plot(replace(plot, key=f"{plot.key}-{size}", size=size), rows) for size in WIDTHS)
    return DotPlots(wide, narrow, len(rows) > MANY)


def dot_plot(plot: DotPlot, rows: Sequence[DotRow]) -> Markup:
    """One row a value as an ``<svg>`` element; on a narrow screen names stand above their rows."""
    width, step, narrow = WIDTHS[plot.size], ROW_HEIGHT[plot.size], plot.size == "narrow"
    left = 12.0 if narrow else min(max(text_width(row.label) for row in rows) + 16, 300.0)
    right, top = width - 16, 22.0 if plot.line_text else 8.0
    bottom = top + step * len(rows)
    scale = _scale(plot, rows, (left + 8, right))
    content = group(
        element("title", plot.title, id=f"{plot.key}-t"),
        element("desc", f"{len(rows)} values with their 95% intervals.", id=f"{plot.key}-d"),
        _axis(plot, scale, (left, right), (top, bottom)),
        *(_row(row, scale, top + step * i, plot.size, left) for i, row in enumerate(rows)),
    )
    return element(
        "svg",
        content,
        class_="plot dots",
        viewBox=f"0 0 {width:g} {bottom + 50:g}",
        role="img",
        aria_labelledby=f"{plot.key}-t {plot.key}-d",
    )


def _scale(plot: DotPlot, rows: Sequence[DotRow], extent: tuple[float, float]) -> Scale:
    ends = [v for row in rows for v in row.interval[:3] if math.isfinite(v)]
    if plot.line is not None:
        ends.append(plot.line)
    low, high = scale_for(ends, extent).domain
    return Scale((max(low, plot.bounds[0]), min(high, plot.bounds[1])), extent)


def _axis(plot: DotPlot, scale: Scale, across: tuple[float, float], down: tuple[float, float]) -> Markup:
    parts = []
    for tick in scale.ticks(5 if plot.size == "narrow" else 8):
        x = scale(tick)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=down[0], y2=down[1]))
        parts.append(element("text", plot.tick(tick), class_="tick mid", x=x, y=down[1] + 18))
    if plot.line is not None:
        x = scale(plot.line)
        half = text_width(plot.line_text, 12) / 2
        place = min(max(x, across[0] + half), across[1] - half)
        parts.append(element("line", class_="against", x1=x, x2=x, y1=down[0], y2=down[1]))
        parts.append(element("text", plot.line_text, class_="against-text mid", x=place, y=down[0] - 8))
    middle = (across[0] + across[1]) / 2
    parts.append(element("line", class_="axis", x1=across[0], x2=across[1], y1=down[1], y2=down[1]))
    parts.append(element("text", plot.axis, class_="title mid", x=middle, y=down[1] + 40))
    return group(*parts)


def _row(row: DotRow, scale: Scale, top: float, size: str, left: float) -> Markup:
    narrow = size == "narrow"
    middle = top + ROW_HEIGHT[size] / 2 + (8 if narrow else 0)
    room = WIDTHS[size] - 24 if narrow else left - 12
    label = shortened(row.label, room)
    if narrow:
        name = element("text", label, class_="name", x=12, y=middle - 12)
    else:
        name = element("text", label, class_="name end", x=left - 4, y=middle + 4.5)
    value, low, high = (scale(v) for v in row.interval[:3])
    bar = f"M{low:.1f} {middle:.1f}H{high:.1f}"
    for end in (row.interval.low, row.interval.high):
        if scale.domain[0] <= end <= scale.domain[1]:  # no cap where the interval runs out of the picture
            bar += f"M{scale(end):.1f} {middle - 4:.1f}v8"
    return element(
        "g",
        group(
            element("title", f"{row.label}: {row.text}"),
            element("rect", class_="hit", x=0, y=top, width=WIDTHS[size], height=ROW_HEIGHT[size]),
            name,
            element("path", class_="error", d=bar),
            element("circle", class_="dot", cx=value, cy=middle, r=5),
        ),
        class_=f"row {row.status}".strip(),
    )


def shortened(text: str, room: float) -> str:
    """The text, cut off with an ellipsis where it is wider than ``room`` pixels."""
    if text_width(text) <= room:
        return text
    while text and text_width(text) + 8 > room:
        text = text[:-1]
    return f"{text.rstrip()}…"
