"""Tasks read from files: JSONL, CSV or Parquet rows with prompts and their right answers.

    task = load_task("questions.jsonl")
    task.samples()[0], task.metric          # the first test row, "accuracy"

The schema is in ``docs/reference/task-files.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steelyard import parts
from steelyard.contracts import Sample
from steelyard.errors import UsageError
from steelyard.evaluation import grading
from steelyard.evaluation.extraction import FIRST_LINE, check_rule
from steelyard.evaluation.prompting import Form, check_form
from steelyard.evaluation.question_task import MAX_TOKENS, METRICS, QuestionTask, available_metrics
from steelyard.evaluation.records import Problems, read_rows
from steelyard.evaluation.schema import kind_of, read_samples, split_of


def load_task(
    path: str | Path,
    *,
    metric: str | None = None,
    max_tokens: int = MAX_TOKENS,
    form: Form = "cloze",
    extract: str = FIRST_LINE,
    skip_bad: bool = False,
) -> QuestionTask:
    """Read and check a task file.

    Args:
        path: A .jsonl, .csv or .parquet file of the documented columns.
        metric: What ranks systems; by default ``accuracy``, or ``bits_per_byte`` for texts.
        max_tokens: Longest answer generated for a row with ``answers``.
        form: ``cloze`` scores each choice as the answer, ``letters`` lists the choices and scores their letters.
        extract: The rule that finds the answer in what a model writes (:mod:`steelyard.evaluation.extraction`).
        skip_bad: Leave damaged rows out instead of refusing the file; the task's ``skipped`` lists them.

    Raises:
        InputError: The file is wrong; one line names the first place, the problem and the remedy.
        UsageError: The file cannot have this metric; the message names those it can.

    Example:
        >>> task = load_task("questions.jsonl", metric="accuracy_norm")  # doctest: +SKIP
    """
    path = Path(path)
    if max_tokens < 1:
        raise UsageError(f"max_tokens must be at least 1, not {max_tokens}")
    problems = Problems(path)
    rows = read_rows(path, problems)
    total = len(rows) + len(problems.found)
    samples = read_samples(rows, problems)
    if not total:
        problems.stop("", "has no rows", "write at least one sample")
    if problems.fatal or not (skip_bad and samples):
        problems.check(total)
    tested = [sample for sample in samples if split_of(sample) == "test"]
    if not tested:
        problems.stop(
            "", "has no test rows, only examples", 'remove "split": "train" from the rows to be measured'
        )
    kinds = {kind_of(sample) for sample in samples}
    if "text" in kinds and len(kinds) > 1:
        problems.stop("", "mixes texts with questions", "put rows with 'text' into a file of their own")
    return QuestionTask(
        name=path.stem,
        rows=tuple(samples),
        metric=_metric(path, tested, metric),
        source=str(path),
        form=check_form(form),
        max_tokens=max_tokens,
        extract=check_rule(extract),
        skipped=tuple(problems.found),
    )


def _metric(path: Path, samples: Sequence[Sample], wanted: str | None) -> str:
    can = available_metrics(samples)
    if wanted is None:
        return can[0]
    if wanted not in METRICS:
        raise UsageError(
            f"unknown metric {wanted!r}{parts.nearest(wanted, METRICS)}; {path} can have {', '.join(can)}"
        )
    if wanted not in can:
        raise UsageError(f"{path} cannot be ranked by {wanted!r}; it can have {', '.join(can)}")
    if wanted == "regex":
        problems = Problems(path)
        for sample in samples:
            for pattern in () if "pattern" in sample.data else sample.data["answers"]:
                if fault := grading.check_pattern(pattern):
                    problem = f"sample {sample.id!r}: the answer {pattern!r} is not a regular expression ({fault})"
                    problems.add("", problem, "mend it, or add a 'pattern' column")
        problems.check()
    return wanted
