from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest

from evaluation.benchmarks.chooser import Chooser, uniform
from steelyard.evaluation.benchmarks.exams import question_generation
from steelyard.evaluation.benchmarks.exams.mcq_exam_benchmark import mcq_exam_benchmark
from steelyard.evaluation.benchmarks.exams.question_generation import (
    depends_on_context,
    fault_of,
    generate_questions,
    read_reply,
    write_questions,
)

GOOD = {
    "question": "Which element dominates the composition of the Sun by mass?",
    "A": "Hydrogen",
    "B": "Helium",
    "C": "Carbon",
    "D": "Oxygen",
    "answer": "A",
    "explanation": "About three quarters.",
}


def test_examples_in_the_text() -> None:
    assert doctest.testmod(question_generation).failed == 0


@pytest.mark.parametrize(
    "question",
    [
        "According to the passage, what heats the corona?",
        "What does this review conclude about dust?",
        "Which trend is visible in Figure 3?",
        "What is derived in Section 4.2?",
        "Which model, as discussed above, fits best?",
        "What did the authors measure?",
        "Which value is listed in Table II?",
        "What did we find about the halo?",
    ],
)
def test_questions_about_an_unseen_text_are_seen(question: str) -> None:
    assert depends_on_context(question)
    assert fault_of({**GOOD, "question": question}) == "depends on context"


@pytest.mark.parametrize(
    "question",
    [
        "What causes the redshift of distant galaxies?",
        "Why do cool stars show molecular bands?",
        "What can be read off the period of a pulsar?",
        "Which figure of merit describes a telescope's light grasp?",
    ],
)
def test_questions_that_stand_alone_pass(question: str) -> None:
    assert fault_of({**GOOD, "question": question}) == ""


def test_other_faults() -> None:
    assert fault_of({**GOOD, "B": ""}) == "malformed"
    assert fault_of({**GOOD, "answer": "E"}) == "no answer"
    assert fault_of({**GOOD, "B": "the hydrogen"}) == "equal choices"
    assert (
        fault_of({**GOOD, "B": "Helium, which is left over from the first minutes"}) == "choices of unequal length"
    )


def test_replies_are_read_through_prose_and_cuts() -> None:
    text = f"Sure:\n```json\n[{json.dumps(GOOD)}, {json.dumps(GOOD)[:40]}"
    assert read_reply(text) == [GOOD]
    assert read_reply("no questions today") == []


def test_what_is_kept_is_an_exam(tmp_path: Path) -> None:
    bound = {**GOOD, "question": "What is shown in Figure 1?"}
    other = {**GOOD, "question": "What is the second most common element in the Sun?", "answer": "B"}
    replies = {"first": json.dumps([GOOD, bound]), "second": json.dumps([GOOD, other]), "third": "I cannot."}

    def write(prompt: str) -> str:
        return next(reply for name, reply in replies.items() if f"text of {name}" in prompt)

    made = generate_questions(Chooser(uniform, write), {name: f"text of {name}" for name in replies})
    assert [record["question"] for record in made.kept] == [GOOD["question"], other["question"]]
    assert [drop.reason for drop in made.dropped] == [
        "depends on context",
        "asked before",
        "no readable question in the reply",
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text(write_questions(made.kept), encoding="utf-8")
    (task,) = mcq_exam_benchmark(exam="astromlab-1", data=str(file)).tasks
    assert [sample.data["answer"] for sample in task.samples()] == [0, 1]


def test_a_checker_has_the_last_word() -> None:
    other = {**GOOD, "question": "What is the second most common element in the Sun?", "answer": "B"}
    writer = Chooser(uniform, lambda prompt: json.dumps([GOOD, other]))
    checker = Chooser(lambda context, text: 0.0 if (text == " Yes") == ("dominates" in context) else -1.0)
    made = generate_questions(writer, {"one": "text"}, checker=checker)
    assert [record["question"] for record in made.kept] == [GOOD["question"]]
    assert made.dropped[0].reason == "depends on context, says the checker"
