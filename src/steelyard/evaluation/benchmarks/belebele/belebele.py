"""Belebele: reading comprehension in 122 language variants, one of them a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import NonNegativeInt

from steelyard.contracts import Marks, PromptStyle, Request, Response, Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.belebele.records import (
    HEADER,
    chosen_languages,
    question_of,
    read_variant,
)
from steelyard.evaluation.benchmarks.letter_questions import (
    Layout,
    Mode,
    marks_of,
    requests_for,
    shuffled,
    written,
)
from steelyard.evaluation.task_header import data_folder, records_of
from steelyard.parts import part

RULES = "belebele/1"
IN_CONTEXT = Layout(
    head="",
    body="P: {context}\nQ: {prompt}",
    choice="\n{letter}: {choice}",
    cue="\nAnswer:",
    answer=" {letter}",
)
INSTRUCTION = Layout(
    head="Given the following passage, query, and answer choices, output the letter corresponding to the correct "
    "answer.\n###\n",
    body="Passage:\n{context}\n###\nQuery:\n{prompt}\n###\nChoices:",
    choice="\n({letter}) {choice}",
    cue="\n###\nAnswer:\n",
    answer="{letter}",
    request="",
)


@part(papers=[206])
def belebele(
    *,
    language: str = "eng_Latn",
    data: str | None = None,
    mode: Literal["in-context", "instruction"] = "in-context",
    shots: NonNegativeInt | None = None,
    examples: str | None = None,
    shuffle: int | None = None,
) -> BenchmarkTask:
    """Belebele in one language variant: four-choice questions about passages of FLORES-200.

    ``in-context`` scores the letters A to D after solved examples; ``instruction`` tells the model in English what
    to do, without examples, and reads the letter that it writes. 900 questions on 488 passages; a sample's group
    is its passage.

    A fine-tuned model is measured like any other: train it with the training set that Belebele's authors assemble
    from RACE, SciQ, MultiRC, MCTest, MCScript2.0 and ReClor, on prompts of this layout, then evaluate it here with
    ``shots=0``. The authors' classification head on an encoder is not rebuilt.

    Args:
        language: A FLORES-200 code such as ``swh_Latn``.
        data: A folder of LANGUAGE.jsonl files.
        mode: How it is asked.
        shots: Solved examples of the mode ``in-context``, 5 by default.
        examples: A file of solved English examples in Belebele's columns, as the paper takes them from its
            training set. Without it they are the first other questions of the same variant, as
            lm-evaluation-harness does; they may share the tested question's passage.
        shuffle: A seed that draws the order of answers anew for each question, alike in every variant.

    Raises:
        UsageError: An unknown variant, no data, or settings that contradict each other.
        InputError: A damaged record.

    Source:
        "The Belebele Benchmark" (2024), sections 3 and 4, and the authors' published instructions; the prompt of
        ``in-context`` is lm-evaluation-harness' ``belebele``.

    Relations:
        ``belebele-parallel`` measures many variants and compares them question by question;
        ``mcq-exam-benchmark`` puts questions without passages in the same way.

    Example:
        >>> task = belebele(language="swh_Latn", data="Belebele/")  # doctest: +SKIP
    """
    (code,) = chosen_languages([language], data_folder(HEADER, data))
    return variant_task(f"belebele-{code}", read_variant(code, data), asked(mode, shots, examples, shuffle))


class Asked(NamedTuple):
    """How questions are put: the mode, how many examples, those given (if any) and the seed of the order."""

    mode: Literal["in-context", "instruction"]
    shots: int
    given: tuple[Sample, ...] | None
    shuffle: int | None


def asked(
    mode: Literal["in-context", "instruction"], shots: int | None, examples: str | None, shuffle: int | None
) -> Asked:
    """Settings, checked and with the examples read."""
    if mode == "instruction" and (shots or examples):
        raise UsageError("belebele: the mode instruction is asked without examples; leave shots and examples out")
    count = (5 if mode == "in-context" else 0) if shots is None else shots
    return Asked(mode, count, _given(examples) if examples is not None else None, shuffle)


def _given(file: str) -> tuple[Sample, ...]:
    path = Path(file)
    if not path.exists():
        raise InputError(f"{path}: no such file; give solved examples in Belebele's columns")
    return tuple(question_of(place, record) for place, record in records_of(path))


def variant_task(name: str, rows: tuple[Sample, ...], how: Asked) -> BenchmarkTask:
    """The questions of one variant, or of its translation, as a task."""
    mode, count, given, shuffle = how
    pool = rows if given is None else given
    have = len(pool) - 1 if given is None else len(pool)
    if have < count:
        raise UsageError(f"{name}: {count} examples were asked for, there are {have}; set shots={have}")
    shown = pool[: count + 1] if count else ()
    if shuffle is not None:
        rows = tuple(Sample(row.id, shuffled(row.data, row.id, shuffle), row.group, row.weight) for row in rows)
    layout = IN_CONTEXT if mode == "in-context" else INSTRUCTION
    kind: Mode = "likelihood" if mode == "in-context" else "generate"
    return BenchmarkTask(
        name=name,
        rows=rows,
        ask=partial(_ask, layout=layout, pool=shown, count=count, mode=kind),
        mark=partial(_mark, layout=layout, mode=kind),
        metric="accuracy",
        rules=RULES,
        header=HEADER,
        settings={
            "layout": layout.to_record(),
            "mode": mode,
            "shots": count,
            "pool": [dict(s.data) for s in shown],
        },
    )


def _ask(
    sample: Sample, style: PromptStyle, *, layout: Layout, pool: Sequence[Sample], count: int, mode: Mode
) -> list[Request]:
    examples: list[Mapping[str, Any]] = [
        other.data
        for other in pool
        if other.id != sample.id
        and (other.data["context"], other.data["prompt"]) != (sample.data["context"], sample.data["prompt"])
    ][:count]
    prompt = written(layout, sample.data, examples, mode, style)
    return requests_for(layout, sample.data, prompt, mode, 16)


def _mark(sample: Sample, responses: Sequence[Response], *, layout: Layout, mode: Mode) -> Marks:
    return marks_of(layout, sample, responses, mode)
