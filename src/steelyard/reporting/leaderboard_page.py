"""The page of a ranking: a leaderboard with intervals, pairwise wins, tests, and what each system costs.

The record, of kind ``rank``, has under ``ranking`` the ``method``, ``score_name``, ``notes`` and the ``rows``,
best first, each with ``rank``, ``name``, ``score`` and ``interval`` (or null). Optional beside it:

``systems``: facts of each name (``model``, ``parameters``, ``memory_bytes``, ``latency``, ``operations``);
``wins``: a matrix of the shares of comparisons that the row's system won, null where there were none, and
``battles``: one of the same shape with their number, both in the order of ``rows``;
``tests``: paired tests with ``first``, ``second``, ``difference``, ``p_value`` (corrected together) and ``n``;
``measurement``: tables such as a judge's agreement with people;
``task`` and ``samples``: what was asked, with an answer a name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.cost_plots import cost_plots, point_of, size_legend
from steelyard.reporting.figures import Point, pareto_front
from steelyard.reporting.formatting import DASH, Measure, finite, interval_of, measure_of
from steelyard.reporting.interval_plots import DotPlot, DotRow, dot_plots, percent
from steelyard.reporting.measurement_views import table_views
from steelyard.reporting.methods import statistics_text
from steelyard.reporting.page import BrowsedTask, Frame, Page, page
from steelyard.reporting.systems_page import quality_bars, system_rows
from steelyard.reporting.task_views import task_view
from steelyard.reporting.views import CandidateView, Cell

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WinRow:
    """How often one system won against each other; ``shades`` run from 0 (never) to 9 (always)."""

    name: str
    cells: tuple[Cell, ...]
    shades: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class TestRow:
    """One paired test between two systems."""

    first: str
    second: str
    difference: Cell
    p_value: Cell
    n: Cell
    shown: bool


def score_record(row: Record) -> dict[str, Any]:
    """A row's score with its interval; where none is defined, a score without bounds."""
    known = interval_of(row.get("interval"))
    return (
        dict(row["interval"])
        if known
        else {"value": row.get("score"), "low": None, "high": None, "n": row.get("n", 0)}
    )


def as_candidates(record: Record) -> dict[str, Any]:
    """The ranking in the form of candidates of a tune, whose views and plots it then shares."""
    ranking = record["ranking"]
    facts = {str(s.get("name")): s for s in record.get("systems") or ()}
    candidates = [
        {
            **facts.get(str(row["name"]), {}),
            "id": str(row["name"]),
            "label": str(row["name"]),
            "quality": score_record(row),
            "status": "kept",
            "reason": "",
        }
        for row in ranking["rows"]
    ]
    task = {"metric": ranking["score_name"], "higher_is_better": True}
    return {"kind": "rank", "task": task, "candidates": candidates, "by": record.get("by") or "latency"}


def leaderboard_page(record: Record) -> Page:
    """The page of a rank record."""
    ranking, known = record["ranking"], as_candidates(record)
    measure = views.measure_for(known)
    candidates = views.candidate_views(known, measure)
    names = {c.label: c.short for c in candidates}
    tests, wins = test_rows(record, measure), win_rows(record, names)
    plots = cost_plots({**known, "frontier": _front(candidates, str(known["by"]))}, candidates, measure)
    tables = table_views(record.get("measurement") or {})
    context = {
        "method": str(ranking.get("method") or ""),
        "score_name": measure.name.replace("_", " "),
        "candidates": candidates,
        "has_memory": any(not c.memory.missing for c in candidates),
        "has_latency": any(not c.latency.missing for c in candidates),
        "ranks": [fmt.integer_text(row.get("rank", place)) for place, row in enumerate(ranking["rows"], 1)],
        "bars": quality_bars(candidates),
        "drawing": _plot(candidates, measure),
        "plots": plots,
        "statuses": [],
        "names": names,
        "size_legend": size_legend(candidates),
        "wins": wins,
        "tests": tests,
        "unit": measure.difference_unit,
        "tables": tables,
        "notes": [str(note) for note in ranking.get("notes") or ()],
        "summary": summary_text(record, tests, candidates),
    }
    named = [
        ("scores", "Leaderboard", True),
        ("wins", "Wins", wins),
        ("tests", "Tests", tests),
        ("plot", "Cost", plots),
        ("tables", "Tables", tables),
    ]
    task = record.get("task") or {}
    graded = measure_of(str(task.get("metric") or "quality"), [], bool(task.get("higher_is_better", True)))
    frame = Frame(
        title=str(task.get("name") or ranking.get("method") or "leaderboard"),
        kind="rank",
        sections=[(anchor, name) for anchor, name, shown in named if shown],
        tasks=[task_view(task)] if task else (),
        systems=system_rows(candidates),
        browsed=[BrowsedTask("", record.get("samples") or (), graded.fraction, graded.higher_is_better)],
        statistics=statistics_text("rank"),
    )
    return page(record, "leaderboard.html.j2", frame, context)


def summary_text(record: Record, tests: Sequence[TestRow], candidates: Sequence[CandidateView]) -> str:
    """Who leads, and how far the tests support it: never more than they say."""
    leader = candidates[0].label
    if len(candidates) == 1:
        return f"{leader} is the only system."
    mine = [test for test in tests if leader in (test.first, test.second)]
    if not mine:
        return f"{leader} scores highest; whether it leads beyond chance was not tested."
    shown = sum(test.shown for test in mine)
    against = f"{shown} of the {len(mine)} systems it was tested against"
    return f"{leader} scores highest; a difference is shown to {against}."


def test_rows(record: Record, measure: Measure) -> list[TestRow]:
    """The paired tests, most certain first."""
    rows = []
    for entry in record.get("tests") or ():
        difference, p_value = interval_of(entry.get("difference")), finite(entry.get("p_value"))
        n = finite(entry.get("n")) or (difference.n if difference else 0)
        rows.append(
            TestRow(
                str(entry["first"]),
                str(entry["second"]),
                Cell(
                    measure.difference(difference),
                    sort=difference.value if difference else None,
                    reason="not given",
                ),
                Cell(fmt.p_value_text(p_value), sort=p_value, reason="not tested"),
                Cell(fmt.integer_text(n), sort=n),
                p_value is not None and p_value < views.SIGNIFICANT_BELOW,
            )
        )
    return sorted(rows, key=lambda row: math.inf if row.p_value.sort is None else row.p_value.sort)


def win_rows(record: Record, short: Mapping[str, str]) -> list[WinRow]:
    """The matrix of wins, a row a system, in the order of the ranking; ``short`` has the names to print."""
    wins, battles = record.get("wins"), record.get("battles")
    names = [str(row["name"]) for row in record["ranking"]["rows"]]
    if not wins:
        return []
    rows = []
    for i, name in enumerate(names):
        shares = [finite(value) if i != j else None for j, value in enumerate(wins[i])]
        cells = tuple(
            Cell(DASH, reason="itself" if i == j else "never compared")
            if share is None
            else Cell(f"{100 * share:.0f}%", f"n {fmt.integer_text(battles[i][j])}" if battles else "", share)
            for j, share in enumerate(shares)
        )
        rows.append(
            WinRow(short.get(name, name), cells, tuple(None if s is None else min(int(10 * s), 9) for s in shares))
        )
    return rows


def _plot(candidates: Sequence[CandidateView], measure: Measure) -> dict[str, Markup]:
    rows = [
        DotRow(c.short, c.quality, f"{measure.interval(c.quality)}, n {c.quality.n}", "main")
        for c in candidates
        if c.quality
    ]
    name = measure.name.replace("_", " ")
    bounds = (0.0, 1.0) if measure.fraction else (-math.inf, math.inf)
    tick = percent if measure.fraction else fmt.tick_text
    return dot_plots(
        DotPlot("scores", f"{name} of every system", name[:1].upper() + name[1:], bounds, tick=tick), rows
    )


def _front(candidates: Sequence[CandidateView], by: str) -> list[str]:
    """Who no other system beats on both score and cost."""
    found: list[Point] = [point for c in candidates if (point := point_of(c, by)) is not None]
    ids = {c.index: c.id for c in candidates}
    return [ids[p.index] for p in pareto_front(found, [p.index for p in found], True)]
