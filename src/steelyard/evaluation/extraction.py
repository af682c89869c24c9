r"""Answer extraction: named rules that find the answer in what a model wrote.

    extract("letter", "I think the answer is (B).")     # "B"

A task names its rule, the rule's name is part of the task's fingerprint, and a rule never changes under its name:
a better one gets a new name. What cannot be found is the empty string, which no answer equals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from steelyard.errors import UsageError
from steelyard.evaluation.grading import NUMBER, extract_answer
from steelyard.parts import nearest

FIRST_LINE = "first-line"

_LETTER_STATED = re.compile(
    r"\b(?:answer|choice|option)\b(?:\s+(?:is|would be|should be))?\s*[:=]?\s*\**\s*[\(\[]?([A-Z])(?![A-Za-z'])",
    re.IGNORECASE,
)
_LETTER_ALONE = re.compile(r"^\W*([A-Z])(?:[\s.,:;)\]*]|$)")
_LETTER_BRACKETED = re.compile(r"[\(\[]([A-Z])[\)\]]")
_OPENING = r"\s*[:,]?\s*(?:選項|选项|選|选)?\s*[*(\[「『\"'<]*\s*"
_ZH_STATED = re.compile(
    r"(?:答案|正解|正確選項|正确选项)(?:應該|应该|應當|應|应)?(?:就是|是|為|为|選|选)?"
    + _OPENING
    + r"([A-Z])(?![A-Za-z])"
)
_ZH_CHOSEN = re.compile(r"(?<!不)(?<!不應)(?<!不能)(?:選擇|选择|選|选)" + _OPENING + r"([A-Z])(?![A-Za-z])")
_ZH_CORRECT = re.compile(
    r"(?<![A-Za-z])([A-Z])[)\]」』*]*\s*(?:選項|选项|項|项)?\s*(?:才是|才|就是|是|為|为)?\s*(?:最)?正[確确]"
)
_ZH_DENIED = re.compile(r"[(\[]?[A-Z][)\]]?\s*(?:選項|选项|項|项)?\s*(?:並|并)?不(?:是|正|對|对)")
_BOXED = re.compile(r"\\boxed\s*\{")
_HASHES = re.compile(r"####\s*(.+)")
_ANSWER_IS = re.compile(r"\banswer\b(?:\s+is)?\s*:?\s*(.+)", re.IGNORECASE)


def letter(output: str) -> str:
    """The letter of a choice: stated ("the answer is (B)", the last such statement), else alone at the beginning
    ("B. Paris"), else in brackets if only one letter is.

    >>> letter("A common mistake. The answer is C.")
    'C'
    >>> letter("Apples")
    ''
    """
    stated = [match for match in _LETTER_STATED.findall(output) if match.isupper()]
    if stated:
        return str(stated[-1])
    if alone := _LETTER_ALONE.match(output.strip()):
        return alone[1]
    bracketed = set(_LETTER_BRACKETED.findall(output))
    return str(bracketed.pop()) if len(bracketed) == 1 else ""


def letter_zh(output: str) -> str:
    """The letter of a choice in a Chinese reply, traditional or simplified, with half- or full-width marks.

    Read up to the next question that a model may go on to write ("問題："). In order: the last stated answer
    ("正確答案：(A)", "答案應為 B"), the last choice made ("故選C"), the last choice called right ("選項 D 正確");
    else as the rule ``letter``. "不是", "不正確" and "不選" are no statements.

    >>> letter_zh("讓我們一步一步思考。甲為非。正確答案：（Ｂ）")
    'B'
    >>> letter_zh("A 不是正確答案，應選 C。")
    'C'
    """
    text = unicodedata.normalize("NFKC", output)
    text = re.split(r"(?:問題|问题):", text.strip(), maxsplit=1)[0] or text
    for rule in (_ZH_STATED, _ZH_CHOSEN, _ZH_CORRECT):
        if found := rule.findall(text):
            return str(found[-1])
    return letter(_ZH_DENIED.sub("", text))


def last_number_text(output: str) -> str:
    """The last number, without thousands separators: "flexible extraction" of arithmetic benchmarks.

    >>> last_number_text("So 3 times 1,000 is 3,000.")
    '3000'
    """
    found = NUMBER.findall(output)
    return found[-1].replace(",", "").lstrip("+") if found else ""


def after_hashes(output: str) -> str:
    r"""What stands on the line after "####", GSM8K's mark of the final answer; thousands separators and a unit
    sign before the number are dropped.

    >>> after_hashes("2 + 2 = 4\n#### $4,000")
    '4000'
    """
    found = _HASHES.search(output)
    return found[1].strip().lstrip("$").replace(",", "").rstrip(".") if found else ""


def boxed(output: str) -> str:
    r"""The content of the last \boxed{...}, braces balanced.

    >>> boxed(r"so \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    starts = [match.end() for match in _BOXED.finditer(output)]
    if not starts:
        return ""
    depth, begin = 1, starts[-1]
    for at in range(begin, len(output)):
        depth += {"{": 1, "}": -1}.get(output[at], 0)
        if depth == 0:
            return output[begin:at]
    return ""


def after_answer_is(output: str) -> str:
    """What follows the last "answer is" or "Answer:" on its line, unquoted and without a full stop.

    >>> after_answer_is("Let us think. So the answer is Paris.")
    'Paris'
    """
    found = _ANSWER_IS.findall(output)
    return extract_answer(found[-1]) if found else ""


def last_line(output: str) -> str:
    r"""The last line that is not blank, cleaned as the first-line rule cleans.

    >>> last_line("First...\n\nParis.\n")
    'Paris'
    """
    lines = [line for line in output.splitlines() if line.strip()]
    return extract_answer(lines[-1]) if lines else ""


RULES: Mapping[str, Callable[[str], str]] = {
    FIRST_LINE: extract_answer,
    "last-line": last_line,
    "answer-is": after_answer_is,
    "letter": letter,
    "letter-zh": letter_zh,
    "last-number": last_number_text,
    "hashes": after_hashes,
    "boxed": boxed,
    "whole": str.strip,
}
"""Every rule by name."""


def extract(rule: str, output: str) -> str:
    """The answer in ``output`` by a named rule.

    >>> extract("first-line", 'Answer: "Paris".')
    'Paris'
    """
    return RULES[rule](output)


def check_rule(rule: str) -> str:
    """The rule's name, or a UsageError with the nearest one."""
    if rule not in RULES:
        raise UsageError(f"unknown extraction rule {rule!r}{nearest(rule, RULES)}; there are {', '.join(RULES)}")
    return rule
