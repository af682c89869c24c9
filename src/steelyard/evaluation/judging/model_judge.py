"""A judge made of any language model: pairs in both orders, single answers, verdicts that can be read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from steelyard.contracts import (
    Answers,
    Continuation,
    Grammar,
    LanguageModel,
    ModelCard,
    Prompt,
    Sampling,
    Verdict,
)
from steelyard.errors import CapabilityError, UsageError
from steelyard.evaluation.judging.reading import read_label
from steelyard.evaluation.judging.templates import JudgeTemplate

Method: TypeAlias = Literal["auto", "grammar", "score", "parse"]
RULES_VERSION = "reading-1"
"""Part of every judge's fingerprint: verdicts read by other rules are other verdicts."""


class Reply(NamedTuple):
    """The label a judge chose (None where unreadable) and its words."""

    label: str | None
    words: str


@dataclass(frozen=True)
class ModelJudge:
    """A language model that compares or grades, through the templates it is given.

    Comparisons are asked in both orders unless ``swap`` is false. Where the two orders agree the verdict is
    theirs; where they do not it is a tie, and ``orders`` shows why; where one cannot be read the verdict cannot.

    Attributes:
        model: who judges.
        pair_template: the question of a comparison; None for a judge that only grades.
        single_template: the question of a grading; None for a judge that only compares.
        swap: ask a comparison in both orders.
        method: how the model is made to say its verdict, see :func:`ask`.
        max_tokens: longest reply where the words are parsed, or an explanation follows the verdict.
        explanation: let the model say more than the label (``parse`` and ``grammar`` only).
    """

    model: LanguageModel
    pair_template: JudgeTemplate | None = None
    single_template: JudgeTemplate | None = None
    swap: bool = True
    method: Method = "auto"
    max_tokens: int = 32
    explanation: bool = False

    @property
    def card(self) -> ModelCard:
        """The model's card; the fingerprint covers templates and settings too."""
        card = self.model.card
        templates = [t.fingerprint if t else None for t in (self.pair_template, self.single_template)]
        settings = [self.swap, self.method, self.max_tokens, self.explanation, RULES_VERSION]
        content = json.dumps([card.fingerprint, templates, settings])
        return replace(card, fingerprint=hashlib.sha256(content.encode()).hexdigest()[:32])

    def compare(self, pairs: Sequence[Answers]) -> list[Verdict]:
        """A verdict on each pair, all orders of all pairs asked in one call.

        Raises:
            UsageError: this judge has no template for pairs.
        """
        if self.pair_template is None:
            raise UsageError(f"judge {self.card.name!r} grades single answers and compares none")
        turned = [replace(pair, first=pair.second, second=pair.first) for pair in pairs] if self.swap else []
        replies = self._replies(self.pair_template, [*pairs, *turned])
        values = [None if r.label is None else self.pair_template.labels[r.label] for r in replies]
        n = len(pairs)
        if not self.swap:
            return [Verdict(v, (v,), (r.words,)) for v, r in zip(values, replies, strict=True)]
        return [
            combined((values[i], mirrored(values[n + i])), (replies[i].words, replies[n + i].words))
            for i in range(n)
        ]

    def grade(self, answers: Sequence[Answers]) -> list[Verdict]:
        """A value between 0 and 1 for each answer.

        Raises:
            UsageError: this judge has no template for single answers.
        """
        if self.single_template is None:
            raise UsageError(f"judge {self.card.name!r} compares pairs and grades no single answers")
        labels = self.single_template.labels
        replies = self._replies(self.single_template, answers)
        return [Verdict(None if r.label is None else labels[r.label], (), (r.words,)) for r in replies]

    def _replies(self, template: JudgeTemplate, asked: Sequence[Answers]) -> list[Reply]:
        prompts = [template.render(answers) for answers in asked]
        return ask(
            self.model,
            prompts,
            tuple(template.labels),
            method=self.method,
            max_tokens=self.max_tokens,
            explanation=self.explanation,
        )


def mirrored(value: float | None) -> float | None:
    """A verdict on swapped answers from the view of the answers as given."""
    return None if value is None else 1.0 - value


def combined(orders: tuple[float | None, float | None], words: tuple[str, ...] = ()) -> Verdict:
    """One verdict from both orders: the one they agree on, else a tie.

    A judge that always names the answer shown first gives 1 and then 0, hence ties.

    >>> combined((1.0, 0.0)).value, combined((1.0, 1.0)).value, combined((1.0, None)).value
    (0.5, 1.0, None)
    """
    first, second = orders
    value = None if first is None or second is None else first if first == second else 0.5
    return Verdict(value, orders, words)


def ask(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    labels: Sequence[str],
    *,
    method: Method = "auto",
    max_tokens: int = 32,
    explanation: bool = False,
) -> list[Reply]:
    """Have ``model`` answer each prompt with one of ``labels``.

    ``grammar`` lets it generate nothing else (with ``explanation``: the label first, then words); ``score`` takes
    the label with the highest log-probability per token as the next words; ``parse`` reads free words by the rules
    of :mod:`steelyard.evaluation.judging.reading`. ``auto`` takes the first of these that the model has. Models
    are asked at temperature 0.

    Raises:
        UsageError: an explanation is wanted of a scored label.
        CapabilityError: the model lacks what the method needs.
    """
    if not prompts:
        return []
    if method == "score" and explanation:
        raise UsageError("a judge whose labels are scored gives no explanations; use the method grammar or parse")
    if method in ("auto", "grammar"):
        try:
            return _generated(model, prompts, labels, _grammar(labels, max_tokens, explanation), max_tokens)
        except CapabilityError:
            if method == "grammar":
                raise
    if method == "score" or (method == "auto" and "score" in model.card.capabilities and not explanation):
        return _scored(model, prompts, labels)
    return _generated(model, prompts, labels, None, max_tokens)


def _grammar(labels: Sequence[str], max_tokens: int, explanation: bool) -> Grammar:
    if not explanation:
        return Grammar(choices=tuple(labels))
    return Grammar(
        regex="(" + "|".join(re.escape(label) for label in labels) + rf")\. [^\n]{{1,{4 * max_tokens}}}"
    )


def _generated(
    model: LanguageModel, prompts: Sequence[Prompt], labels: Sequence[str], grammar: Grammar | None, longest: int
) -> list[Reply]:
    sampling = Sampling(max_tokens=longest, temperature=0.0, grammar=grammar)
    texts = [generation.text for generation in model.generate(prompts, sampling)]
    return [Reply(read_label(text, labels).label, text) for text in texts]


def _scored(model: LanguageModel, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[Reply]:
    """The likeliest label; a model that prefers two of them equally has said neither."""
    scores = iter(model.score([Continuation(prompt, label) for prompt in prompts for label in labels]))
    replies = []
    for _ in prompts:
        each = [next(scores) for _ in labels]
        means = [score.logprob / max(1, len(score.token_logprobs)) for score in each]
        best = max(means)
        winners = [label for label, mean in zip(labels, means, strict=True) if mean == best]
        words = ", ".join(f"{label} {score.logprob:.3f}" for label, score in zip(labels, each, strict=True))
        replies.append(Reply(winners[0] if len(winners) == 1 else None, words))
    return replies
