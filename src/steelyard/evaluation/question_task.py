"""Tasks of questions and texts: what to ask for each row, and how to grade the answers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from steelyard.contracts import (
    Ask,
    Continuation,
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
from steelyard.errors import InputError, ModelError
from steelyard.evaluation import extraction, grading, prompting
from steelyard.evaluation.extraction import FIRST_LINE
from steelyard.evaluation.prompting import Form
from steelyard.evaluation.responses import checked_score, checked_text
from steelyard.evaluation.schema import Kind, kind_of, split_of
from steelyard.evaluation.summary import summarise_marks
from steelyard.evaluation.task_header import TaskHeader
from steelyard.systems.prompt_rendering import PLAIN_STOP

CHOICE_METRICS = ("accuracy", "accuracy_norm", "accuracy_token", "accuracy_byte")
SHORT_METRICS = ("accuracy", "exact_match", "contains", "f1", "numeric", "regex")
TEXT_METRICS = ("bits_per_byte",)
METRICS = tuple(dict.fromkeys(CHOICE_METRICS + SHORT_METRICS + TEXT_METRICS))
MAX_TOKENS = 16


@dataclass(frozen=True)
class QuestionTask:
    """Rows in the schema of task files: choices to score, answers to generate, texts to measure.

    Files become tasks through :func:`steelyard.evaluation.task_files.load_task`; a benchmark whose items are such
    rows makes one of its own. Both take care that the rows are sound, which this class takes for granted.

    Attributes:
        name: What reports call it.
        rows: The samples; those of the split ``train`` are examples only.
        metric: What ranks systems; one of :func:`available_metrics`.
        source: How a command line names it: the file, or the benchmark with its settings.
        max_tokens: Longest answer generated for a row with ``answers``.
        form: How choices are put: ``cloze`` scores each choice as the answer; ``letters`` lists them in the
            question and scores their letters.
        extract: The rule that finds the answer in what a model writes; a key of
            :data:`steelyard.evaluation.extraction.RULES`.
        header: Where the items come from, for a published data set.
        skipped: What was left out of a damaged file, a line each.
    """

    name: str
    rows: tuple[Sample, ...]
    metric: str
    source: str = ""
    form: Form = "cloze"
    max_tokens: int = MAX_TOKENS
    extract: str = FIRST_LINE
    header: TaskHeader | None = None
    skipped: tuple[str, ...] = ()

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
            "extract": self.extract,
            "form": self.form,
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
            self._resolved[style] = prompting.resolved(self.rows, style, self.form)
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
        prompt = prompting.build_prompt(sample, style, self.form)
        if kind_of(sample) == "choice":
            put = prompting.put_choices(data["choices"], self.form)
            return [Continuation(prompt, prompting.choice_text(choice, style)) for choice in put]
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
        scores = [checked_score(response, sample) for response in responses]
        if kind == "choice":
            values, best = self._choice_marks(sample, scores)
            return Marks(values, prediction=sample.data["choices"][best])
        if scores[0].logprob == -math.inf:
            raise ModelError(f"sample {sample.id!r}: the model gives this text no probability at all")
        bits, size = grading.bits_per_byte(scores[0].logprob, sample.data["text"])
        return Marks({"bits_per_byte": bits}, weights={"bits_per_byte": float(size)})

    def _choice_marks(self, sample: Sample, scores: Sequence[Score]) -> tuple[dict[str, float], int]:
        put = prompting.put_choices(sample.data["choices"], self.form)
        counts = [len(score.token_logprobs) for score in scores]
        logprobs = [score.logprob for score in scores]
        return grading.choice_marks([choice.strip() for choice in put], sample.data["answer"], logprobs, counts)

    def _grade_answer(self, sample: Sample, response: Response) -> Marks:
        output, accepted = checked_text(response, sample), sample.data["answers"]
        prediction = extraction.extract(self.extract, output)
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
            raise InputError(f"{self.source or self.name}: sample {sample.id!r}: {error}") from None
        return Marks(values, prediction=prediction)

    def summarise(self, marks: Sequence[Marks], weights: Sequence[float]) -> dict[str, Interval]:
        """One interval a metric; see :func:`steelyard.evaluation.summary.summarise_marks`."""
        return summarise_marks(marks, weights)


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
