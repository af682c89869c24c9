"""Suites: several tasks measured together, and what they say as a whole.

A part of kind ``suite`` returns a :class:`Suite`; ``steelyard eval MODEL --suite NAME`` measures all its tasks,
each resumable by itself, and hands their evaluations to the suite's own summary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steelyard.contracts import Interval, LanguageModel, Progress, PromptStyle, Task
from steelyard.evaluation.evaluate import Evaluation, ResultStore, evaluate
from steelyard.evaluation.measurement import Measurement, Table

Summary = Callable[[str, Sequence[Evaluation]], Measurement]


def task_table(name: str, evaluations: Sequence[Evaluation]) -> Measurement:
    """The plain summary: a row a task with the metric that ranks systems on it, and the mean over tasks.

    The mean weighs every task alike; its interval takes the tasks as fixed and their samples as drawn, so its
    half-width is the root of the summed squares of theirs, over the number of tasks. It is given where all tasks
    share one metric.
    """
    rows = [(done.task, done.metric, done.summary[done.metric], done.seconds) for done in evaluations]
    values = {}
    if len({metric for _, metric, _, _ in rows}) == 1:
        metric = rows[0][1]
        values[f"mean {metric}"] = mean_of_tasks([quality for _, _, quality, _ in rows])
    table = Table("Tasks", ("task", "metric", "value", "seconds"), tuple(rows))
    return Measurement(name, values, (table,))


def mean_of_tasks(qualities: Sequence[Interval]) -> Interval:
    """The unweighted mean of independent means, with an interval from theirs.

    >>> mean_of_tasks([Interval(0.5, 0.3, 0.7, 10), Interval(0.7, 0.5, 0.9, 10)])[:3]
    (0.6, 0.4585786437626905, 0.7414213562373095)
    """
    count = len(qualities)
    value = sum(q.value for q in qualities) / count
    below = sum((q.value - q.low) ** 2 for q in qualities) ** 0.5 / count
    above = sum((q.high - q.value) ** 2 for q in qualities) ** 0.5 / count
    return Interval(value, value - below, value + above, sum(q.n for q in qualities))


@dataclass(frozen=True)
class Suite:
    """Tasks under one name.

    Attributes:
        name: What reports call it.
        tasks: What is measured, in order; their names differ.
        summary: The suite's name and the tasks' evaluations, in order, to what the suite says as a whole.
        style: How it is asked unless the user says otherwise.
        source: How a command line names it.
    """

    name: str
    tasks: tuple[Task, ...]
    summary: Summary = task_table
    style: PromptStyle | None = None
    source: str = ""

    @property
    def fingerprint(self) -> str:
        """Hash of the tasks' fingerprints."""
        return hashlib.sha256("\n".join(task.fingerprint for task in self.tasks).encode()).hexdigest()


def evaluate_suite(
    model: LanguageModel,
    suite: Suite,
    *,
    style: PromptStyle | None = None,
    store: ResultStore | None = None,
    samples: int | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Measure every task of a suite as :func:`evaluate` does; ``samples`` takes the first so many of each."""
    return [
        evaluate(
            model,
            task,
            style=style or suite.style,
            store=store,
            sample_ids=None if samples is None else [sample.id for sample in task.samples()[:samples]],
            progress=progress,
        )
        for task in suite.tasks
    ]
