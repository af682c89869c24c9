"""Quality against cost: one plot a cost, each drawn for wide and for narrow screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from markupsafe import Markup

from steelyard.contracts import Interval
from steelyard.reporting import figures
from steelyard.reporting import formatting as fmt
from steelyard.reporting.formatting import Measure, finite
from steelyard.reporting.views import CandidateView

SIZES = {"wide": (920.0, 440.0), "narrow": (400.0, 400.0)}
"""The plot is drawn twice; the style sheet shows the one that fits the screen."""

COSTS = {
    "latency": ("Latency", "Latency, median of single answers", fmt.SECONDS),
    "memory": ("Memory", "Memory of the weights", fmt.BYTES),
    "operations": ("Operations", "Arithmetic operations per answer", fmt.OPERATIONS),
}


def cost_plots(
    record: Mapping[str, Any], candidates: Sequence[CandidateView], measure: Measure
) -> list[dict[str, Any]]:
    """The plots: first against the cost that the run was judged by, then against the others."""
    first = str(record.get("by") or "latency")
    front = {c.index for c in candidates if c.id in (record.get("frontier") or ())}
    plots = []
    for cost in sorted(COSTS, key=lambda c: c != first):
        points = [p for c in candidates if (p := point_of(c, cost)) is not None]
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


def point_of(candidate: CandidateView, cost: str) -> figures.Point | None:
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


def size_legend(candidates: Sequence[CandidateView]) -> list[tuple[Markup, str]]:
    """The smallest and the largest memory found, as points of their size."""
    sizes = [m for c in candidates if c.quality and (m := finite(c.record.get("memory_bytes"))) is not None]
    if not sizes:
        return []
    chosen = [min(sizes), max(sizes)] if max(sizes) > 1.02 * min(sizes) else [max(sizes)]
    return [
        (figures.mark("size", figures.radius_of(s, max(sizes))), f"memory {fmt.bytes_text(s)}") for s in chosen
    ]
