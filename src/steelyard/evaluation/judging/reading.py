"""Reading a verdict from free text by named rules; what no rule reads stays unread."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """The label found and the rule that found it; both None where the words fit no rule."""

    label: str | None
    rule: str | None


def read_label(text: str, labels: Sequence[str], rules: Sequence[str] | None = None) -> Reading:
    """The verdict in ``text`` by the first of ``rules`` (default: all of :data:`RULES`, in order) that reads one.

    Case is ignored. A rule that finds two different labels reads none, so an answer that names both sides is not
    decided by which was named first.

    >>> read_label("The better one is [[B]].", ["A", "B"])
    Reading(label='B', rule='bracketed')
    >>> read_label("Both have their merits", ["A", "B"])
    Reading(label=None, rule=None)
    """
    for name in rules or RULES:
        found = {label.casefold() for label in RULES[name](text, labels)}
        if len(found) == 1:
            return Reading(next(label for label in labels if label.casefold() in found), name)
    return Reading(None, None)


def _pattern(labels: Sequence[str]) -> str:
    """One of the labels as a whole word, the longest first."""
    return "(" + "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True)) + r")(?!\w)"


def _alone(text: str, labels: Sequence[str]) -> list[str]:
    found = re.fullmatch(rf"[\W_]*(?:answer\s+)?{_pattern(labels)}[\W_]*", text, re.IGNORECASE)
    return [found[1]] if found else []


def _bracketed(text: str, labels: Sequence[str]) -> list[str]:
    return re.findall(rf"\[\[?\s*{_pattern(labels)}\s*\]\]?", text, re.IGNORECASE)


def _stated(text: str, labels: Sequence[str]) -> list[str]:
    lead = r"\b(?:verdict|winner|rating|grade|choice|preference|decision)\s*(?:is|:|=)\s*[\W_]*(?:answer\s+)?"
    return re.findall(lead + _pattern(labels), text, re.IGNORECASE)


def _leading(text: str, labels: Sequence[str]) -> list[str]:
    found = re.match(rf"[\W_]*{_pattern(labels)}\s*(?:[.,:;!\n\-–—)*]|$)", text, re.IGNORECASE)
    return [found[1]] if found else []


def _last_line(text: str, labels: Sequence[str]) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    return _alone(lines[-1], labels) if lines else []


RULES: Mapping[str, Callable[[str, Sequence[str]], list[str]]] = {
    "alone": _alone,
    "bracketed": _bracketed,
    "stated": _stated,
    "leading": _leading,
    "last-line": _last_line,
}
"""``alone``: the label is the whole answer. ``bracketed``: [A] or [[A]]. ``stated``: "verdict: A", "winner is A".
``leading``: the answer begins with it and a mark of punctuation. ``last-line``: it is the whole last line."""
