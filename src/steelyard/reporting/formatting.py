"""Numbers as people read them: percentages, intervals, times, sizes and ratios with consistent digits.

Every function takes plain numbers in base units (seconds, bytes) and returns text; a missing or non-finite
number becomes an en dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Interval

DASH = "–"
MINUS = "−"
SECONDS = ((1.0, " s"), (1e-3, " ms"), (1e-6, " µs"))
BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B"))
COUNTS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"), (1.0, ""))
OPERATIONS = ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, ""))
NOT_FRACTIONS = ("bits", "perplexity", "nats", "loss", "logprob", "count", "length", "tokens")


def finite(value: Any) -> float | None:
    """``value`` as a float, or None where it is missing, not a number, infinite or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def interval_of(record: Any) -> Interval | None:
    """An :class:`Interval` from its record ``{"value", "low", "high", "n"}``; None where there is no value.

    A bound that is missing or not finite is infinite: nothing is known about it.
    """
    if not isinstance(record, Mapping):
        return None
    value = finite(record.get("value"))
    if value is None:
        return None
    low, high = finite(record.get("low")), finite(record.get("high"))
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return Interval(value, low, high, int(finite(record.get("n")) or 0))


def significant(value: float | None, digits: int = 3) -> str:
    """``value`` with that many significant digits, without an exponent.

    >>> significant(0.084249), significant(9.996), significant(134515), significant(-1.5)
    ('0.0842', '10.0', '134,515', '−1.50')
    """
    number = finite(value)
    if number is None:
        return DASH
    if number == 0:
        return "0"
    rounded = round(number, digits - 1 - math.floor(math.log10(abs(number))))
    decimals = min(max(digits - 1 - math.floor(math.log10(abs(rounded))), 0), 12)
    text = f"{number:,.0f}" if decimals == 0 else f"{rounded:,.{decimals}f}"
    return text.replace("-", MINUS)


Units = Sequence[tuple[float, str]]


def tick_text(value: float, units: Units = ()) -> str:
    """A round value on an axis, in the largest fitting unit and without trailing zeros: ``"50 ms"``."""
    for factor, unit in units:
        if abs(value) >= factor * (1 - 1e-9) or factor == units[-1][0]:
            return f"{value / factor:.4g}{unit}".replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


def _scaled(value: float | None, units: Units, digits: int = 3) -> str:
    """``value`` in the largest unit that keeps the printed number at 1 or more."""
    number = finite(value)
    if number is None:
        return DASH
    for factor, unit in units:
        # 999.6 kB prints as "1,000 kB" with three digits: the next larger unit is the honest one
        if abs(number) / factor >= 1 - 0.5 * 10.0**-digits:
            return f"{significant(number / factor, digits)}{unit}"
    factor, unit = units[-1]
    return f"{significant(number / factor, digits)}{unit}"


def seconds_text(value: float | None) -> str:
    """A latency: ``"842 ms"``, ``"1.23 s"``, ``"56.0 µs"``."""
    return _scaled(value, SECONDS)


def duration_text(value: float | None) -> str:
    """How long a run took: ``"8 min 05 s"``, ``"2 h 10 min"``; below a minute as :func:`seconds_text`."""
    number = finite(value)
    if number is None or number < 60:
        return seconds_text(number)
    minutes, seconds = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def bytes_text(value: float | None) -> str:
    """A size in decimal units: ``"138 MB"``, ``"1.08 GB"``."""
    return _scaled(value, BYTES)


def count_text(value: float | None) -> str:
    """A large count in short form: ``"135M"``, ``"1.24B"``."""
    return _scaled(value, COUNTS)


def operations_text(value: float | None) -> str:
    """Arithmetic operations: ``"2.10 G"``, with SI prefixes."""
    return _scaled(value, OPERATIONS)


def integer_text(value: float | None) -> str:
    """``1440`` -> ``"1,440"``."""
    number = finite(value)
    return DASH if number is None else f"{number:,.0f}".replace("-", MINUS)


def ratio_text(ratio: Interval | None) -> str:
    """``"1.8x [1.7, 1.9]"``; bounds are left out where they equal the value or are not known."""
    if ratio is None:
        return DASH
    text = f"{significant(ratio.value, 2)}x"
    if ratio.low == ratio.value == ratio.high or not math.isfinite(ratio.high - ratio.low):
        return text
    return f"{text} [{significant(ratio.low, 2)}, {significant(ratio.high, 2)}]"


def p_value_text(value: float | None) -> str:
    """``"p = 0.71"``, ``"p < 0.001"``, with spaces that do not break."""
    number = finite(value)
    if number is None:
        return DASH
    if number < 0.001:
        return "p\u00a0<\u00a00.001"
    return f"p\u00a0=\u00a0{significant(number, 2)}" if number < 0.995 else "p\u00a0=\u00a01"


def share_text(part: float | None, whole: float | None) -> str:
    """``part`` of ``whole`` as a rounded percentage; a part never rounds up to all or down to nothing."""
    first, second = finite(part), finite(whole)
    if first is None or not second:
        return DASH
    percent = round(100 * first / second)
    if 0 < first < second:
        percent = min(max(percent, 1), 99)
    return f"{percent}%"


@dataclass(frozen=True, slots=True)
class Measure:
    """How to print the values of one metric.

    ``fraction`` metrics lie in [0, 1] and are printed as percentages, their differences in points; others
    (bits per byte, perplexity) with three significant digits.
    """

    name: str
    fraction: bool
    higher_is_better: bool = True

    def value(self, value: float | None) -> str:
        """``0.6167`` -> ``"61.7%"`` or ``"0.617"``."""
        number = finite(value)
        if number is None:
            return DASH
        return f"{100 * number:.1f}%".replace("-", MINUS) if self.fraction else significant(number)

    def bounds(self, interval: Interval | None) -> str:
        """``"[52.7, 69.9]"``."""
        if interval is None:
            return DASH
        return f"[{self._bare(interval.low)}, {self._bare(interval.high)}]"

    def interval(self, interval: Interval | None) -> str:
        """``"61.7% [52.7, 69.9]"``."""
        return DASH if interval is None else f"{self.value(interval.value)} {self.bounds(interval)}"

    def difference(self, interval: Interval | None) -> str:
        """``"−0.8 [−5.0, +3.4]"`` in points (fractions) or in the metric's own unit."""
        if interval is None:
            return DASH
        value, low, high = (self._signed(v) for v in interval[:3])
        return f"{value} [{low}, {high}]"

    @property
    def difference_unit(self) -> str:
        """What differences are counted in."""
        return "points" if self.fraction else self.name.replace("_", " ")

    def _bare(self, value: float) -> str:
        if math.isinf(value):
            return "∞" if value > 0 else f"{MINUS}∞"
        return f"{100 * value:.1f}".replace("-", MINUS) if self.fraction else significant(value)

    def _signed(self, value: float) -> str:
        text = self._bare(value)
        if text.strip("0.,−") == "":
            return text.lstrip(MINUS)
        return text if text.startswith(MINUS) else f"+{text}"


def measure_of(name: str, intervals: Iterable[Interval | None], higher_is_better: bool = True) -> Measure:
    """The way to print ``name``: as a percentage where every value and bound lies in [0, 1] and the name does
    not say otherwise.
    """
    known = [bound for i in intervals if i is not None for bound in i[:3] if math.isfinite(bound)]
    named = any(word in name.lower() for word in NOT_FRACTIONS)
    inside = all(-1e-9 <= bound <= 1 + 1e-9 for bound in known)
    return Measure(name, inside and not named and higher_is_better, higher_is_better)
