from __future__ import annotations

import doctest

import pytest

from steelyard.errors import UsageError
from steelyard.evaluation import extraction
from steelyard.evaluation.extraction import RULES, check_rule, extract

CASES = [
    ("letter", "The answer is (B).", "B"),
    ("letter", "Answer: C", "C"),
    ("letter", "D", "D"),
    ("letter", "b", ""),
    ("letter", "A. Paris is the capital", "A"),
    ("letter", "**C**", "C"),
    ("letter", "I first thought the answer is A, but the correct answer is D.", "D"),
    ("letter", "It must be (C), since nothing else fits.", "C"),
    ("letter", "Either (A) or (B).", ""),
    ("letter", "Answering this takes time", ""),
    ("letter", "", ""),
    ("last-number", "So 12 + 30 = 42.", "42"),
    ("last-number", "It costs $1,234.50 in all", "1234.50"),
    ("last-number", "minus -7 degrees", "-7"),
    ("last-number", "none", ""),
    ("hashes", "3 * 4 = 12\n#### 12", "12"),
    ("hashes", "#### $1,000.", "1000"),
    ("hashes", "12", ""),
    ("boxed", r"thus \boxed{x^{2}}", "x^{2}"),
    ("boxed", r"\boxed{1} and \boxed {2}", "2"),
    ("boxed", r"\boxed{1", ""),
    ("answer-is", "Think. So the answer is Paris.", "Paris"),
    ("answer-is", "nothing stated", ""),
    ("last-line", "a\n\nb.\n\n", "b"),
    ("whole", "  a b ", "a b"),
    ("first-line", 'Answer: "Paris".\nMore', "Paris"),
]


@pytest.mark.parametrize(("rule", "output", "answer"), CASES)
def test_rules(rule: str, output: str, answer: str) -> None:
    assert extract(rule, output) == answer


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in CASES} == set(RULES)


def test_examples() -> None:
    assert doctest.testmod(extraction).failed == 0


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'letter'"):
        check_rule("leter")
