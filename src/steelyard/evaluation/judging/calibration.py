"""How far a judge can be trusted: its agreement with people, before its verdicts decide anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steelyard.contracts import Interval, Judge, Verdict
from steelyard.evaluation.judging.agreement import (
    cohen_kappa,
    fleiss_kappa,
    macro_f1,
    rating_counts,
)
from steelyard.evaluation.judging.human_labels import LabelledPairs
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.statistics import clustered_interval, mean_interval

NAMES = {1.0: "first", 0.5: "tie", 0.0: "second"}
"""What the values of a comparison are called in tables and in agreement statistics."""


def calibrate(judge: Judge, labelled: LabelledPairs, *, level: float = 0.95, seed: int = 0) -> Measurement:
    """Have ``judge`` compare pairs that people have compared, and say how well the two agree.

    Values: ``agreement`` (an unreadable verdict disagrees) and ``agreement where people prefer one``;
    ``kappa`` and ``f1`` on readable verdicts; ``ties``, ``inconsistent`` (the two orders differ) and
    ``unreadable`` as shares of all pairs; ``first shown``, the share of single replies naming one answer that
    named the one shown first, where 0.5 is no position bias (interval clustered by pair).

    Example:
        >>> calibrate(judge, pandalm(Path("testset-v1.json"))).values["agreement"]  # doctest: +SKIP
    """
    verdicts = judge.compare([item.pair for item in labelled.pairs])
    truth = np.array([item.label for item in labelled.pairs])
    found = np.array([np.nan if verdict.value is None else verdict.value for verdict in verdicts])
    read = np.isfinite(found)
    right = mean_interval((found == truth).astype(float), bounds=(0.0, 1.0), level=level)
    values: dict[str, Interval] = {"agreement": right}
    clear = truth != 0.5
    if clear.any():
        preferred = (found[clear] == truth[clear]).astype(float)
        values["agreement where people prefer one"] = mean_interval(preferred, bounds=(0.0, 1.0), level=level)
    if read.any():
        values["kappa"] = cohen_kappa(truth[read], found[read], level=level, seed=seed)
        values["f1"] = macro_f1(truth[read], found[read], level=level, seed=seed)
    values |= verdict_shares(verdicts, level=level)
    votes = [item.votes for item in labelled.pairs if item.votes]
    if votes:
        values["kappa among people"] = fleiss_kappa(rating_counts(votes), level=level, seed=seed)
    counts = {name: Interval(*values[name]) for name in values}
    notes = [_trust(judge.card.name, labelled, right, truth), *_cautions(values)]
    if labelled.without_majority:
        notes.append(f"{labelled.without_majority} pairs without a majority among people are left out.")
    return Measurement(
        f"calibration of {judge.card.name} on {labelled.name}", counts, (_table(truth, found),), tuple(notes)
    )


def verdict_shares(verdicts: Sequence[Verdict], *, level: float = 0.95) -> dict[str, Interval]:
    """Shares of ties, of contradictions between the orders and of unreadable verdicts, and ``first shown``.

    ``first shown`` and ``inconsistent`` are absent where no verdict allows them.
    """

    def share(flags: Sequence[bool]) -> Interval:
        return mean_interval([float(flag) for flag in flags], bounds=(0.0, 1.0), level=level)

    shares = {
        "ties": share([verdict.value == 0.5 for verdict in verdicts]),
        "unreadable": share([verdict.value is None for verdict in verdicts]),
    }
    both = [v.orders for v in verdicts if len(v.orders) == 2 and None not in v.orders]
    if both:
        shares["inconsistent"] = share([a != b for a, b in both])
    chosen, pair = first_shown(verdicts)
    if chosen:
        shares["first shown"] = _bounded(chosen, pair, level)
    return shares


def first_shown(verdicts: Sequence[Verdict]) -> tuple[list[float], list[int]]:
    """For every single reply that preferred one answer: 1 if it was the one shown first, and the pair's number.

    >>> first_shown([Verdict(0.5, (1.0, 0.0))])  # the answer shown first, in both orders
    ([1.0, 1.0], [0, 0])
    """
    chosen, pair = [], []
    for number, verdict in enumerate(verdicts):
        for order, value in enumerate(verdict.orders):
            if value is not None and value != 0.5:
                chosen.append(float((value > 0.5) == (order == 0)))
                pair.append(number)
    return chosen, pair


def position_biased(shares: dict[str, Interval]) -> bool:
    """Whether the interval of ``first shown`` excludes one half."""
    found = shares.get("first shown")
    return found is not None and not found.low <= 0.5 <= found.high


def _bounded(chosen: Sequence[float], pair: Sequence[int], level: float) -> Interval:
    """Clustered by pair; where every reply is alike (no spread to estimate) Wilson's interval over the pairs."""
    pairs = len(set(pair))
    if len(set(chosen)) == 1 or pairs < 2:
        value, low, high, _ = mean_interval([chosen[0]] * pairs, bounds=(0.0, 1.0), level=level)
        return Interval(float(np.mean(chosen)), low, high, len(chosen))
    value, low, high, n = clustered_interval(chosen, pair, level=level)
    return Interval(value, max(0.0, low), min(1.0, high), n)


def _trust(name: str, labelled: LabelledPairs, right: Interval, truth: np.ndarray) -> str:
    """One sentence: does the judge agree more than always giving the commonest label would?"""
    labels, counts = np.unique(truth, return_counts=True)
    most = float(counts.max() / counts.sum())
    label = NAMES[float(labels[counts.argmax()])]
    where = f"{labelled.name}: agreement {right.value:.3f} [{right.low:.3f}, {right.high:.3f}], n = {right.n}"
    if right.low > most:
        return f"{name} agrees with people more than always saying {label!r} does ({most:.3f}) on {where}."
    return f"{name} is not shown to agree more than always saying {label!r} does ({most:.3f}) on {where}."


def _cautions(values: dict[str, Interval]) -> list[str]:
    notes = []
    if position_biased(values):
        found = values["first shown"]
        which = "first" if found.value > 0.5 else "second"
        notes.append(
            f"Position bias: of single replies {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] named the "
            f"answer shown first, so the {which} place wins; both orders together cancel it."
        )
    if values["unreadable"].value:
        notes.append(
            f"{values['unreadable'].value:.3f} of the verdicts could not be read and count as no verdict."
        )
    return notes


def _table(truth: np.ndarray, found: np.ndarray) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for value, name in NAMES.items():
        own = found[truth == value]
        counts: list[Cell] = [int((own == column).sum()) for column in NAMES]
        rows.append((name, *counts, int(np.isnan(own).sum())))
    return Table("people (rows) against judge (columns)", ("", *NAMES.values(), "unreadable"), tuple(rows))
