"""Weighted keyword rules: which facts an answer must mention, and what missing one costs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.errors import InputError
from steelyard.evaluation.benchmarks.open_ended.ngram_distribution import length_discount

NEVER = 9999
"""Where a rule that is not met ends."""


def met_at(answer: str, rule: Mapping[str, Any]) -> int:
    """After how many characters of ``answer`` a rule is met, or :data:`NEVER`.

    A rule is ``{"t": PATTERN}``, met where the pattern first ends; ``{"and": [...]}``, met with the last
    of its rules; or ``{"or": [...]}``, met with the first.

    >>> met_at("tea and milk", {"and": [{"t": "tea"}, {"or": [{"t": "milk"}, {"t": "sugar"}]}]})
    12
    >>> met_at("tea", {"and": [{"t": "tea"}, {"t": "milk"}]})
    9999
    """
    if "t" in rule:
        found = re.search(rule["t"], answer)
        return found.end() if found else NEVER
    if "and" in rule:
        return max(met_at(answer, part) for part in rule["and"])
    return min(met_at(answer, part) for part in rule["or"])


def helpfulness(answer: str, rules: Sequence[Mapping[str, Any]]) -> float:
    """The best over the answer's prefixes of: length discount times (1 - importance) for every rule not yet met.

    A rule without ``importance`` has importance 1: without it, nothing is left.

    >>> helpfulness("tea", [{"t": "tea"}, {"t": "milk", "importance": 0.3}])
    0.7
    """
    ends = [(met_at(answer, rule), 1 - rule.get("importance", 1.0)) for rule in rules]
    best = 0.0
    for length in range(len(answer) + 1):
        score = length_discount(length)
        if score < 0:
            break
        for end, left in ends:
            if length < end:
                score *= left
        best = max(best, score)
    return best


def check_rules(rules: Any, place: str) -> None:
    """Refuse rules of another form, or with broken patterns, naming the place."""
    for rule in rules if isinstance(rules, list) else [None]:
        if not isinstance(rule, dict) or not {"t", "and", "or"} & rule.keys():
            raise InputError(f"{place}: a keyword rule needs 't', 'and' or 'or', not {rule!r}")
        if "t" in rule:
            try:
                re.compile(rule["t"])
            except (re.error, TypeError) as error:
                raise InputError(f"{place}: keyword pattern {rule['t']!r}: {error}") from None
        elif not rule.get("and") and not rule.get("or"):
            raise InputError(f"{place}: an 'and' or 'or' rule must list rules")
        else:
            check_rules(rule.get("and") or rule.get("or"), place)
