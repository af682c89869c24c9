"""Rows and JSON: what is written can be read back to the last bit, and what cannot be is named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from steelyard.runs.records import RunRecord, from_json, new_run_id, to_json


@pytest.mark.parametrize(
    "value", [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, 10**30, "é\x00\ud800", "\u2028"]
)
def test_json_round_trip(value: object) -> None:
    text = to_json(value)
    text.encode("utf-8")
    assert repr(from_json(text)) == repr(value)
    assert repr(from_json(text.encode("utf-8"))) == repr(value)


def test_json_stays_readable_where_it_can() -> None:
    assert to_json({"answer": "日本"}) == '{"answer":"日本"}'


def test_run_ids_show_their_time() -> None:
    run_id = new_run_id(datetime(2026, 1, 31, 23, 59, 58, 7_999, tzinfo=UTC))
    assert run_id.startswith("20260131-235958007-")


def test_seconds_of_a_run() -> None:
    run = RunRecord("id", "eval", "done", "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:30.500000+00:00", {})
    assert run.seconds == 90.5
