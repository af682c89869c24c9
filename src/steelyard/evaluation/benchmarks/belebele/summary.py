"""What Belebele says as a whole: by language, script, family and resources, compared on the same questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval
from steelyard.errors import UsageError
from steelyard.evaluation.benchmarks.belebele.records import languages
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.significance import holm, mcnemar_exact
from steelyard.evaluation.statistics import clustered_interval, paired_difference

ENGLISH = "eng_Latn"


@dataclass(frozen=True)
class Answers:
    """Right and wrong answers: ``right`` has questions (rows, with their passages) by languages (columns)."""

    codes: tuple[str, ...]
    passages: tuple[str, ...]
    right: NDArray[np.float64]

    def of(self, codes: Sequence[str]) -> NDArray[np.float64]:
        """Mean over some languages, for each question."""
        return np.asarray(self.right[:, [self.codes.index(code) for code in codes]].mean(axis=1))

    def mean(self, codes: Sequence[str]) -> Interval:
        """Accuracy over some languages, with an interval clustered by passage and cut to [0, 1]."""
        return _cut(clustered_interval(self.of(codes), self.passages), 0.0)

    def difference(self, first: Sequence[str], second: Sequence[str]) -> Interval:
        """Difference of two groups of languages on the same questions, clustered by passage."""
        return _cut(clustered_interval(self.of(first) - self.of(second), self.passages), -1.0)


def aligned_answers(evaluations: Mapping[str, Evaluation]) -> Answers:
    """The answers to the questions that every language has, in the first one's order."""
    marks = {
        code: {result.sample_id: result.marks.values["accuracy"] for result in done.results}
        for code, done in evaluations.items()
    }
    first = next(iter(evaluations.values()))
    shared = [r for r in first.results if all(r.sample_id in own for own in marks.values())]
    if not shared:
        raise UsageError("belebele: the languages share no measured question; measure the same ones in each")
    right = np.array([[own[r.sample_id] for own in marks.values()] for r in shared], dtype=np.float64)
    return Answers(tuple(evaluations), tuple(r.group for r in shared), right)


def belebele_summary(
    name: str,
    evaluations: Sequence[Evaluation],
    *,
    direct: Mapping[str, str],
    translated: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Measurement:
    """Tables by language and group, and paired comparisons with English and with translations.

    Since the questions are parallel, a group of languages is compared with another question by question; two
    questions share a passage, so intervals are clustered by passage. Languages are compared with English by
    McNemar's exact test, p-values corrected after Holm.

    Args:
        name: What reports call it.
        evaluations: One a task.
        direct: Task name -> language code, for questions in the language itself.
        translated: Task name -> language code, for machine-translated questions.
        notes: What a reader needs to know beside the numbers.
    """
    own = {direct[done.task]: done for done in evaluations if done.task in direct}
    answers = aligned_answers(own)
    known = languages()
    codes = list(own)
    versus = _against_english(answers) if ENGLISH in own and len(codes) > 1 else {}
    rows: list[tuple[Cell, ...]] = [
        (code, *known[code][:3], known[code].level, answers.mean([code]), *versus.get(code, (None, None)))
        for code in codes
    ]
    columns = ("variant", "language", "script", "family", "resources", "accuracy", "minus English", "p (Holm)")
    tables = [Table("Languages", columns, tuple(rows), "chance is 0.25")]
    values = {"accuracy": answers.mean(codes)}
    for title, groups in (
        ("Scripts", _groups(codes, lambda code: known[code].script)),
        ("Families", _groups(codes, lambda code: known[code].family)),
        ("Resources", _groups(codes, lambda code: known[code].level)),
    ):
        tables.append(_group_table(title, groups, answers, codes))
    levels = _groups(codes, lambda code: known[code].level)
    for level in ("medium", "low"):
        if "high" in levels and level in levels:
            values[f"high minus {level} resources"] = answers.difference(levels["high"], levels[level])
    if translated:
        other = {translated[done.task]: done for done in evaluations if done.task in translated}
        tables.append(_translation_table(own, other))
    if len(answers.passages) < max(len(done.results) for done in own.values()):
        notes = (*notes, f"Comparisons are on the {len(answers.passages)} questions that every language has.")
    return Measurement(name, values, tuple(tables), tuple(notes))


def _against_english(answers: Answers) -> dict[str, tuple[Cell, ...]]:
    others = [code for code in answers.codes if code != ENGLISH]
    corrected = holm([mcnemar_exact(answers.of([code]), answers.of([ENGLISH])) for code in others])
    return {code: (answers.difference([code], [ENGLISH]), p) for code, p in zip(others, corrected, strict=True)}


def _groups(codes: Sequence[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for code in codes:
        groups.setdefault(key(code), []).append(code)
    return groups


def _group_table(title: str, groups: Mapping[str, list[str]], answers: Answers, codes: Sequence[str]) -> Table:
    """A row a group: its mean, and its difference from all other languages on the same questions."""
    rows: list[tuple[Cell, ...]] = []
    for group, members in sorted(groups.items()):
        rest = [code for code in codes if code not in members]
        rows.append(
            (group, answers.mean(members), answers.difference(members, rest) if rest else None, len(members))
        )
    return Table(title, (title.lower(), "accuracy", "minus the others", "variants"), tuple(rows))


def _translation_table(own: Mapping[str, Evaluation], other: Mapping[str, Evaluation]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    tests: list[float] = []
    for code, done in other.items():
        first = {result.sample_id: result.marks.values["accuracy"] for result in done.results}
        second = {result.sample_id: result.marks.values["accuracy"] for result in own[code].results}
        shared = [i for i in first if i in second]
        a, b = [first[i] for i in shared], [second[i] for i in shared]
        tests.append(mcnemar_exact(a, b))
        rows.append((code, done.summary["accuracy"], own[code].summary["accuracy"], paired_difference(a, b)))
    corrected = holm(tests)
    return Table(
        "Translate-test",
        ("variant", "translated", "direct", "difference", "p (Holm)"),
        tuple((*row, p) for row, p in zip(rows, corrected, strict=True)),
    )


def _cut(interval: Interval, low: float) -> Interval:
    return Interval(interval.value, max(low, interval.low), min(1.0, interval.high), interval.n)
