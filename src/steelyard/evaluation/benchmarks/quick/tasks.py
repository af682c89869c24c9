"""Generated items of the quick suite: knowledge, grammar, arithmetic, copying, retrieval, ordering and formats."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from steelyard.contracts import (
    Ask,
    Continuation,
    Marks,
    Message,
    PromptStyle,
    Request,
    Response,
    Sample,
    Sampling,
    Score,
)
from steelyard.errors import ModelError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.prompting import Form
from steelyard.evaluation.question_task import QuestionTask
from steelyard.evaluation.responses import checked_text
from steelyard.evaluation.task_header import TaskHeader

ITEMS_FILE = Path(__file__).with_name("items.json")
HEADER = TaskHeader(
    paper="none: Steelyard's own items",
    data_set="Steelyard quick suite",
    licence="Apache-2.0",
    metric="accuracy; bits per byte for texts",
)
RULES = "quick/1"
Draw = Callable[[random.Random], dict[str, Any]]


@lru_cache(maxsize=1)
def bank() -> Mapping[str, Any]:
    """The words, questions and texts that this package carries."""
    found: dict[str, Any] = json.loads(ITEMS_FILE.read_text(encoding="utf-8"))
    return found


def knowledge(count: int, seed: int, form: Form) -> QuestionTask:
    """Common knowledge, four choices, the right one in turn at every place."""
    rng = random.Random(f"quick:{seed}:knowledge")
    rows = []
    questions = list(bank()["knowledge"])
    rng.shuffle(questions)
    for number, question in enumerate(questions[:count]):
        right, *wrong = question["choices"]
        rng.shuffle(wrong)
        place = number % 4
        choices = [*wrong[:place], right, *wrong[place:]]
        rows.append(Sample(str(number), {"prompt": question["question"], "choices": choices, "answer": place}))
    name = "knowledge" if form == "cloze" else "knowledge in letters"
    return QuestionTask(name, tuple(rows), "accuracy", form=form, header=HEADER)


def texts() -> QuestionTask:
    """Short texts in different registers, for bits per byte."""
    rows = tuple(Sample(str(n), {"text": text}) for n, text in enumerate(bank()["texts"]))
    return QuestionTask("texts", rows, "bits_per_byte", header=HEADER)


def generated(name: str, draw: Draw, count: int, seed: int, *, metric: str, max_tokens: int = 12) -> QuestionTask:
    """``count`` different questions with short answers or choices."""
    rng = random.Random(f"quick:{seed}:{name}")
    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        drawn = draw(rng)
        found.setdefault(f"{drawn.get('context', '')}{drawn['prompt']}", drawn)
    rows = tuple(Sample(str(number), data) for number, data in enumerate(found.values()))
    return QuestionTask(name, rows, metric, max_tokens=max_tokens, header=HEADER)


def arithmetic(rng: random.Random) -> dict[str, Any]:
    """A sum, a difference or a product of small numbers."""
    kind = rng.choice("+-*")
    if kind == "*":
        a, b = rng.randint(2, 9), rng.randint(2, 9)
        return {"prompt": f"What is {a} times {b}?", "answers": [str(a * b)]}
    a, b = rng.randint(1, 49), rng.randint(1, 49)
    if kind == "-":
        a, b = max(a, b), min(a, b)
        return {"prompt": f"What is {a} minus {b}?", "answers": [str(a - b)]}
    return {"prompt": f"What is {a} plus {b}?", "answers": [str(a + b)]}


def copying(rng: random.Random) -> dict[str, Any]:
    """Three to six words to repeat."""
    words = " ".join(rng.sample(bank()["objects"], rng.randint(3, 6)))
    return {"prompt": f"Repeat these words exactly: {words}", "answers": [words]}


def retrieval(rng: random.Random) -> dict[str, Any]:
    """Who owns what, eight times, and one of them asked for."""
    names, things = rng.sample(bank()["names"], 8), rng.sample(bank()["objects"], 8)
    told = [f"{name} owns the {thing}." for name, thing in zip(names, things, strict=True)]
    place = rng.randrange(8)
    return {
        "context": " ".join(told),
        "prompt": f"What does {names[place]} own?",
        "answers": [things[place], f"the {things[place]}"],
    }


def ordering(rng: random.Random) -> dict[str, Any]:
    """Three people compared in pairs; who is the most or the least."""
    first, second, third = rng.sample(bank()["names"], 3)
    more, most, least = rng.choice(
        [("taller", "tallest", "shortest"), ("older", "oldest", "youngest"), ("faster", "fastest", "slowest")]
    )
    told = [f"{first} is {more} than {second}.", f"{second} is {more} than {third}."]
    rng.shuffle(told)
    top = rng.random() < 0.5
    choices = sorted([first, second, third])
    asked = most if top else least
    return {
        "prompt": f"{' '.join(told)} Who is the {asked}?",
        "choices": choices,
        "answer": choices.index(first if top else third),
    }


def grammar(count: int, seed: int) -> BenchmarkTask:
    """Pairs of sentences that differ in agreement; right where the grammatical one is more probable."""
    rng = random.Random(f"quick:{seed}:grammar")
    words = bank()["grammar"]
    found: dict[str, str] = {}
    while len(found) < count:
        plural = rng.random() < 0.5
        subject = rng.choice(words["subjects"])[plural]
        # The noun between has the other number, so that the nearest word misleads.
        place = rng.choice(words["singular_places" if plural else "places"])
        verb = rng.choice(words["verbs"])
        found[f"The {subject} {place} {verb[plural]}."] = f"The {subject} {place} {verb[not plural]}."
    rows = tuple(
        Sample(str(number), {"prompt": "", "reference": good, "sentences": [good, bad]})
        for number, (good, bad) in enumerate(found.items())
    )
    return BenchmarkTask(
        "grammar", rows, ask=_ask_sentences, mark=_mark_sentences, metric="accuracy", rules=RULES, header=HEADER
    )


def _ask_sentences(sample: Sample, style: PromptStyle) -> list[Request]:
    return [Continuation("", sentence) for sentence in sample.data["sentences"]]


def _mark_sentences(sample: Sample, responses: Sequence[Response]) -> Marks:
    scores = [response.logprob for response in responses if isinstance(response, Score)]
    if len(scores) != 2 or any(math.isnan(score) for score in scores):
        raise ModelError(f"sample {sample.id!r}: two sentences need two log-likelihoods, not {scores}")
    best = int(scores[1] >= scores[0])
    return Marks({"accuracy": float(best == 0)}, prediction=sample.data["sentences"][best])


def formats(count: int, seed: int) -> BenchmarkTask:
    """Instructions about the form of an answer, checked by a pattern that its first line must match as a whole."""
    rng = random.Random(f"quick:{seed}:formats")
    makers = (_capitals, _list_of_three, _json_object, _count_up, _yes_or_no, _backwards)
    found: dict[str, str] = {}
    number = 0
    while len(found) < count:
        prompt, pattern = makers[number % len(makers)](rng)
        found.setdefault(prompt, pattern)
        number += 1
    rows = tuple(
        Sample(str(place), {"prompt": prompt, "pattern": pattern, "reference": pattern})
        for place, (prompt, pattern) in enumerate(found.items())
    )
    return BenchmarkTask(
        "formats", rows, ask=_ask_format, mark=_mark_format, metric="accuracy", rules=RULES, header=HEADER
    )


def _ask_format(sample: Sample, style: PromptStyle) -> list[Request]:
    prompt = sample.data["prompt"]
    if style.style == "chat":
        return [Ask([Message("user", prompt)], Sampling(32))]
    return [Ask(f"{prompt}\nAnswer:", Sampling(32, stop=("\n\n",)))]


def _mark_format(sample: Sample, responses: Sequence[Response]) -> Marks:
    lines = [line.strip() for line in checked_text(responses[0], sample).splitlines() if line.strip()]
    first = lines[0] if lines else ""
    return Marks({"accuracy": float(re.fullmatch(sample.data["pattern"], first) is not None)}, prediction=first)


def _capitals(rng: random.Random) -> tuple[str, str]:
    word = rng.choice(bank()["objects"])
    return f'Write the word "{word}" in capital letters and nothing else.', rf"\"?{word.upper()}\"?\.?"


def _list_of_three(rng: random.Random) -> tuple[str, str]:
    kind = rng.choice(["animals", "colors", "countries", "vegetables", "sports", "tools", "trees", "cities"])
    return f"Name exactly three {kind} on one line, separated by commas.", r"[^,.:]+,[^,.:]+,[^,:]+"


def _json_object(rng: random.Random) -> tuple[str, str]:
    name, thing = rng.choice(bank()["names"]), rng.choice(bank()["objects"])
    pattern = rf'\{{\s*"name":\s*"{name}",\s*"thing":\s*"{thing}"\s*\}}'
    return f'Write a JSON object with "name" set to "{name}" and "thing" set to "{thing}", on one line.', pattern


def _count_up(rng: random.Random) -> tuple[str, str]:
    start = rng.randint(2, 40)
    numbers = [str(start + step) for step in range(5)]
    return f"Count from {start} to {start + 4}, the numbers separated by spaces.", " ".join(numbers) + r"\.?"


def _yes_or_no(rng: random.Random) -> tuple[str, str]:
    thing = rng.choice(bank()["objects"])
    return f"Is a {thing} alive? Answer with the single word yes or no.", r"(?i)\"?(?:yes|no)\"?\.?"


def _backwards(rng: random.Random) -> tuple[str, str]:
    words = rng.sample(bank()["names"], 3)
    prompt = f"Write these names in the opposite order, separated by commas: {', '.join(words)}"
    return prompt, ", ?".join(reversed(words)) + r"\.?"
