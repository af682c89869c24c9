"""What the report shows, worked out from the record: rows, cells and sentences, ready to print.

A view holds text and plain numbers only; the template and the terminal lay it out. Missing numbers become an
en dash that carries the reason why they are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Interval
from steelyard.reporting import formatting as fmt
from steelyard.reporting.formatting import DASH, Measure, finite, interval_of

STATUSES = ("winner", "frontier", "kept", "dropped", "refused")
SIGNIFICANT_BELOW = 0.05


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: main text, smaller second line, the number to sort by, and why it is empty (if it is)."""

    text: str
    detail: str = ""
    sort: float | None = None
    reason: str = ""

    @property
    def missing(self) -> bool:
        """Whether there is nothing to show but a dash."""
        return self.text == DASH


@dataclass(frozen=True, slots=True)
class CandidateView:
    """One candidate: names, status and the cells of its row."""

    index: int
    id: str
    anchor: str
    label: str
    short: str
    status: str
    reason: str
    recipe: str
    quality: Interval | None
    quality_cell: Cell
    n: Cell
    against: Cell
    latency: Cell
    memory: Cell
    parameters: Cell
    record: Mapping[str, Any]

    @property
    def lines(self) -> tuple[str, ...]:
        """The facts of a tooltip."""
        status = {"winner": "the winner", "frontier": "on the frontier"}.get(self.status, self.status)
        facts = [f"quality {self.quality_cell.text} {self.quality_cell.detail} (n {self.n.text})"]
        facts += [f"latency {self.latency.text}"] if not self.latency.missing else []
        facts += [f"memory {self.memory.text}"] if not self.memory.missing else []
        doubled = self.reason.lower().startswith(status)
        return (*facts, self.reason if doubled else f"{status}: {self.reason}" if self.reason else status)


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round of the search."""

    number: str
    samples: str
    alive: str
    dropped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One candidate's quality per group; ``shades`` run from 0 (lowest) to 9 (highest), None where missing."""

    candidate: CandidateView
    cells: tuple[Cell, ...]
    shades: tuple[int | None, ...]


def measure_for(record: Mapping[str, Any]) -> Measure:
    """How the ranking metric is printed."""
    task = record.get("task") or {}
    known = [interval_of(c.get("quality")) for c in record["candidates"]]
    return fmt.measure_of(str(task.get("metric", "quality")), known, bool(task.get("higher_is_better", True)))


def short_labels(labels: Sequence[str]) -> list[str]:
    """Labels without the comma-separated pieces that all share; unchanged where that would not tell them apart.

    >>> short_labels(["smollm2, plain", "smollm2, int8, plain", "smollm2, int8, chat"])
    ['plain', 'int8, plain', 'int8, chat']
    """
    pieces = [[p.strip() for p in label.split(",")] for label in labels]
    if len(pieces) < 2:
        return list(labels)
    shared = set.intersection(*(set(p) for p in pieces))
    short = [", ".join(p for p in piece if p not in shared) for piece in pieces]
    return short if len(set(short)) == len(labels) and all(short) else list(labels)


def candidate_views(record: Mapping[str, Any], measure: Measure) -> list[CandidateView]:
    """The candidates in the record's order of merit: winner, frontier, kept, dropped, refused; best first."""
    sign = 1.0 if measure.higher_is_better else -1.0

    def rank(candidate: Mapping[str, Any]) -> tuple[int, float]:
        quality = interval_of(candidate.get("quality"))
        return STATUSES.index(_status(candidate)), -sign * quality.value if quality else float("inf")

    candidates = sorted(record["candidates"], key=rank)
    labels = [str(c.get("label") or c.get("id")) for c in candidates]
    # what was never measured stands apart and keeps its full label, so that it does not lengthen the others'
    measured = [i for i, c in enumerate(candidates) if interval_of(c.get("quality"))]
    short = dict(zip(measured, short_labels([labels[i] for i in measured]), strict=True))
    names = {str(c.get("id")): short.get(i, labels[i]) for i, c in enumerate(candidates)}
    return [_candidate_view(i, c, labels[i], names, measure) for i, c in enumerate(candidates)]


def _status(candidate: Mapping[str, Any]) -> str:
    status = candidate.get("status")
    return str(status) if status in STATUSES else "kept"


def _candidate_view(
    index: int, candidate: Mapping[str, Any], label: str, names: Mapping[str, str], measure: Measure
) -> CandidateView:
    name, status = str(candidate.get("id")), _status(candidate)
    quality = interval_of(candidate.get("quality"))
    why = f"not measured: {candidate.get('reason')}" if candidate.get("reason") else "not measured"
    memory, parameters = finite(candidate.get("memory_bytes")), finite(candidate.get("parameters"))
    return CandidateView(
        index=index,
        id=name,
        anchor=f"system-{index}",
        label=label,
        short=names[name],
        status=status,
        reason=str(candidate.get("reason") or ""),
        recipe=recipe_text(candidate),
        quality=quality,
        quality_cell=(
            Cell(measure.value(quality.value), measure.bounds(quality), quality.value)
            if quality
            else Cell(DASH, reason=why)
        ),
        n=Cell(fmt.integer_text(quality.n), "", quality.n) if quality else Cell("0", sort=0),
        against=against_cell(candidate, names, measure),
        latency=latency_cell(candidate, why),
        memory=Cell(fmt.bytes_text(memory), "", memory, "" if memory is not None else "memory not known"),
        parameters=Cell(
            fmt.count_text(parameters), "", parameters, "" if parameters is not None else "parameters not known"
        ),
        record=candidate,
    )


def recipe_text(candidate: Mapping[str, Any]) -> str:
    """Model, weight parts with their settings and prompt style in one line."""
    parts = [str(candidate.get("model") or "")]
    for weight in candidate.get("weights") or ():
        for name, settings in weight.items():
            inside = ", ".join(f"{k}={v}" for k, v in (settings or {}).items())
            parts.append(f"{name}({inside})" if inside else str(name))
    style = candidate.get("style") or {}
    if style:
        shots = int(style.get("shots") or 0)
        seed = f", seed {style['seed']}" if shots and "seed" in style else ""
        parts.append(f"{style.get('style', '')} prompt, {shots} {'shot' if shots == 1 else 'shots'}{seed}")
    return " · ".join(p for p in parts if p)


def latency_cell(candidate: Mapping[str, Any], why: str) -> Cell:
    """Median latency; its 95th percentile and the ratio to the reference on the second line."""
    latency = candidate.get("latency")
    if not isinstance(latency, Mapping) or finite(latency.get("p50")) is None:
        return Cell(DASH, reason=why if _status(candidate) in ("dropped", "refused") else "latency not measured")
    details = []
    if finite(latency.get("p95")) is not None:
        details.append(f"p95 {fmt.seconds_text(latency['p95'])}")
    ratio = interval_of(latency.get("ratio"))
    if ratio:
        details.append(fmt.ratio_text(ratio))
    return Cell(fmt.seconds_text(latency["p50"]), "\n".join(details), finite(latency["p50"]))


def against_cell(candidate: Mapping[str, Any], names: Mapping[str, str], measure: Measure) -> Cell:
    """The paired difference to the leader with its interval; test and leader on the second line."""
    against = candidate.get("against_leader")
    difference = interval_of(against.get("difference")) if isinstance(against, Mapping) else None
    if not isinstance(against, Mapping) or difference is None:
        measured = interval_of(candidate.get("quality")) is not None
        return Cell(DASH, reason="the leader itself, or not compared" if measured else "not measured")
    leader = names.get(str(against.get("leader")), str(against.get("leader")))
    p_value = finite(against.get("p_value"))
    detail = f"{fmt.p_value_text(p_value)}, n {difference.n}" if p_value is not None else f"n {difference.n}"
    return Cell(measure.difference(difference), detail, difference.value, f"against {leader}")


def reference_of(record: Mapping[str, Any], views: Sequence[CandidateView]) -> CandidateView | None:
    """The system that speed ratios are taken against: the record's ``reference``, else its first candidate.

    None where no ratio was measured.
    """
    if not any(interval_of((v.record.get("latency") or {}).get("ratio")) for v in views):
        return None
    name = str(record.get("reference") or record["candidates"][0].get("id"))
    return next((v for v in views if v.id == name), None)


def group_rows(
    views: Sequence[CandidateView], groups: Sequence[str], measure: Measure
) -> tuple[list[GroupRow], tuple[float, float]]:
    """Quality per candidate and group, with shades over the range found; rows without any value are left out."""
    found = {
        (v.index, g): interval
        for v in views
        for g in groups
        if (interval := interval_of((v.record.get("groups") or {}).get(g))) is not None
    }
    values = [i.value for i in found.values()]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    sign = measure.higher_is_better
    rows = []
    for view in views:
        intervals = [found.get((view.index, g)) for g in groups]
        if not any(intervals):
            continue
        cells = tuple(
            Cell(measure.value(i.value), f"{measure.bounds(i)} n {i.n}", i.value)
            if i
            else Cell(DASH, reason="no sample of this group was measured")
            for i in intervals
        )
        shades = tuple(_shade(i.value, low, high, sign) if i else None for i in intervals)
        rows.append(GroupRow(view, cells, shades))
    return rows, (low, high)


def _shade(value: float, low: float, high: float, higher_is_better: bool) -> int:
    share = (value - low) / (high - low) if high > low else 0.5
    return min(int(10 * (share if higher_is_better else 1 - share)), 9)


def round_views(record: Mapping[str, Any], views: Sequence[CandidateView]) -> list[RoundView]:
    """The rounds of the search, with the names of those dropped and why."""
    known = {v.id: v for v in views}
    rows = []
    for entry in (record.get("budget") or {}).get("rounds") or ():
        dropped = tuple(
            (known[str(d)].short, known[str(d)].reason) if str(d) in known else (str(d), "")
            for d in entry.get("dropped") or ()
        )
        number, samples = fmt.integer_text(entry.get("round")), fmt.integer_text(entry.get("samples"))
        rows.append(RoundView(number, samples, fmt.integer_text(entry.get("alive")), dropped))
    return rows


def target_missed(record: Mapping[str, Any], measure: Measure) -> bool:
    """Whether there is a quality target that no system measured to the end reaches."""
    target = finite(record.get("target"))
    full = [c for c in record["candidates"] if _status(c) in ("winner", "frontier", "kept")]
    values = [q.value for c in full if (q := interval_of(c.get("quality"))) is not None]
    if target is None or not values:
        return False
    return max(values) < target if measure.higher_is_better else min(values) > target


def rule_text(record: Mapping[str, Any], measure: Measure) -> str:
    """What the winner was chosen by, within which limits."""
    by = {"latency": "fastest", "memory": "smallest", "operations": "least computing"}.get(
        str(record.get("by")), ""
    )
    target, tolerance = finite(record.get("target")), finite(record.get("tolerance"))
    relation = "at least" if measure.higher_is_better else "at most"
    missed = target_missed(record, measure)
    text = f"The {by or 'cheapest'} system"
    if missed:
        name = measure.name.replace("_", " ")
        text = f"No system reaches the target, {name} {relation} {measure.value(target)}. {text}"
    if target is not None and not missed:
        text += f" whose {measure.name.replace('_', ' ')} is {relation} {measure.value(target)}"
    elif tolerance is not None:
        within = f"{100 * tolerance:.3g} points" if measure.fraction else f"{tolerance:g}"
        text += f" within {within} of the best measured"
    limits = record.get("limits") or {}
    bounds = []
    if finite(limits.get("memory_bytes")) is not None:
        bounds.append(f"memory up to {fmt.bytes_text(limits['memory_bytes'])}")
    if finite(limits.get("latency_seconds")) is not None:
        bounds.append(f"latency up to {fmt.seconds_text(limits['latency_seconds'])}")
    return f"{text}{', with ' + ' and '.join(bounds) if bounds else ', without limits on memory or latency'}."


def certainty(winner: CandidateView, views: Sequence[CandidateView], measure: Measure) -> tuple[str, str]:
    """How sure the choice is: a short statement and the numbers behind it, from the paired test alone."""
    against = winner.record.get("against_leader")
    if not isinstance(against, Mapping):
        return "Best measured", "no system measured better on these samples"
    difference = interval_of(against.get("difference"))
    leader = next((v.short for v in views if v.id == str(against.get("leader"))), str(against.get("leader")))
    if difference is None:
        return "Not compared", f"no paired comparison with {leader}"
    p_value = finite(against.get("p_value"))
    numbers = f"{measure.difference(difference)} {measure.difference_unit} against {leader}"
    if p_value is None:
        return "Difference measured", numbers
    differs = p_value < SIGNIFICANT_BELOW
    shown = "It differs from the best measured" if differs else "No difference to the best is shown"
    return shown, f"{numbers}, {fmt.p_value_text(p_value)}"


def metric_columns(views: Sequence[CandidateView]) -> list[Measure]:
    """Every metric any candidate was measured on, in the order first seen."""
    found: dict[str, list[Interval | None]] = {}
    for view in views:
        for name, value in (view.record.get("metrics") or {}).items():
            found.setdefault(str(name), []).append(interval_of(value))
    return [fmt.measure_of(name, intervals) for name, intervals in found.items()]


def facts(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as rows of name and text, for the environment table."""
    rows: list[tuple[str, str]] = []
    for key, value in mapping.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += facts(value, f"{name} · ")
        else:
            shown = ", ".join(str(v) for v in value) if isinstance(value, list | tuple) else value
            rows.append((name, DASH if shown is None else str(shown)))
    return rows


def time_text(value: Any) -> str:
    """``"2026-11-23T09:14:02Z"`` -> ``"2026-11-23 09:14:02 UTC"``; anything else as it is."""
    text = "" if value is None else str(value)
    if len(text) >= 20 and text[10] == "T" and text.endswith(("Z", "+00:00")):
        return f"{text[:10]} {text[11:19]} UTC"
    return text
