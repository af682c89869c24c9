"""The page of a ranking: a leaderboard with intervals, wins, tests, stability, judges, and what systems cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.cost_plots import cost_plots, point_of, size_legend
from steelyard.reporting.figures import pareto_front
from steelyard.reporting.formatting import Measure, interval_of, measure_of
from steelyard.reporting.interval_plots import DotPlot, DotPlots, DotRow, dot_plots, percent
from steelyard.reporting.leaderboard_views import (
    as_candidates,
    calibration_tables,
    judge_table,
    ranked_views,
    stability_matrix,
    test_rows,
    win_matrix,
)
from steelyard.reporting.methods import statistics_text
from steelyard.reporting.page import BrowsedTask, Frame, Page, page
from steelyard.reporting.systems_page import quality_bars, system_rows
from steelyard.reporting.task_views import style_text, task_view
from steelyard.reporting.views import CandidateView

COST = "memory"
"""What systems are first weighed against: a ranking times nobody."""


def leaderboard_page(record: Mapping[str, Any]) -> Page:
    """The page of a rank record."""
    known = as_candidates(record)
    measure = views.measure_for(known)
    candidates = ranked_views(record, measure)
    context = _context(record, candidates, measure)
    context["plots"] = cost_plots(
        {**known, "by": COST, "frontier": _front(candidates, measure)}, candidates, measure
    )
    named = [
        ("scores", "Leaderboard", True),
        ("wins", "Wins", context["wins"]),
        ("tests", "Tests", context["tests"]),
        ("stability", "Stability", context["stability"]),
        ("plot", "Cost", context["plots"]),
        ("tables", "Judges", context["tables"]),
    ]
    task = record["task"]
    metric = str(task["metric"])
    graded = measure_of(
        metric,
        [interval_of((c.get("metrics") or {}).get(metric)) for c in record["candidates"]],
        bool(task.get("higher_is_better", True)),
    )
    styles = {style_text(c.get("style")): c.get("style") for c in record["candidates"]}
    frame = Frame(
        title=str(task["name"]),
        kind="rank",
        sections=[(anchor, name) for anchor, name, shown in named if shown],
        tasks=[task_view(task, next(iter(styles.values())) if len(styles) == 1 else None)],
        systems=system_rows(candidates),
        browsed=[BrowsedTask("", record.get("samples") or (), graded.fraction, graded.higher_is_better)],
        statistics=statistics_text("rank"),
    )
    return page(record, "leaderboard.html.j2", frame, context)


def _context(record: Mapping[str, Any], candidates: Sequence[CandidateView], measure: Measure) -> dict[str, Any]:
    ranking = record["ranking"]
    stability = (ranking.get("details") or {}).get("stability") or {}
    first = stability.get("first") or {}
    ranks = {str(row["name"]): fmt.integer_text(row["rank"]) for row in ranking["rows"]}
    judges = judge_table(record)
    return {
        "method": str(ranking.get("method") or ""),
        "score_name": measure.name.replace("_", " "),
        "candidates": candidates,
        "ranks": ranks,
        "first": {name: f"{100 * share:.0f}%" for name, share in first.items()},
        "has_memory": any(not c.memory.missing for c in candidates),
        "prompts": {c.id: style_text(c.record.get("style")) for c in candidates},
        "bars": quality_bars(candidates),
        "drawing": _plot(candidates, measure),
        "statuses": [],
        "size_legend": size_legend(candidates),
        "wins": win_matrix(record, candidates),
        "stability": stability_matrix(record, candidates),
        "tests": test_rows(record, measure, {c.label: c.short for c in candidates}),
        "unit": measure.difference_unit,
        "tables": [*([judges] if judges else []), *calibration_tables(record)],
        "notes": [str(note) for note in ranking.get("notes") or ()],
    }


def _plot(candidates: Sequence[CandidateView], measure: Measure) -> DotPlots | None:
    rows = [
        DotRow(c.short, c.quality, f"{c.quality_cell.text} {c.quality_cell.detail}, n {c.quality.n}", "main")
        for c in candidates
        if c.quality
    ]
    name = measure.name.replace("_", " ")
    bounds = (0.0, 1.0) if measure.fraction else (-math.inf, math.inf)
    tick = percent if measure.fraction else fmt.tick_text
    return dot_plots(
        DotPlot("scores", f"{name} of every system", name[:1].upper() + name[1:], bounds, tick=tick), rows
    )


def _front(candidates: Sequence[CandidateView], measure: Measure) -> list[str]:
    """Who no other system beats on both score and cost."""
    found = [point for c in candidates if (point := point_of(c, COST)) is not None]
    ids = {c.index: c.id for c in candidates}
    return [ids[p.index] for p in pareto_front(found, [p.index for p in found], measure.higher_is_better)]
