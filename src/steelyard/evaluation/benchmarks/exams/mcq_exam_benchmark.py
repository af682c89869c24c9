"""Exams of multiple-choice questions by subject: TMMLU+, TMLU and AstroMLab-1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import NonNegativeInt

from steelyard.contracts import Marks, PromptStyle, Request, Response, Sample
from steelyard.errors import UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.exams.layouts import Exam, exams
from steelyard.evaluation.benchmarks.exams.records import Questions, chosen_subjects, read_subject
from steelyard.evaluation.benchmarks.exams.summary import exam_summary
from steelyard.evaluation.benchmarks.letter_questions import (
    Layout,
    Mode,
    marks_of,
    requests_for,
    shuffled,
    written,
)
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.task_header import data_folder
from steelyard.parts import nearest, part

RULES = "mcq-exam/1"


@part(papers=[3, 23, 29], kind="suite")
def mcq_exam_benchmark(
    *,
    exam: Literal["tmmlu-plus", "tmlu", "astromlab-1"] = "tmmlu-plus",
    data: str | None = None,
    subjects: str | list[str] | None = None,
    mode: Literal["likelihood", "generate", "cot", "stated"] = "likelihood",
    template: str | None = None,
    shots: NonNegativeInt | None = None,
    shuffle: int | None = None,
) -> Suite:
    """An exam of multiple-choice questions, one task a subject, with averages by category and calibration.

    ``tmmlu-plus``: 66 subjects in Traditional Chinese, four choices, grouped into STEM, social sciences,
    humanities and other. ``tmlu``: 37 subjects from Taiwanese exams, four to six choices, with worked explanations
    for its examples. ``astromlab-1``: four-choice questions that a model wrote from review articles in astronomy.
    Their answers are withheld from the public release, so AstroMLab-1 needs a file with the column ``answer``.

    A question is answered by the letter of highest log-likelihood; confidence is that letter's share in the
    probability of all. Where a model writes its answer, a named rule finds the letter (``letter-zh`` for Chinese
    replies) and ``answered`` says how often there was one. Examples are the first of the authors' own split, in
    order, and never ask what a test question asks. The summary gives the mean over subjects and the mean over
    questions, for each category and over all, the expected calibration error with its reliability bins, and the
    correlation of confidence with correctness.

    Args:
        exam: Which exam.
        data: Its folder in the official layout; for AstroMLab-1 also a single file.
        subjects: Some subjects only; by default all, or those that the folder has.
        mode: ``likelihood`` scores letters, ``generate`` reads a generated letter, ``cot`` lets the model reason
            first, with the authors' explanations in the examples, ``stated`` asks for a confidence in words too.
        template: ``harness`` as lm-evaluation-harness writes it, ``paper`` as the authors do. By default the
            former for TMMLU+, the latter for TMLU, and AstroMLab-1 has its own only.
        shots: Examples in a prompt; by default 5, and 0 for AstroMLab-1. ``cot`` without explanations needs 0.
        shuffle: A seed that draws the order of choices anew for each question.

    Raises:
        UsageError: An unknown subject or template, too few examples, no explanations, or data that are not here.
        InputError: A damaged record, or one without answer.

    Source:
        "An Improved Traditional Chinese Evaluation Suite for Foundation Model" (2024), sections 3 and 4;
        "Measuring Taiwanese Mandarin Language Understanding" (2024), sections 3 and 4, and its published prompts;
        "AstroMLab 1: Who Wins Astronomy Jeopardy!?" (2024), sections 2 to 4. Prompts of the template ``harness``
        are those of lm-evaluation-harness, tasks ``tmmluplus`` and ``tmlu``; AstroMLab-1's prompt is our wording.

    Relations:
        ``tokenizer-fertility`` measures what TMMLU+ correlates its scores with; ``belebele`` puts questions to
        passages in the same way; :mod:`steelyard.evaluation.benchmarks.exams.question_generation` writes
        questions as AstroMLab-1 did; :mod:`steelyard.evaluation.calibration` has cost frontiers over time.

    Example:
        >>> suite = mcq_exam_benchmark(exam="tmlu", data="tmlu/", mode="cot")  # doctest: +SKIP
    """
    spec = exams()[exam]
    layout = _layout(exam, spec, template)
    folder = data_folder(spec.header, data)
    wanted = [subjects] if isinstance(subjects, str) else subjects
    names = chosen_subjects(spec, wanted, folder)
    count = spec.shots if shots is None else shots
    tasks, known = [], {}
    for name in names:
        questions = read_subject(spec, name, data)
        title, category = spec.subjects[name]
        task = _task(
            f"{exam}-{name}" if len(spec.subjects) > 1 else exam,
            spec,
            questions,
            title,
            layout,
            (mode, count, shuffle),
        )
        tasks.append(task)
        chance = sum(1 / len(row.data["choices"]) for row in task.rows) / len(task.rows)
        known[task.name] = (title, category, chance)
    notes = []
    if wanted is None and len(names) < len(spec.subjects):
        notes.append(f"{len(names)} of {len(spec.subjects)} subjects of {spec.header.data_set} are in {folder}.")
    return Suite(exam, tuple(tasks), partial(exam_summary, subjects=known, notes=tuple(notes)))


def _layout(exam: str, spec: Exam, template: str | None) -> Layout:
    if template is None:
        return next(iter(spec.layouts.values()))
    if template not in spec.layouts:
        known = ", ".join(spec.layouts)
        raise UsageError(f"{exam} has no template {template!r}{nearest(template, spec.layouts)}; it has {known}")
    return spec.layouts[template]


def _task(
    name: str, spec: Exam, questions: Questions, title: str, layout: Layout, how: tuple[Mode, int, int | None]
) -> BenchmarkTask:
    mode, count, shuffle = how
    examples = _examples(name, questions.examples, count, mode)
    rows = questions.rows
    if shuffle is not None:
        rows = tuple(
            Sample(row.id, shuffled(row.data, row.id, shuffle), row.group, row.weight) for row in questions.rows
        )
    headed = Layout(**{**layout.to_record(), "head": layout.head.replace("{subject}", title)})
    tokens = spec.max_tokens[mode == "cot"]
    return BenchmarkTask(
        name=name,
        rows=rows,
        ask=partial(_ask, layout=headed, examples=examples, mode=mode, max_tokens=tokens),
        mark=partial(_mark, layout=headed, mode=mode),
        metric="accuracy",
        rules=RULES,
        header=spec.header,
        settings={
            "layout": headed.to_record(),
            "mode": mode,
            "examples": [dict(e) for e in examples],
            "tokens": tokens,
        },
    )


def _examples(
    name: str, known: Sequence[Mapping[str, Any]], count: int, mode: Mode
) -> tuple[Mapping[str, Any], ...]:
    if len(known) < count:
        raise UsageError(
            f"{name}: {count} examples were asked for, its data have {len(known)}; set shots={len(known)}"
        )
    if mode == "cot" and any("explanation" not in example for example in known[:count]):
        raise UsageError(f"{name}: its examples have no explanations to reason by; set shots=0")
    return tuple(known[:count])


def _ask(
    sample: Sample,
    style: PromptStyle,
    *,
    layout: Layout,
    examples: Sequence[Mapping[str, Any]],
    mode: Mode,
    max_tokens: int,
) -> list[Request]:
    prompt = written(layout, sample.data, examples, mode, style)
    return requests_for(layout, sample.data, prompt, mode, max_tokens)


def _mark(sample: Sample, responses: Sequence[Response], *, layout: Layout, mode: Mode) -> Marks:
    return marks_of(layout, sample, responses, mode)
