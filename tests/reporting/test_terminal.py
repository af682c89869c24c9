import io
from typing import Any

import pytest
from rich.console import Console

from steelyard.errors import InputError
from steelyard.reporting.terminal import show_record, show_runs


def printed(show: Any, value: Any, **options: Any) -> str:
    stream = io.StringIO()
    show(value, Console(file=stream, **options))
    return stream.getvalue()


def test_a_pipe_gets_one_unfolded_line_per_candidate(record: dict[str, Any]) -> None:
    text = printed(show_record, record, width=40)
    assert "\x1b" not in text
    lines = [line for line in text.splitlines() if line.startswith(("★", "●", "·", "○", "✗"))]
    assert len(lines) == len(record["candidates"]) + 1  # and the legend
    winner = next(c for c in record["candidates"] if c["status"] == "winner")
    assert lines[0].startswith("★  int8, plain, 2 shots")
    assert f"{100 * winner['quality']['value']:.1f}%" in lines[0]
    assert "163 MB" in lines[0]
    assert text.count("•") == 3
    assert "measured 68% of all cells" in text
    assert "the exhaustive run agrees" in text


def test_a_terminal_gets_colours_and_its_own_width(record: dict[str, Any]) -> None:
    text = printed(show_record, record, width=110, force_terminal=True, color_system="standard")
    assert "\x1b[" in text


def test_names_and_findings_are_data(record: dict[str, Any]) -> None:
    record["candidates"][0]["label"] = "[bold]x[/bold]\x1b[31m, evil"
    record["findings"] = ["[link=file:///etc]here[/link]\x1b]0;title\x07"]
    text = printed(show_record, record)
    assert "[bold]x[/bold]" in text
    assert "[link=file:///etc]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_eval_records_and_wrong_records(eval_record: dict[str, Any]) -> None:
    assert "61.7% [52.7, 69.9]" in printed(show_record, eval_record)
    with pytest.raises(InputError, match="kind is 'serve'"):
        printed(show_record, dict(eval_record, kind="serve"))


def test_runs() -> None:
    run = {
        "id": "r1",
        "verb": "eval",
        "status": "done",
        "created": "2026-11-23T09:14:05Z",
        "finding": "It [works].",
    }
    text = printed(show_runs, [run])
    assert "r1" in text
    assert "2026-11-23 09:14:05 UTC" in text
    assert "It [works]." in text
    assert printed(show_runs, []).strip() == "no runs yet"
