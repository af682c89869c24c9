"""Amounts with units as people write them: ``600MB``, ``300ms``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from steelyard.errors import UsageError

MEMORY_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
TIME_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0}


def quantity(name: str, text: str, units: Mapping[str, float]) -> float:
    """The amount that ``text`` says, in the unit whose factor is 1.

    Raises :class:`UsageError`, naming the limit ``name``, for an unknown unit and a value that is not positive.

    >>> quantity("memory", "600MB", MEMORY_UNITS)
    600000000.0
    """
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([a-zA-Z]*)", text)
    unit = (match[2] if match else "").lower()
    if match is None or unit not in units:
        raise UsageError(f"limit {name}={text}: write a number and a unit ({', '.join(units)})")
    try:
        value = float(match[1]) * units[unit]
    except ValueError as error:
        raise UsageError(f"limit {name}={text}: {match[1]!r} is not a number") from error
    if not (0 < value < math.inf):
        raise UsageError(f"limit {name}={text}: must be more than zero, or no system can keep it")
    return value


def memory_bytes(size: str | int) -> int:
    """A size in bytes, from a text such as ``"600MB"`` or from a number of bytes.

    >>> memory_bytes("1GiB"), memory_bytes(1000)
    (1073741824, 1000)
    """
    return int(quantity("memory", f"{size}B" if isinstance(size, int) else size.strip(), MEMORY_UNITS))
