"""The demo task is sound: balanced, unambiguous in form, and answerable from its documents where it says so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import PromptStyle
from steelyard.evaluation.grading import normalise_answer
from steelyard.evaluation.task_files import load_task

DEMO = Path(__file__).resolve().parents[2] / "demo"
TASK = DEMO / "handbook.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in TASK.read_text(encoding="utf-8").splitlines()]
DOCUMENTS = {file.stem: file.read_text(encoding="utf-8") for file in (DEMO / "documents").glob("*.md")}

TEST = [row for row in ROWS if "split" not in row]
TRAIN = [row for row in ROWS if row.get("split") == "train"]
CHOICES = [row for row in ROWS if "choices" in row]
GENERAL = [row for row in ROWS if not row["group"].startswith("handbook-")]
HANDBOOK = [row for row in ROWS if row["group"].startswith("handbook-")]
CALENDAR = {
    *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
}


def right(row: dict[str, Any]) -> str:
    """The right answer as it is shown in an example."""
    return str(row["choices"]["ABCD".index(row["answer"])] if "choices" in row else row["answers"][0])


def document_of(row: dict[str, Any]) -> str:
    """The name in front of a row's number: ``lamp`` in ``lamp-03``."""
    return str(row["id"].rsplit("-", 1)[0])


def words(text: str) -> str:
    return f" {normalise_answer(text)} "


def test_sizes() -> None:
    assert len(ROWS) == len(TEST) + len(TRAIN)
    assert len(TEST) >= 120
    assert len(TRAIN) == 12
    assert sum("choices" in row for row in TEST) >= 80
    assert sum("answers" in row for row in TEST) >= 40
    assert sum(row in GENERAL for row in TEST) >= 60
    assert sum(row in HANDBOOK for row in TEST) >= 60
    assert min(Counter(row["group"] for row in TEST).values()) >= 15


def test_documents_are_short_and_all_are_asked_about() -> None:
    assert len(DOCUMENTS) == 30
    for name, text in DOCUMENTS.items():
        assert 120 <= len(text.split()) <= 220, name
    assert {document_of(row) for row in HANDBOOK} == set(DOCUMENTS)


def test_ids_and_prompts_are_unique() -> None:
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({words(row["prompt"]) for row in ROWS}) == len(ROWS)


def test_choices_are_four_different_ones() -> None:
    for row in CHOICES:
        assert len({words(choice) for choice in row["choices"]}) == 4, row["id"]
        assert row["answer"] in "ABCD", row["id"]


def test_accepted_answers_are_short_and_differ() -> None:
    for row in ROWS:
        if "answers" in row:
            assert all(0 < len(answer.split()) <= 4 for answer in row["answers"]), row["id"]
            assert len({words(answer) for answer in row["answers"]}) == len(row["answers"]), row["id"]


def test_right_letters_are_balanced() -> None:
    for rows in (TEST, GENERAL, HANDBOOK):
        counts = Counter(row["answer"] for row in rows if "choices" in row)
        total = sum(counts.values())
        assert all(0.2 <= counts[letter] / total <= 0.3 for letter in "ABCD"), counts


@pytest.mark.parametrize("pick", [max, min], ids=["longest", "shortest"])
def test_length_is_no_cue(pick: Callable[[Sequence[int]], int]) -> None:
    """Always taking the longest (or shortest) choice does not beat chance by much."""
    hits = 0.0
    for row in CHOICES:
        lengths = [len(choice) for choice in row["choices"]]
        picked = [place for place, length in enumerate(lengths) if length == pick(lengths)]
        hits += ("ABCD".index(row["answer"]) in picked) / len(picked)
    assert hits / len(CHOICES) <= 0.32


def test_handbook_answers_stand_in_their_document() -> None:
    for row in HANDBOOK:
        assert words(right(row)) in words(DOCUMENTS[document_of(row)]), row["id"]


def test_general_questions_need_no_document() -> None:
    """None of them names anybody or anything of the island."""
    inside_sentences = {
        word for text in DOCUMENTS.values() for word in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", text)
    } - CALENDAR
    assert {"Tolsay", "Brannoch", "Corisande"} <= inside_sentences
    for row in GENERAL:
        used = set(re.findall(r"[A-Z][a-z]+", " ".join([row["prompt"], right(row)])))
        assert not used & inside_sentences, row["id"]
        assert document_of(row) not in DOCUMENTS, row["id"]


def test_no_prompt_gives_its_answer_away() -> None:
    for row in HANDBOOK:
        assert words(right(row)) not in words(row["prompt"]), row["id"]


def test_the_task_loads_and_has_enough_examples() -> None:
    task = load_task(TASK)
    assert task.metric == "accuracy"
    assert len(task.samples()) == len(TEST)
    style = task.resolved(PromptStyle(style="plain", shots=8, seed=1))
    assert {example.id for example in style.examples} <= {row["id"] for row in TRAIN}
