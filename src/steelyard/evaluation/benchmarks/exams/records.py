"""Questions of an exam, read from files in its official layout or from the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.contracts import Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.exams.layouts import Exam
from steelyard.evaluation.benchmarks.letter_questions import lettered
from steelyard.evaluation.records import SUFFIXES
from steelyard.evaluation.task_header import data_folder, how_to_get, hub_records, records_of
from steelyard.parts import nearest


class Questions(NamedTuple):
    """The questions of one subject, and its solved examples in the authors' order."""

    rows: tuple[Sample, ...]
    examples: tuple[Mapping[str, Any], ...]


def split_files(folder: Path, subject: str, split: str) -> list[Path]:
    """The files of one split of a subject: SUBJECT_SPLIT.*, SUBJECT/SPLIT*.*, here or in ``data``; sorted."""
    for place in (folder, folder / "data"):
        patterns = (
            f"{subject}_{split}",
            f"{subject}/{split}",
            f"{subject}/{split}-*",
            f"{subject}/{subject}_{split}",
        )
        for pattern in patterns:
            found = sorted(path for suffix in SUFFIXES for path in place.glob(pattern + suffix))
            if found:
                return found
    return []


def whole_files(folder: Path, splits: Sequence[str]) -> list[Path]:
    """The files of an exam without subjects: SPLIT.* or SPLIT-*.*, here or in ``data``, or the file itself."""
    if folder.is_file():
        return [folder]
    for split in splits:
        for place in (folder, folder / "data"):
            found = sorted(path for suffix in SUFFIXES for path in place.glob(f"{split}*{suffix}"))
            if found:
                return found
    return []


def chosen_subjects(exam: Exam, wanted: Sequence[str] | None, folder: Path | None) -> list[str]:
    """The subjects asked for, checked; by default all of them, or those that a folder has.

    Raises:
        UsageError: A subject that the exam does not have, or a folder that has none of them.
    """
    for name in wanted or ():
        if name not in exam.subjects:
            raise UsageError(
                f"{exam.header.data_set} has no subject {name!r}{nearest(name, exam.subjects)}; it has "
                f"{len(exam.subjects)}, such as {', '.join(sorted(exam.subjects)[:4])}"
            )
    if wanted:
        return list(dict.fromkeys(wanted))
    if folder is None or len(exam.subjects) == 1:
        return list(exam.subjects)
    found = [name for name in exam.subjects if any(split_files(folder, name, split) for split in exam.test_splits)]
    if not found:
        raise UsageError(f"{folder}: no subject of {exam.header.data_set} is here; {how_to_get(exam.header)}")
    return found


def read_subject(exam: Exam, subject: str, data: str | Path | None) -> Questions:
    """The questions and examples of one subject.

    Examples that ask what a test question asks are left out, so that no prompt holds its own answer.

    Raises:
        InputError: A record is damaged, or there are no test questions.
        UsageError: The data are neither here nor on the hub.
    """
    folder = data_folder(exam.header, data)
    alone = len(exam.subjects) == 1
    config = None if alone else subject
    tests = [
        found for split in exam.test_splits if (found := _records(exam, folder, subject, split, config, alone))
    ]
    if not tests:
        raise InputError(f"{folder}: no test questions of {subject!r}; {how_to_get(exam.header)}")
    rows = tuple(_sample(exam, subject, number, place, values) for number, (place, values) in enumerate(tests[0]))
    asked = {row.data["prompt"] for row in rows}
    wanted = (
        []
        if exam.shots == 0 and folder is None
        else _records(exam, folder, subject, exam.examples_split, config, alone)
    )
    examples = [lettered(place, values) for place, values in wanted]
    return Questions(rows, tuple(example for example in examples if example["prompt"] not in asked))


def _records(
    exam: Exam, folder: Path | None, subject: str, split: str, config: str | None, alone: bool
) -> list[tuple[str, Mapping[str, Any]]]:
    if folder is None:
        found = hub_records(exam.header, config=config, split=exam.test_splits[-1] if alone else split)
        return [(f"{exam.header.hub} {subject} {split}:{i + 1}", record) for i, record in enumerate(found)]
    files = whole_files(folder, [split]) if alone else split_files(folder, subject, split)
    return [record for file in files for record in records_of(file)]


def _sample(exam: Exam, subject: str, number: int, place: str, values: Mapping[str, Any]) -> Sample:
    try:
        data = lettered(place, values)
    except InputError as error:
        if "there is no answer" in str(error):
            error.args = (f"{error} ({exam.header.data_set} is {exam.header.licence})",)
        raise
    group = next((str(values[name]) for name in exam.group_columns if values.get(name)), subject)
    name = str(values.get("id") or number)
    return Sample(f"{subject}-{name}", {**data, "split": "test"}, group=group)
