"""The page of a tune, with its candidates and their frontier, and of an eval of one system."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from steelyard.contracts import Interval
from steelyard.reporting import figures, views
from steelyard.reporting import formatting as fmt
from steelyard.reporting.calibration_views import calibration_view
from steelyard.reporting.cost_plots import cost_plots, size_legend
from steelyard.reporting.formatting import Measure, finite, interval_of
from steelyard.reporting.interval_plots import DotPlot, DotPlots, DotRow, dot_plots, percent
from steelyard.reporting.methods import statistics_text
from steelyard.reporting.page import BrowsedTask, Frame, Page, System, page
from steelyard.reporting.task_views import task_view
from steelyard.reporting.views import CandidateView


def systems_page(record: Mapping[str, Any]) -> Page:
    """The page of a tune or eval record."""
    measure = views.measure_for(record)
    candidates = views.candidate_views(record, measure)
    task, tune = record.get("task") or {}, record["kind"] == "tune"
    context = _context(record, candidates, measure)
    reference = context["reference"]
    style = None if tune else candidates[0].record.get("style")
    frame = Frame(
        title=str(task.get("name") or "task"),
        kind=str(record["kind"]),
        sections=_sections(context),
        tasks=[task_view(task, style)],
        systems=system_rows(candidates),
        browsed=[
            BrowsedTask("", record.get("samples") or (), measure.fraction, measure.higher_is_better),
        ],
        statistics=statistics_text(record["kind"], reference.short if reference else ""),
    )
    return page(record, "systems.html.j2", frame, context)


def system_rows(candidates: Sequence[CandidateView]) -> list[System]:
    """Candidates as the systems of a page."""
    return [System(c.index, c.id, c.label, c.short, c.lines) for c in candidates]


def _sections(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    named = [
        ("plot", "Plot", context["plots"]),
        ("systems", "Systems" if context["tune"] else "Metrics", context["tune"] or context["metrics"]),
        ("calibration", "Calibration", context["calibration"]),
        ("groups", "Groups", context["group_rows"]),
        ("search", "Search", context["rounds"] or context["exhaustive"]),
    ]
    return [(anchor, name) for anchor, name, shown in named if shown]


def _context(record: Mapping[str, Any], candidates: Sequence[CandidateView], measure: Measure) -> dict[str, Any]:
    """Everything that the template prints and other pages do not."""
    task, budget = record.get("task") or {}, record.get("budget") or {}
    groups = [str(g) for g in task.get("groups") or ()]
    winner = next((c for c in candidates if c.status == "winner"), None)
    rows, shade_range = views.group_rows(candidates, groups, measure)
    cells = (finite(budget.get("cells_measured")), finite(budget.get("cells_total")))
    share = cells[0] / cells[1] if cells[0] is not None and cells[1] else None
    sole = candidates[0] if len(candidates) == 1 else None
    return {
        "tune": record["kind"] == "tune",
        "metric": measure.name.replace("_", " "),
        "samples_n": fmt.integer_text(task.get("n")),
        "winner": winner,
        "sole": candidates[0],
        "rule": views.rule_text(record, measure),
        "reference": views.reference_of(record, candidates),
        "certainty": views.certainty(winner, candidates, measure) if winner else None,
        "plots": cost_plots(record, candidates, measure),
        "statuses": [s for s in views.STATUSES if any(c.status == s for c in candidates)],
        "size_legend": size_legend(candidates),
        "candidates": candidates,
        "bars": quality_bars(candidates),
        "difference_unit": measure.difference_unit,
        "metrics": views.metric_columns(candidates),
        "interval_of": interval_of,
        "groups": groups,
        "group_rows": rows,
        "group_plot": group_plot(sole.record.get("groups") or {}, sole.quality, measure) if sole else None,
        "calibration": calibration_view(sole.record.get("calibration")) if sole else None,
        "shade_range": (measure.value(shade_range[0]), measure.value(shade_range[1])),
        "rounds": views.round_views(record, candidates),
        "cells_text": [fmt.integer_text(c) for c in cells],
        "cells_share": fmt.share_text(*cells),
        "cells_bar": figures.share_bar(share, f"{fmt.share_text(*cells)} of all cells measured") if share else "",
        "exhaustive": _exhaustive(record, candidates),
    }


def group_plot(
    groups: Mapping[str, Any], overall: Interval | None, measure: Measure, key: str = "groups"
) -> DotPlots | None:
    """A system's quality in each group, with the overall value as a line."""
    known = [(str(name), i) for name, value in groups.items() if (i := interval_of(value)) is not None]
    rows = [DotRow(name, i, f"{measure.interval(i)}, n {i.n}", "main") for name, i in known]
    name = measure.name.replace("_", " ")
    return dot_plots(
        DotPlot(
            key,
            f"{name} by group",
            name[:1].upper() + name[1:],
            (0.0, 1.0) if measure.fraction else (-math.inf, math.inf),
            overall.value if overall else None,
            f"all {measure.value(overall.value)}" if overall else "",
            percent if measure.fraction else fmt.tick_text,
        ),
        rows,
    )


def quality_bars(candidates: Sequence[CandidateView]) -> dict[int, Markup]:
    """The interval of each candidate as a small bar; all bars share one scale."""
    known = [c.quality for c in candidates if c.quality]
    ends = [v for q in known for v in q[:3] if fmt.finite(v) is not None]
    if not ends:
        return {}
    domain = (min(ends), max(ends)) if max(ends) > min(ends) else (min(ends) - 0.5, max(ends) + 0.5)
    return {c.index: figures.interval_bar(c.quality, domain, c.status) for c in candidates if c.quality}


def _exhaustive(record: Mapping[str, Any], candidates: Sequence[CandidateView]) -> dict[str, Any] | None:
    found = record.get("exhaustive")
    if not isinstance(found, Mapping):
        return None
    names = {c.id: c.short for c in candidates}
    budgeted, exhaustive = str(found.get("budgeted_winner")), str(found.get("exhaustive_winner"))
    return {
        "agree": bool(found.get("agree")),
        "budgeted": names.get(budgeted, budgeted),
        "exhaustive": names.get(exhaustive, exhaustive),
        "budgeted_cells": fmt.integer_text(found.get("budgeted_cells")),
        "exhaustive_cells": fmt.integer_text(found.get("exhaustive_cells")),
        "share": fmt.share_text(found.get("budgeted_cells"), found.get("exhaustive_cells")),
    }
