"""Geometry of a plot: ticks, scales and the placement of labels. Pure functions, no drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LOG_FROM = 5.0
"""A positive axis whose largest value is at least this many times its smallest is drawn on a log scale."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A map from the data interval ``domain`` to the pixel interval ``extent``, linear or logarithmic."""

    domain: tuple[float, float]
    extent: tuple[float, float]
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of ``value``; values outside the domain land on its edge."""
        low, high = self.domain
        value = min(max(value, low), high)
        part, whole = (math.log(value / low), math.log(high / low)) if self.log else (value - low, high - low)
        share = part / whole
        return self.extent[0] + share * (self.extent[1] - self.extent[0])

    def ticks(self, count: int = 6) -> list[float]:
        """About ``count`` round values inside the domain."""
        return log_ticks(*self.domain, count) if self.log else linear_ticks(*self.domain, count)


def scale_for(values: Sequence[float], extent: tuple[float, float], *, positive: bool = False) -> Scale:
    """A scale that shows all ``values`` with some room; logarithmic where ``positive`` and the range is wide."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if positive and low > 0 and high / low >= LOG_FROM:
        room = (high / low) ** 0.06
        return Scale((low / room, high * room), extent, log=True)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    floor = 0.0 if positive and low >= 0 else -math.inf
    return Scale((max(low - room, floor), high + room), extent)


def linear_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten inside [low, high], at most ``count``.

    >>> linear_ticks(0.13, 0.92, 5)
    [0.2, 0.4, 0.6, 0.8]
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / max(count, 1)))
    for factor in (1, 2, 2.5, 5, 10, 20, 50):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= count:
            break
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)] or [low]


def log_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round values inside [low, high]: as many steps per power of ten as fit into ``count``.

    >>> log_ticks(8, 300)
    [10.0, 20.0, 50.0, 100.0, 200.0]
    >>> log_ticks(23, 170)
    [30.0, 50.0, 70.0, 100.0, 150.0]
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{f * 10.0**e:.6g}") for e in exponents for f in factors]
        ticks = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
        if len(ticks) <= count:
            break
    stride = math.ceil(len(ticks) / count) if ticks else 1
    return ticks[::stride] if len(ticks) >= 2 else linear_ticks(low, high, count)


class Box(NamedTuple):
    """An axis-parallel rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area two boxes share, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def inside(self, other: Box) -> bool:
        """Whether this box lies wholly within ``other``."""
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


class Anchor(NamedTuple):
    """A point that wants a label of the given size (pixels); ``must`` labels are placed at any price."""

    x: float
    y: float
    radius: float
    width: float
    height: float
    must: bool = False


def candidate_boxes(anchor: Anchor, gap: float = 5.0) -> list[Box]:
    """Where a label may sit, best first: right, left, above, below, the corners, then the same further out."""
    boxes = []
    for reach in (gap, gap + 12, gap + 26, gap + 44):
        side = anchor.radius + reach
        corner = 0.7 * anchor.radius + reach
        half_w, half_h = anchor.width / 2, anchor.height / 2
        centres = [
            (side + half_w, 0.0),
            (corner + half_w, -corner),
            (corner + half_w, corner),
            (-side - half_w, 0.0),
            (-corner - half_w, -corner),
            (-corner - half_w, corner),
            (0.0, -side - half_h),
            (0.0, side + half_h),
        ]
        for dx, dy in centres:
            x, y = anchor.x + dx, anchor.y + dy
            boxes.append(Box(x - half_w, y - half_h, x + half_w, y + half_h))
    return boxes


def place_labels(
    anchors: Sequence[Anchor], obstacles: Sequence[Box], bounds: Box, soft: Sequence[Box] = ()
) -> list[Box | None]:
    """Boxes for the anchors' labels, free of each other and of ``obstacles``, or None where nothing is free.

    Greedy in the given order, so put what matters first. Places that are also free of the ``soft`` obstacles
    are preferred. A ``must`` label that finds no free place takes the place inside ``bounds`` that covers
    least of the obstacles, but never another label.
    """
    placed: list[Box | None] = []
    for anchor in anchors:
        labels = [box for box in placed if box is not None]
        choices = [
            b for b in candidate_boxes(anchor) if b.inside(bounds) and not any(b.overlap(o) for o in labels)
        ]
        open_places = [b for b in choices if not any(b.overlap(o) for o in obstacles)]
        free = min(open_places, key=lambda b: sum(b.overlap(o) for o in soft), default=None)
        if free is None and anchor.must and choices:
            free = min(choices, key=lambda b: sum(b.overlap(o) for o in obstacles))
        placed.append(free)
    return placed
