"""Question answering against its cost: quality, latency, throughput and memory of several models on one set."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from steelyard.contracts import Ask, Generation, Interval, LanguageModel, PromptStyle, Sample
from steelyard.errors import InputError, ModelError
from steelyard.evaluation.evaluate import unwrapped
from steelyard.evaluation.frontier import frontier
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.peak_memory import MemoryReading, loadable, read_memory
from steelyard.evaluation.question_task import QuestionTask
from steelyard.evaluation.statistics import mean_interval, quantile_interval, ratio_interval
from steelyard.evaluation.task_files import load_task
from steelyard.evaluation.task_header import TaskHeader, required_folder
from steelyard.parts import part

STEADY = 0.15
"""How far apart repeated readings may lie before the report says so."""

HEADER = TaskHeader(
    paper="Benchmarking Open-Source Language Models for Efficient Question Answering in Industrial Applications",
    data_set="XQuAD, English",
    licence="CC BY-SA 4.0",
    metric="exact match and F1 of SQuAD",
    folder="xquad",
    layout="xquad.en.json",
    url="https://github.com/google-deepmind/xquad",
)


@dataclass
class Readings:
    """What was measured of one model: answers of the first pass, and per pass the seconds and tokens of each."""

    model: LanguageModel
    answers: list[Generation] = field(default_factory=list)
    seconds: list[list[float]] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    memory: list[MemoryReading] = field(default_factory=list)


class Row(NamedTuple):
    """One model's line of the comparison."""

    exact_match: Interval
    f1: Interval
    median: Interval
    p95: Interval
    rate: Interval
    peak: float | None
    size: int | None


@part(papers=[142], kind="measure")
def qa_efficiency_benchmark(
    models: Sequence[LanguageModel],
    *,
    data: str | None = None,
    samples: PositiveInt = 30,
    style: Literal["plain", "chat"] = "chat",
    max_tokens: PositiveInt = 24,
    readings: PositiveInt = 2,
    memory_readings: NonNegativeInt = 2,
) -> Measurement:
    """Compare models by quality and cost on one question-answering set, and give the front that none dominates.

    Every model answers the same questions one at a time, greedily. Quality is SQuAD's exact match and F1 of the
    first line of the answer. Latency is the time of one whole answer, with its median and 95th percentile over
    questions and passes; throughput is tokens written over time. Models take turns, ``readings`` passes each
    after a warm-up, the order reversed in every other pass, so that a change of the machine's load falls on all.
    Peak memory is what the model adds to a fresh process that loads it and answers four of the questions
    (:mod:`steelyard.evaluation.peak_memory`), read ``memory_readings`` times; size is what the card says is held
    in memory. A model behind an endpoint has neither and is shown without.

    A model is on the front if no other has at least its F1 at a median latency and peak memory that are no higher.
    Models whose memory is unknown are left out of the front where others have it, and a note says so. Another note
    names readings that lie more than 15 % apart.

    Args:
        models: What to compare, such as float32 weights, their int8 form, a GGUF file by llama.cpp, an endpoint.
        data: A SQuAD file (``.json``) or a task file with answers; by default XQuAD's English part.
        samples: The first so many questions.
        style: How questions are put: as a conversation, or as "Question: ... Answer:".
        max_tokens: Longest answer.
        readings: Passes that are timed.
        memory_readings: Fresh processes whose memory is read; 0 leaves memory out.

    Raises:
        InputError: The data are not SQuAD's form, or have no answers to generate.
        UsageError: They are not here.
        ModelError: A model failed.

    Source:
        Benchmarking Open-Source Language Models for Efficient Question Answering in Industrial Applications: its
        comparison of answer quality, response time and memory of full-precision and quantised models on one
        question set. SQuAD: 100,000+ Questions for Machine Comprehension of Text, section 6.1, for the metrics.

    Relations:
        ``steelyard tune`` searches for the cheapest system that is good enough; this measure compares given
        models in full. ``int8`` makes one of the candidates.

    Example:
        >>> found = qa_efficiency_benchmark([full, quantized], data="questions.json")  # doctest: +SKIP
        >>> found.tables[0].columns  # doctest: +SKIP
        ('model', 'exact match', 'F1', 'median seconds', ...)
    """
    if not models:
        raise InputError("qa-efficiency-benchmark needs at least one model")
    task = _task(data, max_tokens)
    chosen = list(task.samples())[:samples]
    asked = [_ask(task, sample, PromptStyle(style)) for sample in chosen]
    measured = dict(zip(_labels(models), [Readings(unwrapped(model)[0]) for model in models], strict=True))
    _answer_in_turns(list(measured.values()), asked, readings)
    for one in measured.values():
        one.memory = _memory(one.model, asked, memory_readings)
    rows = {label: _row(task, chosen, one) for label, one in measured.items()}
    front = _front(rows)
    return Measurement(
        "qa-efficiency-benchmark",
        _values(rows),
        (_table(rows, front),),
        tuple(_notes(measured, rows, front)),
        {"models": {label: _detail(one) for label, one in measured.items()}, "questions": [s.id for s in chosen]},
    )


def _task(data: str | None, max_tokens: int) -> QuestionTask:
    """The questions: a SQuAD file or a task file."""
    place = required_folder(HEADER, data)
    file = place / "xquad.en.json" if place.is_dir() else place
    if file.suffix == ".json":
        rows = tuple(squad_rows(file))
        return QuestionTask(file.stem, rows, "f1", max_tokens=max_tokens, header=HEADER)
    task = load_task(file, metric="f1", max_tokens=max_tokens)
    if not all("answers" in sample.data for sample in task.samples()):
        raise InputError(f"{file}: every question needs the column 'answers'; choices are scored, not answered")
    return task


def squad_rows(file: Path) -> Iterator[Sample]:
    """The questions of a SQuAD 1.1 or 2.0 file as rows of a task; questions without an answer are left out.

    Raises:
        InputError: The file is not of that form.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    accepted = list(dict.fromkeys(answer["text"] for answer in question["answers"]))
                    if accepted:
                        row = {
                            "prompt": question["question"],
                            "context": paragraph["context"],
                            "answers": accepted,
                        }
                        yield Sample(id=str(question["id"]), data=row)
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{file}: not a SQuAD file ({reason}); it has data, paragraphs, qas and answers"
        ) from None


def _ask(task: QuestionTask, sample: Sample, style: PromptStyle) -> Ask:
    (request,) = task.requests(sample, style)
    if not isinstance(request, Ask):
        raise InputError(f"{task.name}: sample {sample.id!r} is scored, not answered; leave it out")
    return request


def _answer_in_turns(measured: Sequence[Readings], asked: Sequence[Ask], readings: int) -> None:
    """Let every model answer every question, the models taking turns at each question."""
    for one in measured:
        one.model.generate([asked[0].prompt], asked[0].sampling)
    for turn in range(readings):
        order = measured if turn % 2 == 0 else measured[::-1]
        for one in measured:
            one.seconds.append([])
            one.tokens.append([])
        for question in asked:
            for one in order:
                began = time.perf_counter()
                (answer,) = one.model.generate([question.prompt], question.sampling)
                one.seconds[-1].append(time.perf_counter() - began)
                one.tokens[-1].append(answer.usage.completion_tokens)
                if answer.finish_reason == "error":
                    raise ModelError(f"model {one.model.card.name!r} failed to answer a question")
                if turn == 0:
                    one.answers.append(answer)


def _memory(model: LanguageModel, asked: Sequence[Ask], count: int) -> list[MemoryReading]:
    if not count:
        return []
    with loadable(model) as name:
        if name is None:
            return []
        prompts = [one.prompt for one in asked[:4]]
        return [read_memory(name, prompts, asked[0].sampling) for _ in range(count)]


def _row(task: QuestionTask, samples: Sequence[Sample], one: Readings) -> Row:
    marks = [task.grade(sample, [answer]) for sample, answer in zip(samples, one.answers, strict=True)]
    seconds = [second for each in one.seconds for second in each]
    tokens = [float(count) for each in one.tokens for count in each]
    rate = ratio_interval(tokens, seconds)
    return Row(
        mean_interval([mark.values["exact_match"] for mark in marks]),
        mean_interval([mark.values["f1"] for mark in marks], bounds=(0.0, 1.0)),
        quantile_interval(seconds, 0.5),
        quantile_interval(seconds, 0.95),
        rate._replace(low=max(0.0, rate.low)),
        max((reading.added for reading in one.memory), default=None),
        one.model.card.memory_bytes,
    )


def _front(rows: Mapping[str, Row]) -> list[str]:
    """The labels on the front; by latency alone where no model's memory is known."""
    known = [label for label, row in rows.items() if row.peak is not None]
    costs = {label: [row.median.value, float(row.peak or 0)] for label, row in rows.items()}
    considered = known or list(rows)
    return frontier({label: rows[label].f1.value for label in considered}, {c: costs[c] for c in considered})


def spread(values: Sequence[float]) -> float:
    """How far readings lie apart: (largest - smallest) / smallest; 0 for fewer than two.

    >>> round(spread([100.0, 110.0]), 3)
    0.1
    """
    return max(values) / min(values) - 1 if len(values) > 1 and min(values) > 0 else 0.0


def _rates(one: Readings) -> list[float]:
    return [sum(tokens) / sum(seconds) for tokens, seconds in zip(one.tokens, one.seconds, strict=True)]


def _notes(measured: Mapping[str, Readings], rows: Mapping[str, Row], front: Sequence[str]) -> Iterator[str]:
    yield f"Best for their cost: {', '.join(front)}."
    for label, one in measured.items():
        peaks = [float(reading.added) for reading in one.memory]
        for what, values in (("throughput", _rates(one)), ("peak memory", peaks)):
            if spread(values) > STEADY:
                yield f"{label}: readings of {what} lie {spread(values):.0%} apart; repeat on an idle machine."
    if any(row.peak is not None for row in rows.values()):
        for label, row in rows.items():
            if row.peak is None:
                yield f"{label}: its memory cannot be read here, so it is not considered for the front."


def _table(rows: Mapping[str, Row], front: Sequence[str]) -> Table:
    columns = ("model", "exact match", "F1", "median seconds", "p95 seconds", "tokens per second", "peak MB")
    lines: list[tuple[Cell, ...]] = []
    for label, row in rows.items():
        peak = None if row.peak is None else round(row.peak / 1e6, 1)
        size = None if row.size is None else round(row.size / 1e6, 1)
        place = "yes" if label in front else "no"
        lines.append((label, row.exact_match, row.f1, row.median, row.p95, row.rate, peak, size, place))
    note = "seconds: one whole answer, one question at a time; peak: what the model adds to a process of its own"
    return Table("Quality against cost", (*columns, "size MB", "on the front"), tuple(lines), note)


def _values(rows: Mapping[str, Row]) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for label, row in rows.items():
        found |= {f"F1, {label}": row.f1, f"exact match, {label}": row.exact_match}
        found |= {f"median seconds, {label}": row.median, f"tokens per second, {label}": row.rate}
    return found


def _detail(one: Readings) -> dict[str, Any]:
    return {
        "answers": [answer.text for answer in one.answers],
        "seconds": one.seconds,
        "tokens": one.tokens,
        "tokens_per_second": _rates(one),
        "memory": [reading._asdict() for reading in one.memory],
        "fingerprint": one.model.card.fingerprint,
    }


def _labels(models: Sequence[LanguageModel]) -> list[str]:
    """Names that tell models apart: the card's, the parts applied, and a number where that is not enough."""
    found: list[str] = []
    for model in models:
        card = model.card
        name = " + ".join([card.name, *(applied.name for applied in card.parts)])
        taken = sum(other == name or other.startswith(f"{name} #") for other in found)
        found.append(f"{name} #{taken + 1}" if taken else name)
    return found
