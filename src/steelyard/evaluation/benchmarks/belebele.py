"""Belebele: the same reading comprehension questions in 122 language variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt

from steelyard.contracts import Marks, PromptStyle, Request, Response, Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.belebele_records import (
    HEADER,
    QUESTIONS,
    check_aligned,
    chosen_languages,
    question_of,
    read_variant,
)
from steelyard.evaluation.benchmarks.belebele_summary import belebele_summary
from steelyard.evaluation.benchmarks.letter_questions import (
    Layout,
    Mode,
    marks_of,
    requests_for,
    shuffled,
    written,
)
from steelyard.evaluation.suite import Suite
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


@part(papers=[206], kind="suite")
def belebele(
    *,
    languages: str | list[str] | None = None,
    data: str | None = None,
    mode: Literal["in-context", "instruction"] = "in-context",
    shots: NonNegativeInt | None = None,
    examples: str | None = None,
    translated: str | None = None,
    shuffle: int | None = None,
) -> Suite:
    """Belebele, one task a language variant, with comparisons on the same questions.

    Each question has a passage of FLORES-200 and four answers. The variants are checked to ask the same questions
    with the same answers. ``in-context`` scores the letters A to D after solved examples; ``instruction`` tells
    the model in English what to do, without examples, and reads the letter that it writes. The summary has
    accuracy by language, script, family and resources (classes of Joshi et al. 2020: high 4 and 5, medium 3, low 0
    to 2), each language's difference from English (McNemar, Holm), and of each group from the other languages;
    intervals are clustered by passage.

    A fine-tuned model is measured like any other: train it with the training set that Belebele's authors assemble
    from RACE, SciQ, MultiRC, MCTest, MCScript2.0 and ReClor, on prompts of this layout, then evaluate it here with
    ``shots=0``. The authors' classification head on an encoder is not rebuilt.

    Args:
        languages: FLORES-200 codes such as ``swh_Latn``; by default all that the folder has.
        data: A folder of LANGUAGE.jsonl files.
        mode: How it is asked.
        shots: Solved examples of the mode ``in-context``, 5 by default.
        examples: A file of solved English examples in Belebele's columns, as the paper takes them from its
            training set. Without it they are the first other questions of the same variant, as
            lm-evaluation-harness does; they may share the tested question's passage.
        translated: A folder of machine translations of the same questions, for translate-test: each becomes a
            second task of its language, compared with the first.
        shuffle: A seed that draws the order of answers anew for each question, alike in every variant.

    Raises:
        UsageError: An unknown variant, no data, or settings that contradict each other.
        InputError: A damaged record, or variants that are not aligned.

    Source:
        "The Belebele Benchmark" (2024), sections 3 to 5, and the authors' published instructions; the prompt of
        ``in-context`` is lm-evaluation-harness' ``belebele``. Resource classes: Joshi et al. 2020, "The State and
        Fate of Linguistic Diversity and Inclusion in the NLP World".

    Relations:
        ``mcq-exam-benchmark`` puts questions without passages in the same way;
        :func:`~steelyard.evaluation.benchmarks.belebele_records.translate_records` makes translations.

    Example:
        >>> suite = belebele(languages=["eng_Latn", "swh_Latn"], data="Belebele/")  # doctest: +SKIP
    """
    if mode == "instruction" and (shots or examples):
        raise UsageError("belebele: the mode instruction is asked without examples; leave shots and examples out")
    count = (5 if mode == "in-context" else 0) if shots is None else shots
    folder = data_folder(HEADER, data)
    codes = chosen_languages([languages] if isinstance(languages, str) else languages, folder)
    variants = {code: read_variant(code, data) for code in codes}
    check_aligned(variants)
    given = _given(examples) if examples is not None else None
    tasks = [_task(f"belebele-{code}", variants[code], mode, count, given, shuffle) for code in codes]
    second = {}
    for code in codes if translated is not None else ():
        rows = read_variant(code, translated)
        check_aligned({code: variants[code], f"the translation of {code}": rows})
        task = _task(f"belebele-{code}-translated", rows, mode, count, given, shuffle)
        tasks.append(task)
        second[task.name] = code
    notes = tuple(
        f"{code} has {len(rows)} of {QUESTIONS} questions."
        for code, rows in variants.items()
        if len(rows) != QUESTIONS
    )
    direct = {f"belebele-{code}": code for code in codes}
    return Suite(
        "belebele", tuple(tasks), partial(belebele_summary, direct=direct, translated=second, notes=notes[:3])
    )


def _given(file: str) -> tuple[Sample, ...]:
    path = Path(file)
    if not path.exists():
        raise InputError(f"{path}: no such file; give solved examples in Belebele's columns")
    return tuple(question_of(place, record) for place, record in records_of(path))


def _task(
    name: str,
    rows: tuple[Sample, ...],
    mode: Literal["in-context", "instruction"],
    count: int,
    given: tuple[Sample, ...] | None,
    shuffle: int | None,
) -> BenchmarkTask:
    pool = rows if given is None else given
    have = len(pool) - 1 if given is None else len(pool)
    if have < count:
        raise UsageError(f"{name}: {count} examples were asked for, there are {have}; set shots={have}")
    shown = pool[: count + 1] if count else ()
    if shuffle is not None:
        rows = tuple(Sample(row.id, shuffled(row.data, row.id, shuffle), row.group, row.weight) for row in rows)
    layout = IN_CONTEXT if mode == "in-context" else INSTRUCTION
    how: Mode = "likelihood" if mode == "in-context" else "generate"
    return BenchmarkTask(
        name=name,
        rows=rows,
        ask=partial(_ask, layout=layout, pool=shown, count=count, mode=how),
        mark=partial(_mark, layout=layout, mode=how),
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
