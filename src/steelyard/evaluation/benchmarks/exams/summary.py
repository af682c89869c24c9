"""What an exam says as a whole: averages over subjects and over questions, by category, and calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from steelyard.contracts import Interval
from steelyard.evaluation.calibration import calibration_interval, correlation, reliability_table
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Measurement, Table
from steelyard.evaluation.statistics import mean_interval
from steelyard.evaluation.suite import mean_of_tasks


def exam_summary(
    name: str,
    evaluations: Sequence[Evaluation],
    *,
    subjects: Mapping[str, tuple[str, str, float]],
    notes: Sequence[str],
) -> Measurement:
    """The summary of an exam's evaluations, one a subject.

    Two averages are given because papers and tools differ: over subjects, each counting once, and over questions.
    ``chance`` is the accuracy of guessing, the mean of 1 / number of choices.

    Args:
        name: What reports call the exam.
        evaluations: One a subject.
        subjects: Task name -> title, category, chance.
        notes: What a reader needs to know beside the numbers.
    """
    accuracy = {done.task: done.summary["accuracy"] for done in evaluations}
    categories = dict.fromkeys(subjects[done.task][1] for done in evaluations)
    rows = [
        (done.task, subjects[done.task][0], subjects[done.task][1], accuracy[done.task], subjects[done.task][2])
        for done in evaluations
    ]
    values = {
        "accuracy, mean of subjects": mean_of_tasks(list(accuracy.values())),
        "accuracy, all questions": _pooled(evaluations),
    }
    by_category = []
    for category in categories:
        members = [done for done in evaluations if subjects[done.task][1] == category]
        by_category.append(
            (category, mean_of_tasks([accuracy[done.task] for done in members]), _pooled(members), len(members))
        )
    tables = [
        Table("Subjects", ("task", "subject", "category", "accuracy", "chance"), tuple(rows)),
        Table("Categories", ("category", "mean of subjects", "all questions", "subjects"), tuple(by_category)),
    ]
    tables += _subfields(evaluations)
    calibrated = _calibration(evaluations)
    if calibrated is not None:
        values.update(calibrated[0])
        tables.append(calibrated[1])
    if all("answered" in done.summary for done in evaluations):
        values["answered"] = mean_interval(
            [r.marks.values["answered"] for done in evaluations for r in done.results], bounds=(0.0, 1.0)
        )
    return Measurement(name, values, tuple(tables), tuple(notes))


def _pooled(evaluations: Sequence[Evaluation]) -> Interval:
    marks = [result.marks.values["accuracy"] for done in evaluations for result in done.results]
    return mean_interval(marks, bounds=(0.0, 1.0))


def _subfields(evaluations: Sequence[Evaluation]) -> list[Table]:
    """Accuracy by subfield, where the questions of a single task have several."""
    if len(evaluations) != 1 or len(evaluations[0].groups) < 2:
        return []
    rows = tuple((group, figures["accuracy"]) for group, figures in sorted(evaluations[0].groups.items()))
    return [Table("Subfields", ("subfield", "accuracy"), rows)]


def _calibration(evaluations: Sequence[Evaluation]) -> tuple[dict[str, Interval], Table] | None:
    marks = [r.marks.values for done in evaluations for r in done.results if "confidence" in r.marks.values]
    if not marks:
        return None
    confidence, correct = [m["confidence"] for m in marks], [m["accuracy"] for m in marks]
    values = {
        "confidence": mean_interval(confidence, bounds=(0.0, 1.0)),
        "ECE": calibration_interval(confidence, correct),
    }
    related = correlation(confidence, correct).pearson if len(marks) > 1 else None
    if related is not None and math.isfinite(related.value):  # undefined where all are right, or all wrong
        values["correlation of confidence and correctness"] = related
    return values, reliability_table(confidence, correct)
