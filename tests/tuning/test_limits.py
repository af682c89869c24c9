"""Limits as typed."""

from __future__ import annotations

import pytest

from steelyard.errors import UsageError
from steelyard.tuning.limits import Limits, parse_limits


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], Limits()),
        (["memory=600MB"], Limits(600_000_000, None)),
        (["memory=1.5GiB,latency=300ms"], Limits(1_610_612_736, 0.3)),
        (["latency=2s", "latency=2000ms"], Limits(None, 2.0)),
        ({"memory": "1 GB"}, Limits(10**9, None)),
    ],
)
def test_limits_are_read(texts: list[str] | dict[str, str], expected: Limits) -> None:
    assert parse_limits(texts) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("memory=600", "a number and a unit"),
        ("memory=-5MB", "a number and a unit"),
        ("memory=0MB", "more than zero"),
        ("memroy=5MB", "did you mean 'memory'"),
        ("memory", "name=value"),
        ("latency=5MB", "ms, s, min"),
        ("memory=1MB,memory=2MB", "contradictory"),
        ("memory=1.2.3MB", "not a number"),
    ],
)
def test_wrong_limits_are_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_limits([text])
    assert "\n" not in str(caught.value)
