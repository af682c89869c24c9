"""What a ranking shows: its systems in order, who won against whom, how firmly the order stands, and the tests.

The record, of kind ``rank``, is that of an eval with more candidates and, under ``ranking``, the ``method``,
``score_name``, ``notes``, ``details`` and the ``rows``, best first, each with ``rank``, ``name`` (a candidate's
label), ``score`` and ``interval`` (or null). Of the details these are shown where they are there:

``comparisons``: paired tests with ``first``, ``second``, ``difference``, ``p_holm``, ``different`` and ``n``;
``wins``: how often the row's system won against the column's, in the order of the candidates;
``stability``: ``above``, how often the row's system scores higher when the questions are drawn again, in the order
of the candidates, and ``first``, how often each name comes first.

``judges`` lists who judged: ``name``, ``n`` verdicts, shares with intervals, and a ``calibration`` on human
labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.formatting import DASH, Measure, finite, interval_of
from steelyard.reporting.measurement_views import TableView, table_views
from steelyard.reporting.views import CandidateView, Cell

JUDGE_SHARES = ("ties", "unreadable", "inconsistent", "first shown")

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One system against each other; ``shades`` run from 0 (never) to 9 (always), None where there is nothing."""

    name: str
    cells: tuple[Cell, ...]
    shades: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class TestRow:
    """One paired test between two systems; ``shown`` says whether it supports a difference."""

    first: str
    second: str
    difference: Cell
    p_value: Cell
    n: Cell
    shown: bool


def as_candidates(record: Record) -> dict[str, Any]:
    """The ranking in the form of a tune, its scores as quality, whose views and plots it then shares."""
    ranking = record["ranking"]
    facts = {str(c["label"]): c for c in record["candidates"]}
    candidates = [
        {**facts[str(row["name"])], "quality": _score(row, record), "status": "kept", "reason": ""}
        for row in ranking["rows"]
        if str(row["name"]) in facts
    ]
    higher = bool((ranking.get("details") or {}).get("higher_is_better", True))
    task = {"metric": ranking["score_name"], "higher_is_better": higher}
    return {"kind": "rank", "task": task, "candidates": candidates, "by": "latency"}


def _score(row: Record, record: Record) -> dict[str, Any]:
    """A score with its interval; where the method defines none, its ends are not known."""
    if interval_of(row.get("interval")):
        # strengths are fitted by iteration: a remainder of 1e-12 is no digit of theirs
        return {k: round(v, 9) if isinstance(v, float) else v for k, v in row["interval"].items()}
    return {"value": row.get("score"), "low": None, "high": None, "n": (record.get("task") or {}).get("n", 0)}


def ranked_views(record: Record, measure: Measure) -> list[CandidateView]:
    """The systems, best first, with the ranking's scores."""
    found = views.candidate_views(as_candidates(record), measure)
    return [view if _bounded(view) else replace(view, quality_cell=_unbounded(view)) for view in found]


def _bounded(view: CandidateView) -> bool:
    return view.quality is not None and math.isfinite(view.quality.high - view.quality.low)


def _unbounded(view: CandidateView) -> Cell:
    return Cell(view.quality_cell.text, "no interval", view.quality_cell.sort, view.quality_cell.reason)


def test_rows(record: Record, measure: Measure, short: Mapping[str, str]) -> list[TestRow]:
    """The paired tests, most certain first; ``short`` has the names to print."""
    rows = []
    for entry in (record["ranking"].get("details") or {}).get("comparisons") or ():
        difference, p_value = interval_of(entry.get("difference")), finite(entry.get("p_holm"))
        n = finite(entry.get("n")) or (difference.n if difference else 0)
        first, second = (short.get(str(entry[side]), str(entry[side])) for side in ("first", "second"))
        rows.append(
            TestRow(
                first,
                second,
                Cell(measure.difference(difference), "", difference.value if difference else None, "not given"),
                Cell(fmt.p_value_text(p_value), sort=p_value, reason="not tested"),
                Cell(fmt.integer_text(n), sort=n),
                bool(entry.get("different")),
            )
        )
    return sorted(rows, key=lambda row: math.inf if row.p_value.sort is None else row.p_value.sort)


def win_matrix(record: Record, candidates: Sequence[CandidateView]) -> list[MatrixRow]:
    """Shares of comparisons that the row's system won, with their number, in the order of the ranking."""
    wins = (record["ranking"].get("details") or {}).get("wins")
    if not wins:
        return []
    battles = [[row[j] + wins[j][i] for j in range(len(row))] for i, row in enumerate(wins)]
    shares = [
        [row[j] / battles[i][j] if battles[i][j] else None for j in range(len(row))] for i, row in enumerate(wins)
    ]
    return _matrix(record, candidates, shares, battles)


def stability_matrix(record: Record, candidates: Sequence[CandidateView]) -> list[MatrixRow]:
    """How often the row's system scores higher than the column's when the questions are drawn again."""
    above = ((record["ranking"].get("details") or {}).get("stability") or {}).get("above")
    return _matrix(record, candidates, above, None) if above else []


def _matrix(
    record: Record,
    candidates: Sequence[CandidateView],
    shares: Sequence[Sequence[Any]],
    counts: Sequence[Sequence[float]] | None,
) -> list[MatrixRow]:
    """A matrix over the record's candidates, put into the order of the views."""
    place = {str(c["id"]): i for i, c in enumerate(record["candidates"])}
    rows = []
    for one in candidates:
        cells, shades = [], []
        for other in candidates:
            i, j = place[one.id], place[other.id]
            share = finite(shares[i][j]) if i != j else None
            detail = f"n {fmt.integer_text(counts[i][j])}" if counts else ""
            reason = "itself" if i == j else "never compared"
            cells.append(
                Cell(DASH, reason=reason) if share is None else Cell(f"{100 * share:.0f}%", detail, share)
            )
            shades.append(None if share is None else min(int(10 * share), 9))
        rows.append(MatrixRow(one.short, tuple(cells), tuple(shades)))
    return rows


def judge_table(record: Record) -> TableView | None:
    """Who judged, how many verdicts, and their habits: ties, contradictions, a liking for what is shown first."""
    judges = record.get("judges") or ()
    if not judges:
        return None
    rows = tuple(
        (Cell(str(judge["name"])), *(_share(judge.get(name)) for name in JUDGE_SHARES), _count(judge.get("n")))
        for judge in judges
    )
    columns = ("judge", *JUDGE_SHARES, "n")
    note = "First shown: how often a preferred answer was the one shown first; 50% is no bias."
    return TableView("Judges", columns, (False, *(True for _ in columns[1:])), rows, note)


def _share(value: Any) -> Cell:
    interval, measure = interval_of(value), Measure("share", fraction=True)
    if interval is None:
        return Cell(DASH, reason="nothing tells")
    return Cell(measure.value(interval.value), measure.bounds(interval), interval.value)


def _count(value: Any) -> Cell:
    return Cell(fmt.integer_text(value), sort=finite(value), reason="not known")


def calibration_tables(record: Record) -> list[TableView]:
    """What each judge's calibration on human labels measured."""
    found = []
    for judge in record.get("judges") or ():
        for table in table_views(judge.get("calibration") or {}):
            found.append(replace(table, title=f"{table.title}: {judge['name']}"))
    return found
