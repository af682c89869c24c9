"""What rankings are made of and what they give: answers, battles between answers, and the ranking itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.contracts import Interval, Verdict
from steelyard.evaluation.measurement import Measurement, Table
from steelyard.evaluation.statistics import interval_record

Array: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """The answers of several systems to the same questions: ``texts`` is (systems, questions)."""

    names: tuple[str, ...]
    questions: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.names) or any(len(own) != len(self.questions) for own in self.texts):
            raise ValueError(f"needs {len(self.names)} x {len(self.questions)} answers")


@dataclass(frozen=True, eq=False)
class Battles:
    """Comparisons of two systems' answers to one question by one reviewer, one an entry of each array.

    Attributes:
        names: the systems that are ranked.
        reviewers: who judged; in peer review these are ``names`` themselves.
        question: numbers of the questions, int (n,).
        reviewer: numbers into ``reviewers``, int (n,).
        first: numbers into ``names`` of the first system, int (n,).
        second: numbers into ``names`` of the second, int (n,).
        values: 1 where the first won, 0 the second, 0.5 a tie, NaN unreadable; float (n,).
        orders: the values with the answers as given and swapped, float (n, 2); NaN where not asked or unreadable.
    """

    names: tuple[str, ...]
    reviewers: tuple[str, ...]
    question: Places
    reviewer: Places
    first: Places
    second: Places
    values: Array
    orders: Array

    @property
    def peers(self) -> bool:
        """Whether the systems judged each other."""
        return self.names == self.reviewers

    @property
    def read(self) -> NDArray[np.bool_]:
        """Which verdicts could be read, bool (n,)."""
        return np.isfinite(self.values)


def battles(
    names: Sequence[str],
    reviewers: Sequence[str],
    entries: Sequence[tuple[int, int, int, int]],
    verdicts: Sequence[Verdict],
) -> Battles:
    """Battles from entries (question, reviewer, first, second) and the verdict on each."""
    table = np.asarray(entries, dtype=np.int64).reshape(-1, 4)
    orders = np.full((len(verdicts), 2), np.nan)
    for row, verdict in enumerate(verdicts):
        for order, value in enumerate(verdict.orders[:2]):
            orders[row, order] = np.nan if value is None else value
    values = np.array([np.nan if v.value is None else v.value for v in verdicts], dtype=np.float64)
    question, reviewer, first, second = table.T
    return Battles(tuple(names), tuple(reviewers), question, reviewer, first, second, values, orders)


def joined(fought: Sequence[Battles]) -> Battles:
    """Battles of several reviewers over the same systems as one record."""
    reviewers = tuple(name for one in fought for name in one.reviewers)
    starts = np.cumsum([0, *(len(one.reviewers) for one in fought)])
    return Battles(
        fought[0].names,
        reviewers,
        np.concatenate([one.question for one in fought]),
        np.concatenate([one.reviewer + start for one, start in zip(fought, starts, strict=False)]),
        np.concatenate([one.first for one in fought]),
        np.concatenate([one.second for one in fought]),
        np.concatenate([one.values for one in fought]),
        np.concatenate([one.orders for one in fought]),
    )


def win_tables(fought: Battles) -> Array:
    """Wins of one system over another per question, ties half: float (questions, systems, systems)."""
    m, read = len(fought.names), fought.read
    _, question = np.unique(fought.question, return_inverse=True)
    wins = np.zeros((int(question.max(initial=-1)) + 1, m, m))
    q, i, j, v = question[read], fought.first[read], fought.second[read], fought.values[read]
    np.add.at(wins, (q, i, j), v)
    np.add.at(wins, (q, j, i), 1.0 - v)
    return wins


def review_tables(fought: Battles, *, own: bool = True) -> tuple[Array, Array]:
    """What each reviewer gave each system: wins (ties half) and battles, both (questions, systems, reviewers).

    With ``own`` false, battles that a reviewer's own answer took part in are left out.
    """
    use = fought.read.copy()
    if not own:
        names = np.array([fought.names.index(r) if r in fought.names else -1 for r in fought.reviewers])
        judge = names[fought.reviewer]
        use &= (judge != fought.first) & (judge != fought.second)
    _, question = np.unique(fought.question, return_inverse=True)
    shape = (int(question.max(initial=-1)) + 1, len(fought.names), len(fought.reviewers))
    wins, counts = np.zeros(shape), np.zeros(shape)
    q, r, v = question[use], fought.reviewer[use], fought.values[use]
    for system, value in ((fought.first[use], v), (fought.second[use], 1.0 - v)):
        np.add.at(wins, (q, system, r), value)
        np.add.at(counts, (q, system, r), 1.0)
    return wins, counts


@dataclass(frozen=True)
class Ranking:
    """Systems in an order of merit.

    Attributes:
        method: the part that made it.
        names: the systems, in the order they were given.
        scores: a number each, in the same order; more is better.
        score_name: what the numbers are, such as ``"win rate"``.
        intervals: where they are defined, an interval each.
        order: numbers into ``names``, best first; equal scores keep the order given.
        notes: sentences a reader needs beside the numbers.
        details: JSON-ready raw material of the method.
    """

    method: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    score_name: str
    intervals: tuple[Interval, ...] = ()
    order: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ranked(self) -> tuple[str, ...]:
        """The names, best first."""
        return tuple(self.names[i] for i in self.order)

    def place(self, system: int) -> int:
        """The rank of a system by number, 1 the best; equal scores (to 1e-9) share the better rank."""
        at = self.order.index(system)
        while at and abs(self.scores[self.order[at - 1]] - self.scores[self.order[at]]) <= 1e-9:
            at -= 1
        return at + 1

    def to_record(self) -> dict[str, Any]:
        """The JSON-ready form: ``rows`` best first with rank, name, score, interval (or null), then the rest."""
        rows = [
            {
                "rank": self.place(i),
                "name": self.names[i],
                "score": float(self.scores[i]),
                "interval": interval_record(self.intervals[i]) if self.intervals else None,
            }
            for i in self.order
        ]
        return {
            "method": self.method,
            "score_name": self.score_name,
            "rows": rows,
            "notes": list(self.notes),
            "details": dict(self.details),
        }

    def to_measurement(self) -> Measurement:
        """The ranking as a table that prints, stores and plots like any measure."""
        cells = self.intervals or self.scores
        rows = tuple((self.place(i), self.names[i], cells[i]) for i in self.order)
        table = Table(self.method, ("rank", "system", self.score_name), rows)
        values = {self.names[i]: self.intervals[i] for i in self.order} if self.intervals else {}
        return Measurement(self.method, values, (table,), self.notes, dict(self.details))


def ranking(method: str, names: Sequence[str], scores: ArrayLike, score_name: str, **more: Any) -> Ranking:
    """A ranking by score: the highest first, equal scores in the order given."""
    values = np.asarray(scores, dtype=np.float64)
    order = tuple(int(i) for i in np.argsort(-values, kind="stable"))
    return Ranking(method, tuple(names), tuple(float(v) for v in values), score_name, order=order, **more)
