"""Limits a system must keep: memory and latency, as written on a command line or in a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from steelyard.errors import UsageError
from steelyard.parts import nearest
from steelyard.quantities import MEMORY_UNITS, TIME_UNITS, quantity

UNITS: Mapping[str, Mapping[str, float]] = {"memory": MEMORY_UNITS, "latency": TIME_UNITS}


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds; ``None`` is no bound.

    ``memory_bytes`` bounds parameters and buffers in memory, ``latency_seconds`` the median seconds of one
    answer asked alone.
    """

    memory_bytes: int | None = None
    latency_seconds: float | None = None


def parse_limits(texts: Iterable[str] | Mapping[str, str | float]) -> Limits:
    """Read ``["memory=600MB,latency=300ms"]`` or ``{"memory": "600MB"}``.

    Raises :class:`UsageError` for an unknown name or unit, a value that is not positive, and a limit that is
    given twice with different values.

    >>> parse_limits(["memory=600MB", "latency=300ms"])
    Limits(memory_bytes=600000000, latency_seconds=0.3)
    """
    found: dict[str, float] = {}
    for name, text in _pairs(texts):
        units = UNITS.get(name)
        if units is None:
            raise UsageError(
                f"unknown limit {name!r}{nearest(name, ['memory', 'latency'])}; known: memory, latency"
            )
        value = quantity(name, text, units)
        if found.setdefault(name, value) != value:
            raise UsageError(f"contradictory limits: {name} is given twice with different values; give it once")
    memory = found.get("memory")
    return Limits(None if memory is None else int(memory), found.get("latency"))


def _pairs(texts: Iterable[str] | Mapping[str, str | float]) -> Iterable[tuple[str, str]]:
    if isinstance(texts, Mapping):
        yield from ((str(name), str(value)) for name, value in texts.items())
        return
    for text in texts:
        for piece in text.split(","):
            name, separator, value = piece.partition("=")
            if not separator:
                raise UsageError(f"limit {piece!r} is not of the form name=value, such as memory=600MB")
            yield name.strip(), value.strip()
