"""Hand-drawn SVG for the report: pure functions from points to markup.

Colours and strokes come from the page's style sheet by class, so one drawing serves light, dark and print.
Every text passes through ``markupsafe`` and is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from steelyard.contracts import Interval
from steelyard.reporting.formatting import Units, tick_text
from steelyard.reporting.scales import Anchor, Box, Scale, place_labels, scale_for

RADII = (5.0, 15.0)
"""Radius in pixels of the smallest and the largest point."""

LABEL_HEIGHT = 17.0


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate in the plot. ``x`` is its cost, with bounds where they were measured; ``memory`` in bytes
    sets the size; ``lines`` are shown as the tooltip.
    """

    anchor: str
    index: int
    label: str
    name: str
    x: Interval
    quality: Interval
    memory: float | None
    status: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its title, the units of its ticks, and a limit to draw (None: none)."""

    title: str
    units: Units = ()
    limit: float | None = None
    limit_text: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """What :func:`frontier_plot` draws, apart from the points.

    ``frontier`` holds indices of points; ``fraction`` says that quality is printed as percentages.
    """

    key: str
    width: float
    height: float
    x: Axis
    y: Axis
    frontier: tuple[int, ...]
    fraction: bool
    higher_is_better: bool
    title: str
    description: str


def text_width(text: str, size: float = 13.0) -> float:
    """Roughly how wide a text of a system font is, in pixels: half an em for narrow letters, more for wide."""
    wide = sum(1.0 if ord(c) > 0x2E80 else 0.72 if c.isupper() or c in "mwMW@%" else 0.54 for c in text)
    return wide * size


def radius_of(memory: float | None, largest: float) -> float:
    """The radius of a point, so that the area beyond the smallest point grows with memory."""
    if memory is None or largest <= 0:
        return RADII[0]
    share = math.sqrt(min(max(memory / largest, 0.0), 1.0))
    return RADII[0] + share * (RADII[1] - RADII[0])


def pareto_front(points: Sequence[Point], members: Sequence[int], higher_is_better: bool) -> list[Point]:
    """The members that no other member beats on both quality and cost, by rising cost.

    A frontier may count more than this plot's axis (memory beside latency): members that only another axis
    keeps on it are left out of the line.
    """
    sign = 1.0 if higher_is_better else -1.0
    front: list[Point] = []
    wanted = set(members)
    for point in sorted(points, key=lambda p: (p.x.value, -sign * p.quality.value)):
        if point.index in wanted and (not front or sign * (point.quality.value - front[-1].quality.value) > 0):
            front.append(point)
    return front


def element(name: str, content: str = "", /, **attributes: str | float) -> Markup:
    """An SVG element: numbers with at most one decimal, texts escaped, ``class_`` for ``class``, ``_`` for ``-``.

    >>> str(element("circle", class_="dot", cx=1.25, r=3))
    '<circle class="dot" cx="1.2" r="3"></circle>'
    """
    parts = Markup("")
    for key, value in attributes.items():
        text = value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
        parts += Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), text)
    return Markup("<{}{}>{}</{}>").format(name, parts, content, name)


def group(*parts: Markup) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def frontier_plot(plot: Plot, points: Sequence[Point]) -> Markup:
    """Quality with its interval against a cost, one linked point per candidate, as an ``<svg>`` element."""
    narrow = plot.width < 600
    left, right, top, bottom = (60, 12, 14, 50) if narrow else (62, 20, 14, 54)
    area = Box(left, top, plot.width - right, plot.height - bottom)
    scales = _scales(plot, points, area)
    largest = max((p.memory or 0.0 for p in points), default=0.0)
    # the larger points first, so that no point is hidden beneath a larger one; the winner last, on top
    ordered = sorted(points, key=lambda p: (p.status == "winner", p.status != "dropped", -(p.memory or 0.0)))
    content = group(
        element("title", plot.title, id=f"{plot.key}-t"),
        element("desc", plot.description, id=f"{plot.key}-d"),
        _axes(plot, scales, area, 5 if narrow else 8),
        _limits(plot, scales, area),
        _line(pareto_front(points, plot.frontier, plot.higher_is_better), scales, area),
        *(_point(p, scales, largest) for p in ordered),
        _labels(plot, points, scales, largest, area),
    )
    return element(
        "svg",
        content,
        class_="plot",
        viewBox=f"0 0 {plot.width:g} {plot.height:g}",
        role="group",
        aria_labelledby=f"{plot.key}-t {plot.key}-d",
    )


def interval_bar(interval: Interval, domain: tuple[float, float], status: str = "kept") -> Markup:
    """A small bar of one interval on a shared scale, for a table cell."""
    width, height, middle = 120.0, 14.0, 7.0
    scale = Scale(domain, (3, width - 3))
    content = group(
        element("line", class_="rail", x1=0, x2=width, y1=middle, y2=middle),
        element("line", class_="range", x1=scale(interval.low), x2=scale(interval.high), y1=middle, y2=middle),
        element("circle", class_="dot", cx=scale(interval.value), cy=middle, r=3.5),
    )
    return _small("bar", status, width, height, content)


def share_bar(share: float, label: str) -> Markup:
    """A horizontal bar filled to ``share`` (0 to 1)."""
    filled = 400 * min(max(share, 0.0), 1.0)
    content = group(
        element("rect", class_="rail", width=400, height=10, rx=2),
        element("rect", class_="fill", width=filled, height=10, rx=2),
    )
    return element(
        "svg",
        content,
        class_="share",
        viewBox="0 0 400 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def mark(status: str, radius: float = 6.5) -> Markup:
    """The point of a status alone, for legends and tables."""
    extent = 2 * radius + (10 if status == "winner" else 3)
    centre = extent / 2
    halo = element("circle", class_="halo", cx=centre, cy=centre, r=radius + 3.5)
    dot = element("circle", class_="dot", cx=centre, cy=centre, r=radius)
    return _small("mark pt", status, extent, extent, group(halo, dot))


def _small(name: str, status: str, width: float, height: float, content: Markup) -> Markup:
    """A drawing inside a line of text: decoration, since the text beside it says the same."""
    box = f"0 0 {width:g} {height:g}"
    return element(
        "svg", content, class_=f"{name} s-{status}", viewBox=box, width=width, height=height, aria_hidden="true"
    )


def _scales(plot: Plot, points: Sequence[Point], area: Box) -> tuple[Scale, Scale]:
    costs = [v for p in points for v in (p.x.value, p.x.low, p.x.high)]
    # the wide intervals of what was dropped early run out of the picture rather than squeeze the rest
    values = [v for p in points for v in (p.quality[:3] if p.status != "dropped" else p.quality[:1])]
    # a limit is drawn where it lies near what was measured; a distant one would squeeze the plot
    if plot.x.limit is not None and costs and min(costs) / 2 <= plot.x.limit <= 2 * max(costs):
        costs.append(plot.x.limit)
    if plot.y.limit is not None:
        values.append(plot.y.limit)
    costs, values = ([v for v in known if math.isfinite(v)] for known in (costs, values))
    x_scale = scale_for(costs, (area.left + 18, area.right - 18), positive=True)
    y_scale = scale_for(values, (area.bottom, area.top))
    if plot.fraction:
        low, high = y_scale.domain
        y_scale = Scale((max(low, 0.0), min(high, 1.0)), y_scale.extent)
    return x_scale, y_scale


def _axes(plot: Plot, scales: tuple[Scale, Scale], area: Box, count: int) -> Markup:
    x_scale, y_scale = scales
    parts = []
    for tick in y_scale.ticks(6):
        y = y_scale(tick)
        text = f"{100 * tick:.4g}%" if plot.fraction else tick_text(tick, plot.y.units)
        parts.append(element("line", class_="grid", x1=area.left, x2=area.right, y1=y, y2=y))
        parts.append(element("text", text, class_="tick end", x=area.left - 8, y=y + 4))
    for tick in x_scale.ticks(count):
        x = x_scale(tick)
        parts.append(element("line", class_="tickmark", x1=x, x2=x, y1=area.bottom, y2=area.bottom + 5))
        parts.append(element("text", tick_text(tick, plot.x.units), class_="tick mid", x=x, y=area.bottom + 20))
    middle_x, middle_y = (area.left + area.right) / 2, (area.top + area.bottom) / 2
    title = plot.x.title + (", log scale" if x_scale.log else "")
    return group(
        *parts,
        element("line", class_="axis", x1=area.left, x2=area.right, y1=area.bottom, y2=area.bottom),
        element("text", title, class_="title mid", x=middle_x, y=area.bottom + 42),
        element("text", plot.y.title, class_="title mid", transform=f"translate(13 {middle_y:g}) rotate(-90)"),
    )


def _limits(plot: Plot, scales: tuple[Scale, Scale], area: Box) -> Markup:
    x_scale, y_scale = scales
    parts = []
    limit = plot.x.limit
    if limit is not None and x_scale.domain[0] <= limit <= x_scale.domain[1]:
        x, height = x_scale(limit), area.bottom - area.top
        parts += [
            element("rect", class_="beyond", x=x, y=area.top, width=area.right - x, height=height),
            element("line", class_="limit", x1=x, x2=x, y1=area.top, y2=area.bottom),
            element("text", plot.x.limit_text, class_="limit-text end", x=x - 6, y=area.top + 11),
        ]
    if plot.y.limit is not None:
        y = y_scale(plot.y.limit)
        parts += [
            element("line", class_="limit", x1=area.left, x2=area.right, y1=y, y2=y),
            element("text", plot.y.limit_text, class_="limit-text end", x=area.right - 4, y=y - 5),
        ]
    return group(*parts)


def _line(front: Sequence[Point], scales: tuple[Scale, Scale], area: Box) -> Markup:
    """A staircase: the best quality to be had at each cost or less."""
    if not front:
        return Markup("")
    x_scale, y_scale = scales
    path = f"M{x_scale(front[0].x.value):.1f} {y_scale(front[0].quality.value):.1f}"
    for point in front[1:]:
        path += f"H{x_scale(point.x.value):.1f}V{y_scale(point.quality.value):.1f}"
    return element("path", class_="front", d=f"{path}H{area.right:g}")


def _point(point: Point, scales: tuple[Scale, Scale], largest: float) -> Markup:
    x_scale, y_scale = scales
    x, y = x_scale(point.x.value), y_scale(point.quality.value)
    radius = radius_of(point.memory, largest)
    bar = f"M{x:.1f} {y_scale(point.quality.high):.1f}V{y_scale(point.quality.low):.1f}"
    for end in (point.quality.high, point.quality.low):
        if y_scale.domain[0] <= end <= y_scale.domain[1]:  # no cap where the interval runs out of the picture
            bar += f"M{x - 4:.1f} {y_scale(end):.1f}h8"
    left, right = x_scale(point.x.low), x_scale(point.x.high)
    across = element("line", class_="error thin", x1=left, x2=right, y1=y, y2=y)
    content = group(
        element("title", "\n".join((point.name, *point.lines))),
        element("path", class_="error", d=bar),
        across if right - left > 2 * radius else Markup(""),
        element("circle", class_="hit", cx=x, cy=y, r=max(radius, 14)),
        element("circle", class_="halo", cx=x, cy=y, r=radius + 4),
        element("circle", class_="dot", cx=x, cy=y, r=radius),
    )
    name = f"{point.name}: {'; '.join(point.lines)}"
    return element(
        "a",
        content,
        class_=f"pt s-{point.status}",
        href=f"#{point.anchor}",
        data_index=str(point.index),
        aria_label=name,
    )


def _labels(plot: Plot, points: Sequence[Point], scales: tuple[Scale, Scale], largest: float, area: Box) -> Markup:
    """Names beside the winner and the frontier, placed so that nothing overlaps."""
    x_scale, y_scale = scales
    named = [p for p in points if p.status == "winner" or p.index in plot.frontier]
    named.sort(key=lambda p: (p.status != "winner", -p.quality.value))
    anchors: list[Anchor] = []
    obstacles, soft = _limit_boxes(plot, scales, area), list[Box]()
    for point in points:
        x, y, radius = x_scale(point.x.value), y_scale(point.quality.value), radius_of(point.memory, largest) + 2
        obstacles.append(Box(x - radius, y - radius, x + radius, y + radius))
        bar = Box(x - 4, y_scale(point.quality.high), x + 4, y_scale(point.quality.low))
        (soft if point.status == "dropped" else obstacles).append(bar)
    front = pareto_front(points, plot.frontier, plot.higher_is_better)
    corners = [x_scale(p.x.value) for p in front[1:]] + [area.right]
    for point, end in zip(front, corners, strict=False):
        y = y_scale(point.quality.value)
        soft.append(Box(x_scale(point.x.value), y - 2, end, y + 2))
    for point in named:
        width = text_width(point.label) + 4
        radius = radius_of(point.memory, largest) + (4 if point.status == "winner" else 0)
        x, y = x_scale(point.x.value), y_scale(point.quality.value)
        anchors.append(Anchor(x, y, radius, width, LABEL_HEIGHT, must=point.status == "winner"))
    parts = Markup("")
    for point, anchor, box in zip(named, anchors, place_labels(anchors, obstacles, area, soft), strict=True):
        if box is not None:
            parts += _label(point, anchor, box)
    return parts


def _limit_boxes(plot: Plot, scales: tuple[Scale, Scale], area: Box) -> list[Box]:
    """What the lines and texts of limit and target cover."""
    x_scale, y_scale = scales
    boxes = []
    if plot.x.limit is not None and x_scale.domain[0] <= plot.x.limit <= x_scale.domain[1]:
        x = x_scale(plot.x.limit)
        boxes += [
            Box(x - 2, area.top, x + 2, area.bottom),
            Box(x - 6 - text_width(plot.x.limit_text), area.top, x, area.top + 15),
        ]
    if plot.y.limit is not None:
        y = y_scale(plot.y.limit)
        boxes += [Box(area.right - 8 - text_width(plot.y.limit_text), y - 18, area.right, y + 2)]
    return boxes


def _label(point: Point, anchor: Anchor, box: Box) -> Markup:
    middle_x, middle_y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    # a leader line where the label had to move away from its point
    near_x, near_y = min(max(anchor.x, box.left), box.right), min(max(anchor.y, box.top), box.bottom)
    distance = math.hypot(near_x - anchor.x, near_y - anchor.y)
    text = element("text", point.label, class_=f"label s-{point.status} mid", x=middle_x, y=middle_y + 4.5)
    if distance <= anchor.radius + 12:
        return text
    share = anchor.radius / distance
    start_x, start_y = anchor.x + share * (near_x - anchor.x), anchor.y + share * (near_y - anchor.y)
    return group(element("line", class_="leader", x1=start_x, y1=start_y, x2=near_x, y2=near_y), text)
