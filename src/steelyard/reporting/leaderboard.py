"""The leaderboard of a rank record in a terminal: scores with intervals, paired tests, judges, findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from steelyard.evaluation.statistics import interval_text
from steelyard.reporting import formatting as fmt
from steelyard.reporting.terminal import clean, show_line, show_rows

MISSING = "–"
SHARES = ("ties", "unreadable", "inconsistent", "first shown")


def show_leaderboard(record: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what a rank record found: best first, with n and intervals, then who is shown to beat whom."""
    console = console or Console()
    ranking, n = record["ranking"], fmt.integer_text(record["task"]["n"])
    show_line(console, f"{record['task']['name']}: ranked by {record['by']} on {n} samples", "bold")
    show_line(console, "")
    rows = [
        [str(row["rank"]), clean(str(row["name"])), score_text(row), fmt.integer_text(row_n(row, record))]
        for row in ranking["rows"]
    ]
    show_rows(console, ("rank", "system", str(ranking["score_name"]), "n"), rows, [""] * len(rows))
    comparisons = ranking["details"].get("comparisons") or []
    if comparisons:
        show_line(console, "")
        tests = [
            [
                clean(f"{one['first']} against {one['second']}"),
                interval_text(one["difference"]),
                fmt.p_value_text(one["p_holm"]),
                "shown" if one["different"] else "not shown",
            ]
            for one in comparisons
        ]
        show_rows(console, ("system", "difference", "p (Holm)", "difference is"), tests, [""] * len(tests))
    if record["judges"]:
        show_line(console, "")
        seats = [
            [clean(str(judge["name"])), *(share_text(judge.get(name)) for name in SHARES), str(judge["n"])]
            for judge in record["judges"]
        ]
        show_rows(console, ("judge", *SHARES, "n"), seats, [""] * len(seats))
    for line in ("", *(f"• {finding}" for finding in record["findings"])):
        show_line(console, line)


def score_text(row: Mapping[str, Any]) -> str:
    """A score with its interval where there is one."""
    return interval_text(row["interval"]) if row["interval"] else f"{row['score']:.3f}"


def row_n(row: Mapping[str, Any], record: Mapping[str, Any]) -> int:
    """The questions behind a score."""
    return int(row["interval"]["n"] if row["interval"] else record["task"]["n"])


def share_text(share: Mapping[str, Any] | None) -> str:
    """A share of verdicts with its interval; a dash where nothing tells it."""
    return MISSING if share is None else interval_text(share)
