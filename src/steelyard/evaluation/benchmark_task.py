"""A benchmark with its own way of asking and grading, from a few functions.

A benchmark whose items are plain questions is a :class:`~steelyard.evaluation.question_task.QuestionTask`. One
with prompts or scores of its own hands its functions to :class:`BenchmarkTask`::

    BenchmarkTask("reverse", rows, ask=ask, mark=mark, metric="accuracy", rules="reverse/1", header=HEADER)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from steelyard.contracts import Interval, Marks, PromptStyle, Request, Response, Sample
from steelyard.errors import UsageError
from steelyard.evaluation import prompting
from steelyard.evaluation.schema import split_of
from steelyard.evaluation.summary import summarise_marks
from steelyard.evaluation.task_header import TaskHeader


@dataclass(frozen=True)
class BenchmarkTask:
    """A task made of functions.

    Attributes:
        name: What reports call it.
        rows: The samples. ``data`` is JSON-ready; "prompt" and "reference" in it are what a report shows. Rows
            whose split is ``train`` are examples only.
        ask: What to ask a model for one sample, in a style.
        mark: The marks of one sample from its responses, in order; raises ModelError where one is unusable.
        metric: What ranks systems; every mark has it.
        rules: Name and version of asking and marking; changing either changes the version, and so the fingerprint.
        header: Where the items come from.
        higher_is_better: Whether more of ``metric`` is better.
        settings: What else distinguishes this task from others of the same rows, JSON-ready.
        summary: Marks and weights to intervals; :func:`summarise_marks` (plain metrics within 0 and 1) by default.
        few_shot: Whether examples may be drawn from the rows, which must then be rows of a task file. Where not,
            shots are refused, or passed over if None: for a task that a suite measures beside others.
        source: How a command line names it; filled in when it is opened by name.
    """

    name: str
    rows: tuple[Sample, ...]
    ask: Callable[[Sample, PromptStyle], list[Request]]
    mark: Callable[[Sample, Sequence[Response]], Marks]
    metric: str
    rules: str
    header: TaskHeader
    higher_is_better: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    summary: Callable[[Sequence[Marks], Sequence[float]], dict[str, Interval]] = summarise_marks
    few_shot: bool | None = False
    source: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the rows, the rules and the settings."""
        content = {
            "rules": self.rules,
            "settings": dict(self.settings),
            "rows": [[row.id, dict(row.data), row.group, row.weight] for row in self.rows],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def _tested(self) -> tuple[Sample, ...]:
        return tuple(row for row in self.rows if split_of(row) == "test")

    @cached_property
    def _resolved(self) -> dict[PromptStyle, PromptStyle]:
        return {}

    def samples(self) -> Sequence[Sample]:
        """The rows that are measured, in order."""
        return self._tested

    def resolved(self, style: PromptStyle) -> PromptStyle:
        """The style with its examples drawn; UsageError where this benchmark's prompts leave no room for them."""
        if self.few_shot is None:
            style = replace(style, shots=0, examples=())
        if (style.shots or style.examples) and not self.few_shot:
            raise UsageError(f"{self.name} asks with prompts of its own; shots do not apply to it")
        if style not in self._resolved:
            self._resolved[style] = prompting.resolved(self.rows, style) if self.few_shot else style
        return self._resolved[style]

    def requests(self, sample: Sample, style: PromptStyle) -> list[Request]:
        """What to ask a model for one sample."""
        return self.ask(sample, self.resolved(style))

    def grade(self, sample: Sample, responses: Sequence[Response]) -> Marks:
        """The marks of one sample."""
        return self.mark(sample, responses)

    def summarise(self, marks: Sequence[Marks], weights: Sequence[float]) -> dict[str, Interval]:
        """One interval a metric."""
        return self.summary(marks, weights)
