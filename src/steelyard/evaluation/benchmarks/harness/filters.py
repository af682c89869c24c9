"""Filters of lm-evaluation-harness: named steps from a model's responses to the answer that is graded.

A step takes all responses to one document and returns as many, or fewer; the last must leave one. Patterns come
from configurations that may be anyone's, so they run in the ``regex`` engine under a time limit.
"""

from __future__ import annotations

import inspect
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import regex  # type: ignore[import-untyped]

from steelyard.errors import InputError
from steelyard.evaluation.benchmarks.harness.config import FilterConfig, FilterStep
from steelyard.parts import nearest

SECONDS = 2.0
"""How long one pattern may search one response."""

PATTERN = r"#### (\-?[0-9\.\,]+)"
INVALID = "[invalid]"

Document: TypeAlias = Mapping[str, Any]
Step: TypeAlias = Callable[..., list[str]]


def matched(pattern: str, text: str, group: int = 0) -> str | None:
    r"""The text of match number ``group``: of several groups the first that is not empty; None without a match.

    >>> matched(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "3 boxes of 12 are 36.", -1)
    '36.'
    """
    found = _find_all(pattern, text)
    if not found:
        return None
    if not -len(found) <= group < len(found):
        raise InputError(f"filter regex: group_select {group} of {len(found)} matches; use 0 or -1")
    chosen = found[group]
    if isinstance(chosen, tuple):
        chosen = next((one for one in chosen if one), None)
    return None if chosen is None else str(chosen).strip()


def extract(
    responses: Sequence[str],
    document: Document,
    *,
    regex_pattern: str = PATTERN,
    group_select: int = 0,
    fallback: str = INVALID,
) -> list[str]:
    """``regex``: what the pattern finds, or the fallback."""
    found = [matched(regex_pattern, response, group_select) for response in responses]
    return [fallback if one is None else one for one in found]


def choose(
    responses: Sequence[str],
    document: Document,
    *,
    regex_pattern: str = PATTERN,
    group_select: int = 0,
    fallback: str = INVALID,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    regexes_to_ignore: Sequence[str] = (),
) -> list[str]:
    """``multi_choice_regex``: the pattern's letter, else the choice its words name, else a letter after ":"."""

    def bare(text: str) -> str:
        for pattern in regexes_to_ignore:
            text = _substitute(pattern, text)
        text = text.lower() if ignore_case else text
        return text.translate(_punctuation()) if ignore_punctuation else text

    choices = [bare(choice.strip()) for choice in document["choices"]]
    letters = string.ascii_uppercase[: len(choices)]
    named = {choice: f"({letter})" for choice, letter in zip(choices, letters, strict=True)}
    words = "|".join(sorted((regex.escape(choice) for choice in choices), key=len, reverse=True))
    after_colon = rf":[\s]*({'|'.join(letters)})"
    answers = []
    for response in responses:
        answer = matched(regex_pattern, response, group_select)
        if not answer:
            word = matched(words, bare(response), group_select)
            answer = named.get(word, word) if word else None
        if not answer:
            letter = matched(after_colon, response, group_select)
            answer = f"({letter})" if letter else None
        answers.append(answer or fallback)
    return answers


def take_first(responses: Sequence[str], document: Document) -> list[str]:
    """``take_first``: the first response."""
    return list(responses[:1])


def take_first_k(responses: Sequence[str], document: Document, *, k: int) -> list[str]:
    """``take_first_k``: the first k of at least k responses."""
    if len(responses) < k:
        raise InputError(
            f"filter take_first_k: {k} responses are needed, there are {len(responses)}; raise repeats"
        )
    return list(responses[:k])


def majority_vote(responses: Sequence[str], document: Document) -> list[str]:
    """``majority_vote``: the most frequent response, the earliest of equals."""
    return [Counter(responses).most_common(1)[0][0]]


def mapped(
    responses: Sequence[str],
    document: Document,
    *,
    mapping_dict: Mapping[str, str] | None = None,
    default_value: str | None = None,
) -> list[str]:
    """``map``: what the table gives for each response."""
    return [str((mapping_dict or {}).get(response, default_value)) for response in responses]


STEPS: Mapping[str, Step] = {
    "regex": extract,
    "multi_choice_regex": choose,
    "take_first": take_first,
    "take_first_k": take_first_k,
    "majority_vote": majority_vote,
    "map": mapped,
    "remove_whitespace": lambda responses, document: [response.strip() for response in responses],
    "lowercase": lambda responses, document: [response.lower() for response in responses],
    "uppercase": lambda responses, document: [response.upper() for response in responses],
}
"""Every filter function by the harness's name."""


def check_filters(filters: Sequence[FilterConfig]) -> None:
    """Refuse unknown functions and options, and patterns that are no regular expressions."""
    names = [one.name for one in filters]
    if len(set(names)) < len(names):
        raise InputError(
            f"filter_list: two filters are called {Counter(names).most_common(1)[0][0]!r}; rename one"
        )
    for one in filters:
        for step in one.filter:
            _check_step(step)


def _check_step(step: FilterStep) -> None:
    name = step.function
    if name not in STEPS:
        raise InputError(
            f"filter_list: unknown function {name!r}{nearest(name, STEPS)}; there are {', '.join(STEPS)}"
        )
    known = [p.name for p in inspect.signature(STEPS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in step.options:
        if option not in known:
            raise InputError(f"filter_list: {name} has no option {option!r}{nearest(option, known)}")
    try:
        for pattern in (step.options.get("regex_pattern", PATTERN), *step.options.get("regexes_to_ignore", ())):
            regex.compile(pattern)
    except (regex.error, TypeError) as error:
        raise InputError(f"filter_list: {pattern!r} is no regular expression ({error})") from None


def apply_filter(one: FilterConfig, responses: Sequence[str], document: Document) -> str:
    """The one answer that a filter leaves.

    Raises:
        InputError: It leaves several, or a pattern takes too long.
    """
    left = list(responses)
    for step in one.filter:
        left = STEPS[step.function](left, document, **step.options)
    if len(left) != 1:
        raise InputError(f"filter_list: {one.name!r} leaves {len(left)} answers; end it with take_first")
    return left[0]


def _find_all(pattern: str, text: str) -> list[Any]:
    try:
        return list(regex.findall(pattern, text, timeout=SECONDS))
    except TimeoutError:
        raise InputError(
            f"the pattern {pattern!r} took longer than {SECONDS:g} s on one response; rewrite it without nested "
            "repetition such as (a+)+"
        ) from None


def _substitute(pattern: str, text: str) -> str:
    try:
        return str(regex.sub(pattern, "", text, timeout=SECONDS))
    except TimeoutError:
        raise InputError(
            f"the pattern {pattern!r} took longer than {SECONDS:g} s on one text; simplify it"
        ) from None


@cache
def _punctuation() -> dict[int, None]:
    return dict.fromkeys(i for i in range(sys.maxunicode) if unicodedata.category(chr(i)).startswith("P"))
