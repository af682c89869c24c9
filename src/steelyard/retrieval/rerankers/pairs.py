"""Which of two passages: pairs put to a model in both orders, and what it makes of its two labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from steelyard.contracts import Continuation, LanguageModel, Sampling
from steelyard.retrieval.rerankers.asking import RerankCost, generate, score
from steelyard.retrieval.rerankers.template import Template

Method: TypeAlias = Literal["auto", "score", "generate"]
"""``score`` compares the labels' log-likelihoods, ``generate`` reads what the model says; ``auto`` is the first of
them that the model has."""
ANSWER_TOKENS = 12


class Comparison(NamedTuple):
    """Two passages for one query; the first is shown as the first label's."""

    query: str
    first: str
    second: str


class Shares(NamedTuple):
    """For each comparison the share of the first label, from 0 to 1 (None: unreadable), and the cost."""

    values: list[float | None]
    cost: RerankCost


def label_shares(
    model: LanguageModel,
    template: Template,
    labels: tuple[str, str],
    comparisons: Sequence[Comparison],
    method: Method,
    part: str,
) -> Shares:
    """Ask each comparison once, as it stands.

    A score's share is exp(a) / (exp(a) + exp(b)) of the labels' log-likelihoods a and b; an answer that names the
    first label alone has the share 1, the second alone 0.
    """
    prompts = [template.prompt(query=c.query, first=c.first, second=c.second) for c in comparisons]
    if method == "auto":
        method = "score" if "score" in model.card.capabilities else "generate"
    if method == "score":
        asked = [Continuation(prompt, template.answer(label)) for prompt in prompts for label in labels]
        scores, cost = score(model, asked, part)
        each = [one.logprob for one in scores]
        return Shares([share(a, b) for a, b in zip(each[::2], each[1::2], strict=True)], cost)
    generations, cost = generate(model, prompts, Sampling(max_tokens=ANSWER_TOKENS), part)
    read = [read_label(one.text, labels) for one in generations]
    values = [None if number is None else 1.0 - number for number in read]
    return Shares(values, cost + RerankCost(unread=read.count(None)))


def share(first: float, second: float) -> float:
    """exp(first) / (exp(first) + exp(second)), exactly one minus the share of the two swapped.

    >>> share(-1.0, -1.0), share(-1.0, -3.0) + share(-3.0, -1.0)
    (0.5, 1.0)
    """
    smaller = 1.0 / (1.0 + math.exp(min(abs(first - second), 700.0)))
    return smaller if first < second else 1.0 - smaller


def read_label(text: str, labels: Sequence[str]) -> int | None:
    """The number of the one label that a text names; None where it names none or several.

    A label counts where it stands whole ("Passage B"), or its last word alone begins the text ("B.").

    >>> labels = ("Passage A", "Passage B")
    >>> read_label(" passage b is better.", labels), read_label("B", labels), read_label("A passage", labels)
    (1, 1, None)
    """
    whole = [number for number, label in enumerate(labels) if re.search(rf"(?i)\b{re.escape(label)}\b", text)]
    if whole:
        return whole[0] if len(whole) == 1 else None
    for number, label in enumerate(labels):
        if re.match(rf"[\W_]*{re.escape(label.split()[-1])}(?=[.,:;!)\]\"'*\n]|\s*$)", text):
            return number
    return None
