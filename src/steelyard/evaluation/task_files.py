"""Tasks read from files: JSONL, CSV or Parquet rows with prompts and their right answers.

    task = load_task("questions.jsonl")
    task.samples()[0], task.metric          # the first test row, "accuracy"

The schema is in ``docs/reference/task-files.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from steelyard import parts
from steelyard.contracts import (
    Ask,
    Continuation,
    Example,
    Generation,
    Interval,
    Marks,
    Message,
    PromptStyle,
    Request,
    Response,
    Sample,
    Sampling,
    Score,
)
from steelyard.errors import InputError, ModelError, UsageError
from steelyard.evaluation import grading, prompting
from steelyard.evaluation.records import Problems, read_rows
from steelyard.evaluation.schema import Kind, kind_of, read_samples, split_of
from steelyard.evaluation.summary import summarise_marks
from steelyard.systems.prompt_rendering import PLAIN_STOP

CHOICE_METRICS = ("accuracy", "accuracy_norm", "accuracy_token", "accuracy_byte")
SHORT_METRICS = ("accuracy", "exact_match", "contains", "f1", "numeric", "regex")
TEXT_METRICS = ("bits_per_byte",)
METRICS = tuple(dict.fromkeys(CHOICE_METRICS + SHORT_METRICS + TEXT_METRICS))
MAX_TOKENS = 16


def load_task(path: str | Path, *, metric: str | None = None, max_tokens: int = MAX_TOKENS) -> FileTask:
    """Read and check a task file.

    Args:
        path: A .jsonl, .csv or .parquet file of the documented columns.
        metric: What ranks systems; by default ``accuracy``, or ``bits_per_byte`` for texts.
        max_tokens: Longest answer generated for a row with ``answers``.

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
    samples = read_samples(rows, problems)
    if not rows and not problems.found:
        problems.add("", "has no rows", "write at least one sample")
    problems.check()
    tested = [sample for sample in samples if split_of(sample) == "test"]
    if not tested:
        problems.stop(
            "", "has no test rows, only examples", 'remove "split": "train" from the rows to be measured'
        )
    kinds = {kind_of(sample) for sample in samples}
    if "text" in kinds and len(kinds) > 1:
        problems.stop("", "mixes texts with questions", "put rows with 'text' into a file of their own")
    return FileTask(path, tuple(samples), _metric(path, tested, metric), max_tokens)


@dataclass(frozen=True)
class FileTask:
    """A task from a file; made by :func:`load_task`, which checks what this class takes for granted."""

    path: Path
    rows: tuple[Sample, ...]
    metric: str
    max_tokens: int = MAX_TOKENS

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def higher_is_better(self) -> bool:
        """False for bits per byte."""
        return self.metric != "bits_per_byte"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the rows as parsed, the rules of grading and what they depend on; not of path or format.

        The ranking metric does not count, because every metric is graded at once, with one exception: graded
        by ``regex``, accepted answers are patterns.
        """
        content = {
            "rules": grading.RULES,
            "max_tokens": self.max_tokens,
            "answers_are_patterns": self._answers_are_patterns,
            "rows": [[row.id, dict(row.data), row.group, row.weight] for row in self.rows],
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    @cached_property
    def _tested(self) -> tuple[Sample, ...]:
        return tuple(row for row in self.rows if split_of(row) == "test")

    @cached_property
    def _has_numbers(self) -> bool:
        return "numeric" in available_metrics(self._tested)

    @cached_property
    def _resolved(self) -> dict[PromptStyle, PromptStyle]:
        return {}  # drawing sorts all rows: once a style, not once a sample

    @property
    def _answers_are_patterns(self) -> bool:
        return self.metric == "regex"

    def samples(self) -> Sequence[Sample]:
        """The rows that are measured, in the order of the file."""
        return self._tested

    def resolved(self, style: PromptStyle) -> PromptStyle:
        """The style with the examples drawn from this task; raises UsageError where they cannot be."""
        if style not in self._resolved:
            self._resolved[style] = prompting.resolved(self.rows, style)
        return self._resolved[style]

    def requests(self, sample: Sample, style: PromptStyle) -> list[Request]:
        """What to ask a model: one continuation a choice, one text to score, or one answer to generate."""
        style = self.resolved(style)
        data = sample.data
        if kind_of(sample) == "text":
            if "messages" in data:
                turns = [Message(turn["role"], turn["content"]) for turn in data["messages"]]
                return [Continuation(turns, data["text"])]
            return [Continuation(data.get("prompt", ""), data["text"])]
        prompt = prompting.build_prompt(sample, style)
        if kind_of(sample) == "choice":
            return [Continuation(prompt, prompting.choice_text(choice, style)) for choice in data["choices"]]
        stop = PLAIN_STOP if isinstance(prompt, str) else ()
        return [Ask(prompt, Sampling(max_tokens=self.max_tokens, stop=stop))]

    def grade(self, sample: Sample, responses: Sequence[Response]) -> Marks:
        """The marks of one sample, every metric of its kind at once.

        Raises :class:`ModelError` where a response is missing or not a number.
        """
        kind = kind_of(sample)
        expected = len(sample.data["choices"]) if kind == "choice" else 1
        if len(responses) != expected:
            raise ModelError(f"sample {sample.id!r}: {len(responses)} responses to {expected} requests")
        if kind == "short":
            return self._grade_answer(sample, responses[0])
        scores = [_score_of(response, sample) for response in responses]
        if kind == "choice":
            choices = [choice.strip() for choice in sample.data["choices"]]
            counts = [len(score.token_logprobs) for score in scores]
            logprobs = [score.logprob for score in scores]
            values, best = grading.choice_marks(choices, sample.data["answer"], logprobs, counts)
            return Marks(values, prediction=sample.data["choices"][best])
        if scores[0].logprob == -math.inf:
            raise ModelError(f"sample {sample.id!r}: the model gives this text no probability at all")
        bits, size = grading.bits_per_byte(scores[0].logprob, sample.data["text"])
        return Marks({"bits_per_byte": bits}, weights={"bits_per_byte": float(size)})

    def _grade_answer(self, sample: Sample, response: Response) -> Marks:
        if not isinstance(response, Generation):
            raise ModelError(f"sample {sample.id!r}: asked for an answer, the model returned a score")
        output, accepted = response.text, sample.data["answers"]
        prediction = grading.extract_answer(output)
        exact = grading.exact_match(prediction, accepted)
        values = {
            "accuracy": exact,
            "exact_match": exact,
            "contains": grading.contains(output, accepted),
            "f1": grading.token_f1(prediction, accepted),
        }
        if self._has_numbers:
            values["numeric"] = grading.numeric_match(output, accepted)
        try:
            if "pattern" in sample.data:
                values["regex"] = grading.pattern_match(output, sample.data["pattern"], accepted)
            elif self._answers_are_patterns:
                values["regex"] = max(grading.pattern_match(output, pattern) for pattern in accepted)
        except InputError as error:
            raise InputError(f"{self.path}: sample {sample.id!r}: {error}") from None
        return Marks(values, prediction=prediction)

    def summarise(self, marks: Sequence[Marks], weights: Sequence[float]) -> dict[str, Interval]:
        """One interval a metric; see :func:`steelyard.evaluation.summary.summarise_marks`."""
        return summarise_marks(marks, weights)


def exemplars(task: FileTask, style: PromptStyle) -> tuple[Example, ...]:
    """The shots + 1 examples that the prompts of a style choose from, for export into a system file."""
    return task.resolved(style).examples


def available_metrics(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The metrics that can rank systems on these samples: those that every one of them has."""
    kinds: set[Kind] = {kind_of(sample) for sample in samples}
    if kinds == {"text"}:
        return TEXT_METRICS
    if kinds == {"choice"}:
        return CHOICE_METRICS
    if "choice" in kinds:
        return ("accuracy",)
    numbers = all(any(grading.last_number(a) is not None for a in s.data["answers"]) for s in samples)
    return tuple(name for name in SHORT_METRICS if name != "numeric" or numbers)


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


def _score_of(response: Response, sample: Sample) -> Score:
    if not isinstance(response, Score):
        raise ModelError(f"sample {sample.id!r}: asked for a score, the model returned text")
    if math.isnan(response.logprob) or response.logprob == math.inf:
        raise ModelError(
            f"sample {sample.id!r}: the model's log-likelihood is {response.logprob}; "
            "its weights or number format are damaged"
        )
    return response
