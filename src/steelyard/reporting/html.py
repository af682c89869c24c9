"""One HTML file per report: everything inlined, nothing requested, model output never markup.

The page carries a content security policy that allows only its own style sheet and script, by hash. The main
content (plot, tables) works without JavaScript; the script adds sorting, selection and the sample browser.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from steelyard.contracts import Interval
from steelyard.errors import InputError
from steelyard.reporting import figures, payload, views
from steelyard.reporting import formatting as fmt
from steelyard.reporting.formatting import Measure, finite, interval_of
from steelyard.reporting.views import CandidateView

TEMPLATES = Path(__file__).with_name("templates")
FORMAT = 1
KINDS = ("tune", "eval")
SIZES = {"wide": (920.0, 440.0), "narrow": (400.0, 400.0)}
"""The plot is drawn twice; the style sheet shows the one that fits the screen."""

COSTS = {
    "latency": ("Latency", "Latency, median of single answers", fmt.SECONDS),
    "memory": ("Memory", "Memory of the weights", fmt.BYTES),
    "operations": ("Operations", "Arithmetic operations per answer", fmt.OPERATIONS),
}


def render_html(record: Mapping[str, Any]) -> str:
    """The report of a tune or eval record as one self-contained HTML page.

    Raises:
        InputError: the record is of another kind or format than this version reads.

    >>> page = render_html(record)  # doctest: +SKIP
    """
    check_record(record)
    measure = views.measure_for(record)
    candidates = views.candidate_views(record, measure)
    style, script = _asset("report.css"), _asset("report.js")
    environment = _environment()
    page = environment.get_template("report.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        policy=content_security_policy(style, script),
        data=Markup(_data(record, candidates, measure)),
        **_context(record, candidates, measure),
    )
    return page.encode("utf-8", errors="replace").decode("utf-8")


def write_report(record: Mapping[str, Any], path: Path) -> Path:
    """Render ``record`` and write it to ``path`` atomically: a reader sees the old file or the new one.

    Raises:
        InputError: the record cannot be rendered, or the file cannot be written.
    """
    page = render_html(record)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{path}: the report cannot be written ({error.strerror or error}); choose another place"
        ) from error
    return path


def check_record(record: Mapping[str, Any]) -> None:
    """Refuse what is not a report record of the kinds and format that this version reads."""
    kind, version = record.get("kind"), record.get("format")
    if kind not in KINDS:
        raise InputError(f"report record: kind is {kind!r}, not one of {', '.join(KINDS)}")
    if version != FORMAT:
        raise InputError(f"report record: format {version!r}; this version of steelyard reads format {FORMAT}")
    if not record.get("candidates"):
        raise InputError("report record: it holds no candidates, so there is nothing to report")


def content_security_policy(style: str, script: str) -> str:
    """A policy that allows nothing but this style sheet and this script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(mark=figures.mark, DASH=fmt.DASH)
    return environment


def _context(record: Mapping[str, Any], candidates: Sequence[CandidateView], measure: Measure) -> dict[str, Any]:
    """Everything the template prints."""
    run, task, budget = record.get("run") or {}, record.get("task") or {}, record.get("budget") or {}
    winner = next((c for c in candidates if c.status == "winner"), None)
    rows, shade_range = views.group_rows(candidates, [str(g) for g in task.get("groups") or ()], measure)
    cells = (finite(budget.get("cells_measured")), finite(budget.get("cells_total")))
    reference = views.reference_of(record, candidates)
    statistics = views.statistics_text(record["kind"], reference.short if reference else "")
    share = cells[0] / cells[1] if cells[0] is not None and cells[1] else None
    return {
        "tune": record["kind"] == "tune",
        "task": str(task.get("name") or "task"),
        "task_path": str(task.get("path") or ""),
        "metric": measure.name.replace("_", " "),
        "samples_n": fmt.integer_text(task.get("n")),
        "created": views.time_text(run.get("created")),
        "run_facts": _run_facts(run, task),
        "winner": winner,
        "sole": candidates[0],
        "rule": views.rule_text(record, measure),
        "reference": reference,
        "certainty": views.certainty(winner, candidates, measure) if winner else None,
        "findings": [str(f) for f in record.get("findings") or ()],
        "plots": _plots(record, candidates, measure),
        "statuses": [s for s in views.STATUSES if any(c.status == s for c in candidates)],
        "size_legend": _size_legend(candidates),
        "candidates": candidates,
        "bars": _bars(candidates),
        "difference_unit": measure.difference_unit,
        "metrics": views.metric_columns(candidates),
        "interval_of": interval_of,
        "groups": [str(g) for g in task.get("groups") or ()],
        "group_rows": rows,
        "shade_range": (measure.value(shade_range[0]), measure.value(shade_range[1])),
        "rounds": views.round_views(record, candidates),
        "cells_text": [fmt.integer_text(c) for c in cells],
        "cells_share": fmt.share_text(*cells),
        "cells_bar": figures.share_bar(share, f"{fmt.share_text(*cells)} of all cells measured") if share else "",
        "exhaustive": _exhaustive(record, candidates),
        "system_file": record.get("system_file") or "",
        "commands": [str(c) for c in record.get("commands") or ()],
        "environment": views.facts(record.get("environment") or {}),
        "statistics": [str(s) for s in record.get("statistics") or statistics],
        "has_samples": bool(record.get("samples")),
    }


def _run_facts(run: Mapping[str, Any], task: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("run", run.get("id")),
        ("created", views.time_text(run.get("created")) or None),
        ("finished", views.time_text(run.get("finished")) or None),
        ("took", fmt.duration_text(run["seconds"]) if finite(run.get("seconds")) is not None else None),
        ("seed", run.get("seed")),
        ("task file", task.get("path")),
        ("task fingerprint", task.get("fingerprint")),
        ("metric", task.get("metric")),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def _plots(
    record: Mapping[str, Any], candidates: Sequence[CandidateView], measure: Measure
) -> list[dict[str, Any]]:
    """The plots: first against the cost that the run was judged by, then against the others."""
    first = str(record.get("by") or "latency")
    front = {c.index for c in candidates if c.id in (record.get("frontier") or ())}
    plots = []
    for cost in sorted(COSTS, key=lambda c: c != first):
        points = [p for c in candidates if (p := _point(c, cost)) is not None]
        if len(points) < 2:
            continue
        drawings = {
            size: figures.frontier_plot(_plot(record, points, front, (measure, cost, size)), points)
            for size in SIZES
        }
        plots.append({"cost": cost, "name": COSTS[cost][0], **drawings, "missing": len(candidates) - len(points)})
    return plots


def _plot(
    record: Mapping[str, Any], points: Sequence[figures.Point], front: Set[int], what: tuple[Measure, str, str]
) -> figures.Plot:
    measure, cost, size = what
    limits = record.get("limits") or {}
    limit = {"latency": limits.get("latency_seconds"), "memory": limits.get("memory_bytes")}.get(cost)
    limit = finite(limit)
    target, metric = finite(record.get("target")), measure.name.replace("_", " ")
    name, title, units = COSTS[cost]
    better = "higher is better" if measure.higher_is_better else "lower is better"
    width, height = SIZES[size]
    winner = next((p for p in points if p.status == "winner"), None)
    description = f"{len(points)} systems, each with its 95% interval." + (
        f" The winner is {winner.name}: {'; '.join(winner.lines)}." if winner else " None was chosen."
    )
    return figures.Plot(
        key=f"plot-{cost}-{size}",
        width=width,
        height=height,
        x=figures.Axis(title, units, limit, "" if limit is None else f"limit {fmt.tick_text(limit, units)}"),
        y=figures.Axis(
            f"{metric[:1].upper()}{metric[1:]} ({better})", (), target, f"target {measure.value(target)}"
        ),
        frontier=tuple(p.index for p in points if p.index in front),
        fraction=measure.fraction,
        higher_is_better=measure.higher_is_better,
        title=f"{metric} against {name.lower()}",
        description=description,
    )


def _point(candidate: CandidateView, cost: str) -> figures.Point | None:
    """The candidate as a point, or None where its quality or this cost was not measured."""
    latency = candidate.record.get("latency") or {}
    if cost == "latency":
        value = finite(latency.get("p50"))
        bounds = finite(latency.get("low")), finite(latency.get("high"))
    else:
        value = finite(candidate.record.get("memory_bytes" if cost == "memory" else "operations"))
        bounds = None, None
    if value is None or value <= 0 or candidate.quality is None:
        return None
    x = Interval(value, bounds[0] or value, bounds[1] or value, 0)
    label = candidate.short if len(candidate.short) <= 36 else candidate.short[:35] + "…"
    return figures.Point(
        anchor=candidate.anchor,
        index=candidate.index,
        label=label,
        name=candidate.label,
        x=x,
        quality=candidate.quality,
        memory=finite(candidate.record.get("memory_bytes")),
        status=candidate.status,
        lines=candidate.lines,
    )


def _size_legend(candidates: Sequence[CandidateView]) -> list[tuple[Markup, str]]:
    """The smallest and the largest memory found, as points of their size."""
    sizes = [m for c in candidates if c.quality and (m := finite(c.record.get("memory_bytes"))) is not None]
    if not sizes:
        return []
    chosen = [min(sizes), max(sizes)] if max(sizes) > 1.02 * min(sizes) else [max(sizes)]
    return [
        (figures.mark("size", figures.radius_of(s, max(sizes))), f"memory {fmt.bytes_text(s)}") for s in chosen
    ]


def _bars(candidates: Sequence[CandidateView]) -> dict[int, Markup]:
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


def _data(record: Mapping[str, Any], candidates: Sequence[CandidateView], measure: Measure) -> str:
    """The JSON that the script reads."""
    texts = payload.Texts()
    rows = payload.sample_rows(record.get("samples") or (), {c.id: c.index for c in candidates}, texts)
    data = {
        "candidates": [{"label": c.label, "short": c.short, "lines": c.lines} for c in candidates],
        "fraction": measure.fraction,
        "higherIsBetter": measure.higher_is_better,
        "samples": rows,
        "texts": list(texts.numbers),
    }
    return payload.script_json(data)
