import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Interval
from steelyard.reporting import formatting as fmt


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.084249, "0.0842"), (9.996, "10.0"), (99.96, "100"), (134515, "134,515"), (-1.5, "−1.50")],
)
def test_significant_keeps_three_digits(value: float, text: str) -> None:
    assert fmt.significant(value) == text


@given(st.floats(1e-6, 1e12))
def test_significant_is_within_half_a_digit(value: float) -> None:
    shown = float(fmt.significant(value).replace(",", ""))
    assert abs(shown - value) <= 0.5000001 * 10 ** (math.floor(math.log10(value)) - 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0842, "84.2 ms"),
        (1.234, "1.23 s"),
        (0.9999, "1.00 s"),
        (5.6e-5, "56.0 µs"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert fmt.seconds_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(137_600_000, "138 MB"), (1_077_000_000, "1.08 GB"), (999_700, "1.00 MB"), (12, "12.0 B")]
)
def test_bytes(value: float, text: str) -> None:
    assert fmt.bytes_text(value) == text


def test_durations_from_a_minute_on() -> None:
    assert [fmt.duration_text(s) for s in (12.34, 412.3, 7800)] == ["12.3 s", "6 min 52 s", "2 h 10 min"]


def test_percentages_carry_their_interval() -> None:
    measure = fmt.measure_of("accuracy", [Interval(0.6167, 0.527, 0.699, 120)])
    assert measure.interval(Interval(0.6167, 0.527, 0.699, 120)) == "61.7% [52.7, 69.9]"
    assert measure.difference(Interval(-0.008, -0.05, 0.034, 120)) == "−0.8 [−5.0, +3.4]"
    assert measure.difference(Interval(-0.0002, -0.05, 0.0499, 120)) == "0.0 [−5.0, +5.0]"


def test_metrics_that_are_no_fractions_are_numbers() -> None:
    for name, interval in (
        ("bits_per_byte", Interval(0.91, 0.8, 0.99, 9)),
        ("perplexity", Interval(12.3, 11, 14, 9)),
    ):
        measure = fmt.measure_of(name, [interval], higher_is_better=False)
        assert not measure.fraction
        assert "%" not in measure.interval(interval)
    assert not fmt.measure_of("score", [Interval(0.5, 0.1, 1.7, 9)]).fraction


def test_an_unknown_bound_is_shown_as_unknown() -> None:
    interval = fmt.interval_of({"value": 0.5, "low": None, "high": None, "n": 1})
    assert interval == Interval(0.5, -math.inf, math.inf, 1)
    assert fmt.measure_of("accuracy", [interval]).interval(interval) == "50.0% [−∞, ∞]"


def test_what_is_no_interval_is_none() -> None:
    for value in (None, 0.5, {}, {"value": None}, {"value": math.nan}, {"value": "0.5"}):
        assert fmt.interval_of(value) is None


def test_ratios_p_values_and_shares() -> None:
    assert fmt.ratio_text(Interval(1.81, 1.7, 1.93, 24)) == "1.8x [1.7, 1.9]"
    assert fmt.ratio_text(Interval(1, 1, 1, 24)) == "1.0x"
    assert [fmt.p_value_text(p).replace("\u00a0", " ") for p in (0.0004, 0.0123, 0.71, 1.0, None)] == [
        "p < 0.001",
        "p = 0.012",
        "p = 0.71",
        "p = 1",
        "–",
    ]
    # a part is never rounded to all or nothing
    assert [fmt.share_text(a, 10_000) for a in (1, 4321, 9999, 10_000)] == ["1%", "43%", "99%", "100%"]
