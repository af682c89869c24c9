"""The quick suite: items are right by construction, few, and summarised on one page."""

from __future__ import annotations

import re
from typing import Any

import pytest

from steelyard.contracts import Ask, Continuation, Generation, PromptStyle, Score
from steelyard.evaluation.benchmarks.quick import tasks as quick_tasks
from steelyard.evaluation.benchmarks.quick.quick import quick, quick_skills
from steelyard.evaluation.suite import evaluate_suite
from steelyard.models.scripted import ScriptedModel

SKILLS = {one.task.name: one for one in quick_skills()}


def test_it_is_small_enough_for_minutes() -> None:
    asked = [r for one in SKILLS.values() for s in one.task.samples() for r in one.task.requests(s, PromptStyle())]
    longest = sum(request.sampling.max_tokens for request in asked if isinstance(request, Ask))
    read = sum(len(str(r.prompt if isinstance(r, Ask) else (r.context, r.text))) for r in asked)
    assert longest < 8_000  # tokens written at most
    assert read < 120_000  # characters read


def test_the_bank_has_different_questions_with_different_choices() -> None:
    questions = quick_tasks.bank()["knowledge"]
    assert len({question["question"] for question in questions}) == len(questions) == 40
    assert all(len(set(question["choices"])) == 4 for question in questions)
    task = SKILLS["knowledge"].task
    places = [sample.data["answer"] for sample in task.samples()]
    assert [places.count(place) for place in range(4)] == [10] * 4


def test_arithmetic_is_right() -> None:
    signs = {"plus": "+", "minus": "-", "times": "*"}
    for sample in SKILLS["arithmetic"].task.samples():
        a, word, b = re.findall(r"What is (\d+) (\w+) (\d+)\?", sample.data["prompt"])[0]
        assert str(eval(f"{a}{signs[word]}{b}")) == sample.data["answers"][0]


def test_ordering_has_one_answer() -> None:
    opposite = {"shortest", "youngest", "slowest"}
    for sample in SKILLS["ordering"].task.samples():
        pairs = re.findall(r"(\w+) is \w+ than (\w+)\.", sample.data["prompt"])
        above, below = {one for one, _ in pairs}, {two for _, two in pairs}
        asked = re.findall(r"the (\w+)\?", sample.data["prompt"])[0]
        (expected,) = below - above if asked in opposite else above - below
        assert sample.data["choices"][sample.data["answer"]] == expected


def test_retrieval_answers_stand_in_the_context() -> None:
    for sample in SKILLS["retrieval"].task.samples():
        name = sample.data["prompt"].split()[2]
        assert f"{name} owns the {sample.data['answers'][0]}." in sample.data["context"]


def test_grammar_differs_in_agreement_and_prefers_the_more_probable() -> None:
    task = SKILLS["grammar"].task
    for sample in task.samples():
        good, bad = (sentence.split() for sentence in sample.data["sentences"])
        assert sum(one != two for one, two in zip(good, bad, strict=True)) == 1
        plural = good[1].endswith("s") or good[1] == "children"
        assert bool({"are", "were", "have", "do"} & set(good)) == plural
    requests = task.requests(task.samples()[0], PromptStyle())
    assert all(isinstance(request, Continuation) and request.context == "" for request in requests)
    scores = [Score(value, (value,), ("x",), 1, False) for value in (-3.0, -2.0)]
    assert task.grade(task.samples()[0], scores).values["accuracy"] == 0
    assert task.grade(task.samples()[0], scores[::-1]).values["accuracy"] == 1


@pytest.mark.parametrize(
    ("asked", "right", "wrong"),
    [
        ("in capital letters", lambda p: re.findall(r'"(\S+)"', p)[0].upper(), "drum"),
        ("exactly three", lambda p: "red, blue and gold, green", "red, blue"),
        ("JSON", lambda p: '{{"name": "{}", "thing": "{}"}}'.format(*re.findall(r'to "(\S+)"', p)), '{"name": 1}'),
        ("Count from", lambda p: " ".join(str(n) for n in range(*_ends(p))), "1 2 3"),
        ("yes or no", lambda p: "No.", "No, it is not."),
        ("opposite order", lambda p: ", ".join(reversed(p.split(": ")[1].split(", "))), "Anna"),
    ],
)
def test_formats_accept_what_was_asked_for(asked: str, right: Any, wrong: str) -> None:
    task = SKILLS["formats"].task
    samples = [sample for sample in task.samples() if asked in sample.data["prompt"]]
    assert len(samples) == 4
    for sample in samples:
        good = f" {right(sample.data['prompt'])}\n\nMore."
        assert task.grade(sample, [Generation(good)]).values["accuracy"] == 1, good
        assert task.grade(sample, [Generation(wrong)]).values["accuracy"] == 0


def _ends(prompt: str) -> tuple[int, int]:
    low, high = re.findall(r"from (\d+) to (\d+)", prompt)[0]
    return int(low), int(high) + 1


def test_the_profile_is_one_table_with_chance_levels() -> None:
    suite = quick()
    model = ScriptedModel(lambda prompt: " no idea", scores=lambda context, text: -1.0 * len(text.split()))
    found = suite.summary("quick", evaluate_suite(model, suite, samples=4))
    (table,) = found.tables
    assert [row[1] for row in table.rows] == [task.name for task in suite.tasks]
    assert set(found.values) == {
        "bits per byte",
        "language",
        "knowledge",
        "reasoning",
        "context",
        "words",
        "format",
    }
    chance = {row[1]: (row[5], row[6]) for row in table.rows}
    assert chance["arithmetic"] == (0.0, "not above")
    assert chance["knowledge"][0] == 0.25
    assert len({task.name for task in suite.tasks}) == len(suite.tasks)


def test_seed_and_size_change_the_items() -> None:
    assert quick().fingerprint == quick().fingerprint != quick(seed=1).fingerprint
    small, large = quick(), quick(size=2)
    assert len(large.tasks[4].samples()) == 2 * len(small.tasks[4].samples())
