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
    ("letter-zh", "正確答案：(B)", "B"),
    ("letter-zh", "正確答案是（Ｃ）。", "C"),
    ("letter-zh", "答案：A", "A"),
    ("letter-zh", "答案為 D", "D"),
    ("letter-zh", "答案應為：選項 B", "B"),
    ("letter-zh", "正確的答案應該是:C", "C"),
    ("letter-zh", "**答案：D**", "D"),
    ("letter-zh", "答案選A", "A"),
    ("letter-zh", "所以答案是「B」。", "B"),
    ("letter-zh", "答案为C", "C"),
    ("letter-zh", "答案应该是：选项D", "D"),
    ("letter-zh", "正確選項為 E", "E"),
    ("letter-zh", "甲、乙皆非，故選C。", "C"),
    ("letter-zh", "我選擇 (D)", "D"),
    ("letter-zh", "選B", "B"),
    ("letter-zh", "不選A，應選B。", "B"),
    ("letter-zh", "選項 D 正確。", "D"),
    ("letter-zh", "(B) 才是正確的。", "B"),
    ("letter-zh", "A 不正確，B 正確。", "B"),
    ("letter-zh", "A 不是正確答案，應選 C。", "C"),
    ("letter-zh", "起初以為答案是A，但答案應是D。", "D"),
    ("letter-zh", "B", "B"),
    ("letter-zh", "(A) 因為水在一百度沸騰", "A"),
    ("letter-zh", "C. 真空", "C"),
    ("letter-zh", "答案是 B\n\n問題：下一題\n正確答案：(A)", "B"),
    ("letter-zh", "The answer is (C).", "C"),
    ("letter-zh", "答案是 CPU", ""),
    ("letter-zh", "A 不正確。", ""),
    ("letter-zh", "不知道", ""),
    ("letter-zh", "", ""),
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
