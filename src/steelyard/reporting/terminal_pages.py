"""What each kind of record says in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.reporting import formatting as fmt
from steelyard.reporting import views
from steelyard.reporting.calibration_views import calibration_view
from steelyard.reporting.comparison_page import SIDES, comparison_measure, detectable_text, group_views
from steelyard.reporting.compress_page import compressed_label, lost_rows, texts_text
from steelyard.reporting.formatting import finite
from steelyard.reporting.leaderboard_views import (
    as_candidates,
    calibration_tables,
    judge_table,
    ranked_views,
    test_rows,
)
from steelyard.reporting.measurement_views import table_views, value_views
from steelyard.reporting.suite_page import other_tables, system_label, task_rows
from steelyard.reporting.task_views import plural, task_view
from steelyard.reporting.terminal_tables import Printer
from steelyard.reporting.views import CandidateView, Cell

MARKS = {"winner": "★", "frontier": "●", "kept": "·", "dropped": "○", "refused": "✗"}
STYLES = {"winner": "bold cyan", "frontier": "cyan", "kept": "", "dropped": "dim", "refused": "dim"}
TESTS_SHOWN = 10

Record = Mapping[str, Any]


def show_systems(record: Record, printer: Printer) -> None:
    """A tune or an eval: systems, what the search cost, findings."""
    measure = views.measure_for(record)
    candidates = views.candidate_views(record, measure)
    task, metric = record.get("task") or {}, measure.name.replace("_", " ")
    printer.line(f"{task.get('name', 'task')}: {metric} on {fmt.integer_text(task.get('n'))} samples", "bold")
    show_task(task, printer)
    printer.line()
    headings = ("", "system", metric, "n", "latency", "ratio", "memory", "status")
    printer.table(headings, [candidate_row(c) for c in candidates], [STYLES[c.status] for c in candidates])
    printer.line()
    if record["kind"] == "tune":
        used = [s for s in MARKS if any(c.status == s for c in candidates)]
        printer.line("  ".join(f"{MARKS[s]} {s}" for s in used), "dim")
        for line in search_lines(record, candidates):
            printer.line(line)
        printer.line()
    elif found := calibration_view(candidates[0].record.get("calibration")):
        printer.line(found.sentence)
    show_findings(record, printer)


def show_suite(record: Record, printer: Printer) -> None:
    """A suite: a row a task, the suite's own tables, headline values and notes."""
    measurement = record.get("measurement") or {}
    printer.line(f"{record['suite']['name']}: {system_label(record)}", "bold")
    printer.line()
    rows = [
        [row.name, row.metric, f"{row.cell.text} {row.cell.detail}".strip(), row.n.text, row.seconds.text]
        for row in task_rows(record)
    ]
    printer.table(("task", "metric", "value", "n", "seconds"), rows)
    show_tables(other_tables(measurement), printer)
    show_values(measurement, printer)
    left_out = [f"{row.name} ({row.skipped})" for row in task_rows(record) if row.skipped]
    if left_out:
        printer.line(f"damaged rows left out: {', '.join(left_out)}")
    show_notes(measurement, printer)


def show_measure(record: Record, printer: Printer) -> None:
    """A measure: headline values, tables and notes."""
    measurement, measure = record["measurement"], record.get("measure") or {}
    models = ", ".join(views.recipe_text(model) for model in record.get("models") or ())
    printer.line(f"{measure.get('name') or measurement.get('name')}{': ' + models if models else ''}", "bold")
    show_values(measurement, printer)
    show_tables(table_views(measurement), printer)
    show_notes(measurement, printer)


def show_comparison(record: Record, printer: Printer) -> None:
    """A comparison: both systems, their paired difference, the test and the verdict."""
    measure = comparison_measure(record)
    sides = [fmt.interval_of(record[name]) for name in SIDES]
    rows = [
        [str(name), measure.interval(side), fmt.integer_text(side.n if side else None)]
        for name, side in zip(record["names"], sides, strict=True)
    ]
    printer.table(("system", measure.name.replace("_", " "), "n"), rows)
    unit = f" {measure.difference_unit}" if measure.fraction else ""
    difference = measure.difference(fmt.interval_of(record["difference"]))
    printer.line(f"difference (first minus second): {difference}{unit}")
    printer.line(f"{record['test']} test, {fmt.p_value_text(record['p_value'])}, n {record['n']}")
    counts = record.get("counts")
    if counts:
        printer.line(
            f"both right {counts['both']}, only the first {counts['first']}, only the second {counts['second']},"
            f" both wrong {counts['neither']}"
        )
    if "detectable" in record:
        printer.line(detectable_text(record, measure))
    groups = group_views(record, measure)
    if groups:
        printer.line()
        printer.table(
            ("group", f"difference{' in' + unit if unit else ''}", "p (Holm)", "n"),
            [[g.name, g.difference.text, g.p_value.text, g.n.text] for g in groups],
        )
        printer.line()
    printer.line(str(record["verdict"]))


def show_compress(record: Record, printer: Printer) -> None:
    """A compression: its metric card, what every task lost, and what became of it."""
    printer.line(compressed_label(record), "bold")
    show_tables(table_views(record["measurement"]), printer)
    rows = [
        [row.name, row.sides[0].text, row.sides[1].text, _cell_text(row.difference), row.p_value.text, row.n.text]
        for row in lost_rows(record)
    ]
    if rows:
        printer.table(("task", "original", "compressed", "change, points", "p (Holm)", "n"), rows)
        printer.line()
    for name, key in (("calibrated on", "calibration"), ("measured on", "held_out")):
        if record.get(key):
            printer.line(f"{name}: {texts_text(record[key])}", "dim")
    show_findings(record, printer)


def show_leaderboard(record: Record, printer: Printer) -> None:
    """A ranking: a row a system, the tests that say most, the judges, and what was found."""
    ranking = record["ranking"]
    measure = views.measure_for(as_candidates(record))
    candidates = ranked_views(record, measure)
    ranks = {str(row["name"]): fmt.integer_text(row["rank"]) for row in ranking["rows"]}
    task, score = record["task"], measure.name.replace("_", " ")
    method = ranking.get("method") or "a ranking"
    printer.line(f"{task['name']}: ranked by {method} on {fmt.integer_text(task['n'])} samples", "bold")
    show_task(task, printer)
    printer.line()
    rows = [
        [ranks[c.label], c.label, f"{c.quality_cell.text} {c.quality_cell.detail}".strip(), c.n.text]
        for c in candidates
    ]
    printer.table(("rank", "system", score, "n"), rows)
    tests = test_rows(record, measure, {})
    if tests:
        printer.line()
        shown = [
            [f"{t.first} against {t.second}", t.difference.text, t.p_value.text, t.n.text, _shown(t.shown)]
            for t in tests[:TESTS_SHOWN]
        ]
        unit = f", {measure.difference_unit}" if measure.fraction else ""
        printer.table(("system", f"difference{unit}", "p (Holm)", "n", "difference is"), shown)
        if len(tests) > TESTS_SHOWN:
            printer.line(f"{len(tests) - TESTS_SHOWN} more tests are in the HTML report", "dim")
    judges = judge_table(record)
    show_tables([*([judges] if judges else []), *calibration_tables(record)], printer)
    show_findings(record, printer)


def _shown(shown: bool) -> str:
    return "shown" if shown else "not shown"


def show_task(task: Record, printer: Printer) -> None:
    """Data set, form and damaged rows, where they are known."""
    header = task.get("header") or {}
    facts = [header.get("data_set"), header.get("licence") and f"licence {header['licence']}", task.get("form")]
    told = ", ".join(str(fact) for fact in facts if fact) if header else ""
    skipped = task_view(task).skipped
    if told:
        printer.line(told, "dim")
    if skipped:
        rows = f"{len(skipped)} damaged {plural('row', len(skipped))} left out"
        printer.line(f"{rows}, first {skipped[0]}; the HTML report lists all", "dim")


def show_values(measurement: Record, printer: Printer) -> None:
    """The headline values."""
    values = value_views(measurement)
    if values:
        printer.line()
        printer.table(
            ("measure", "value", "n"), [[v.name, f"{v.cell.text} {v.cell.detail}".strip(), v.n] for v in values]
        )


def show_tables(tables: Sequence[Any], printer: Printer) -> None:
    """Every table of a measurement under its title."""
    for table in tables:
        printer.line()
        printer.line(table.title, "bold")
        printer.table(table.columns, [[_cell_text(cell) for cell in row] for row in table.rows])
        if table.note:
            printer.line(table.note, "dim")
    printer.line()


def show_notes(measurement: Record, printer: Printer) -> None:
    """Sentences that a reader needs beside the numbers."""
    for note in measurement.get("notes") or ():
        printer.line(f"• {note}")


def show_findings(record: Record, printer: Printer) -> None:
    """What was found, a sentence each."""
    for finding in record.get("findings") or ():
        printer.line(f"• {finding}")


def _cell_text(cell: Cell) -> str:
    return f"{cell.text} {cell.detail}".strip()


def candidate_row(view: CandidateView) -> list[str]:
    """The cells of one candidate, starting with the mark of its status."""
    ratio = fmt.interval_of((view.record.get("latency") or {}).get("ratio"))
    quality = f"{view.quality_cell.text} {view.quality_cell.detail}".strip()
    cells = [MARKS[view.status], view.short, quality, view.n.text, view.latency.text]
    return [*cells, fmt.ratio_text(ratio), view.memory.text, view.status]


def search_lines(record: Mapping[str, Any], candidates: Sequence[CandidateView]) -> list[str]:
    """What the search measured, and whether an exhaustive run agrees."""
    lines = []
    budget = record.get("budget") or {}
    measured, total = finite(budget.get("cells_measured")), finite(budget.get("cells_total"))
    if measured is not None and total:
        share = fmt.share_text(measured, total)
        lines.append(f"measured {share} of all cells ({fmt.integer_text(measured)} of {fmt.integer_text(total)})")
    found = record.get("exhaustive")
    if isinstance(found, Mapping):
        names = {c.id: c.short for c in candidates}
        chosen = names.get(str(found.get("exhaustive_winner")), str(found.get("exhaustive_winner")))
        verb = "agrees" if found.get("agree") else "disagrees"
        lines.append(f"the exhaustive run {verb}: it chooses {chosen}")
    return lines
