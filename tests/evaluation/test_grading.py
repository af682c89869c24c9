from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import InputError
from steelyard.evaluation import grading

CASES: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("grading_cases.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", CASES["normalise"], ids=lambda c: repr(c["text"]))
def test_normalise(case: dict[str, Any]) -> None:
    assert grading.normalise_answer(case["text"]) == case["expected"]


@pytest.mark.parametrize("case", CASES["extract"], ids=lambda c: repr(c["output"]))
def test_extract(case: dict[str, Any]) -> None:
    assert grading.extract_answer(case["output"]) == case["expected"]


@pytest.mark.parametrize(
    ("name", "grade"),
    [("exact_match", grading.exact_match), ("contains", grading.contains), ("f1", grading.token_f1)],
)
def test_answers(name: str, grade: Any) -> None:
    for case in CASES[name]:
        assert grade(case["prediction"], case["accepted"]) == pytest.approx(case["expected"]), case


@pytest.mark.parametrize("case", CASES["number"], ids=lambda c: repr(c["text"]))
def test_last_number(case: dict[str, Any]) -> None:
    assert grading.last_number(case["text"]) == case["expected"]


@pytest.mark.parametrize("case", CASES["numeric"], ids=lambda c: repr(c["output"]))
def test_numeric_match(case: dict[str, Any]) -> None:
    assert grading.numeric_match(case["output"], case["accepted"]) == case["expected"]


@pytest.mark.parametrize("case", CASES["pattern"], ids=lambda c: f"{c['pattern']} in {c['output']}")
def test_pattern_match(case: dict[str, Any]) -> None:
    assert grading.pattern_match(case["output"], case["pattern"], case["accepted"]) == case["expected"]


def test_a_pattern_that_backtracks_without_end_is_stopped() -> None:
    began = time.perf_counter()
    with pytest.raises(InputError, match=r"took longer than 0\.2 s"):
        grading.pattern_match("a" * 60 + "!", r"^(a|aa)+$", seconds=0.2)
    assert time.perf_counter() - began < 5


def test_broken_patterns_are_explained() -> None:
    assert grading.check_pattern("(a|b)+") is None
    assert "missing )" in str(grading.check_pattern("(a"))


@given(st.text())
def test_normalising_twice_changes_nothing_for_words(text: str) -> None:
    once = grading.normalise_answer(text)
    assert once == " ".join(once.split())
    assert not set(once) & set("!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~\\")


@given(st.text(min_size=1).filter(str.strip))
def test_every_answer_matches_itself(text: str) -> None:
    assert grading.exact_match(text, [text]) == 1.0
    assert grading.contains(text, [text]) == 1.0


@given(st.text(), st.lists(st.text(), min_size=1))
def test_f1_is_between_exact_match_and_one(prediction: str, accepted: list[str]) -> None:
    f1 = grading.token_f1(prediction, accepted)
    assert 0 <= f1 <= 1
    if grading.normalise_answer(prediction) in {grading.normalise_answer(a) for a in accepted}:
        assert f1 == 1


@given(st.integers(-(10**12), 10**12))
def test_integers_are_read_back(number: int) -> None:
    assert grading.last_number(f"in all {number:,} pieces") == number


def test_choices_under_four_normalisations() -> None:
    # "é" is one character of two bytes, so per character and per byte may disagree.
    values, best = grading.choice_marks(["éééé", "abcde"], 0, [-6.0, -7.0], [2, 4])
    confidence = values.pop("confidence")
    assert confidence == pytest.approx(1 / (1 + math.exp(-1)))
    assert values == {"accuracy": 1, "accuracy_norm": 0, "accuracy_token": 0, "accuracy_byte": 1}
    assert best == 0


def test_ties_go_to_the_earlier_choice() -> None:
    assert grading.choice_marks(["a", "b"], 1, [-1.0, -1.0], [1, 1])[0]["accuracy"] == 0
    assert grading.choice_marks(["a", "b"], 0, [-1.0, -1.0], [1, 1])[0]["accuracy"] == 1


def test_token_accuracy_is_absent_where_tokens_are_unknown() -> None:
    values, _ = grading.choice_marks(["a", "b"], 0, [-1.0, -2.0], [0, 0])
    assert set(values) == {"accuracy", "accuracy_norm", "accuracy_byte", "confidence"}


def test_impossible_choices_lose() -> None:
    assert grading.choice_marks(["a", "b"], 1, [float("-inf"), -2.0], [1, 1])[0]["accuracy"] == 1
