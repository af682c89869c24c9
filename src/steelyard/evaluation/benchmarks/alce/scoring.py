"""ALCE's scores: from answers to values a question, and to their means."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from steelyard.contracts import Interval, LanguageModel, OpenWeights
from steelyard.errors import CapabilityError
from steelyard.evaluation.benchmarks.alce.answering import Answered
from steelyard.evaluation.benchmarks.alce.citations import (
    CitationScores,
    Layout,
    judge_citations,
    statements,
    without_citations,
)
from steelyard.evaluation.benchmarks.alce.correctness import claim_recall, list_scores, short_answer_recall
from steelyard.evaluation.benchmarks.alce.records import Item, Subset
from steelyard.evaluation.entailment import Entailment
from steelyard.evaluation.evaluate import unwrapped
from steelyard.evaluation.mauve import mauve
from steelyard.evaluation.measurement import Table
from steelyard.evaluation.statistics import mean_interval

WORDS = 100
"""MAUVE compares so many words of question and answer."""


def citations_of(
    items: Sequence[Item], answers: Sequence[Answered], layout: Layout, judge: Entailment
) -> list[CitationScores | None]:
    """The citation scores of each answer; none where there is no sentence."""
    said = [
        statements(answer.text, layout, item.question, len(answer.documents))
        for item, answer in zip(items, answers, strict=True)
    ]
    return judge_citations(said, [[one.premise for one in answer.documents] for answer in answers], judge)


def marks_of(
    subset: Subset,
    items: Sequence[Item],
    answers: Sequence[Answered],
    citations: Sequence[CitationScores | None],
    judge: Entailment,
) -> list[dict[str, float]]:
    """The values of each question: citations, correctness of its data set, and length."""
    texts = [without_citations(answer.text) for answer in answers]
    if subset == "asqa":
        right = [short_answer_recall(text, item.accepted) for text, item in zip(texts, items, strict=True)]
    elif subset == "qampari":
        right = [list_scores(text, item.accepted) for text, item in zip(texts, items, strict=True)]
    else:
        recalls = claim_recall(texts, [item.claims for item in items], judge)
        right = [{"claim_recall": recall} for recall in recalls]
    marks = []
    for text, own, cited in zip(texts, right, citations, strict=True):
        scores = {} if cited is None else {"citation_recall": cited.recall, "citation_precision": cited.precision}
        marks.append({**scores, **own, "length": float(len(text.split()))})
    return marks


def means(marks: Sequence[dict[str, float]]) -> dict[str, Interval]:
    """The mean of each value over the questions that have it."""
    found = {}
    for name in dict.fromkeys(name for own in marks for name in own):
        values = [own[name] for own in marks if name in own]
        bounds = (0.0, float("inf")) if name == "length" else (0.0, 1.0)
        found[name] = mean_interval(values, bounds=bounds)
    return found


def statement_tables(citations: Sequence[CitationScores | None]) -> tuple[Table, ...]:
    """How many statements cite how, over all answers."""
    scored = [one for one in citations if one is not None]
    if not scored:
        return ()
    total = [sum(getattr(one, name) for one in scored) for name in CitationScores._fields[2:]]
    columns = ("statements", "citations", "statements with several", "of them supported", "irrelevant citations")
    note = "an irrelevant citation supports its statement neither alone nor as one that would be missed"
    return (Table("Citations", columns, (tuple(total),), note),)


def fluency(items: Sequence[Item], answers: Sequence[Answered], model: LanguageModel, seed: int) -> Interval:
    """MAUVE of question and answer against question and a person's answer, marks and closing punctuation removed.

    A text's features are the last layer's state at its last token.

    Raises:
        CapabilityError: A model without weights in this process.
    """
    reading = unwrapped(model)[0]
    if not isinstance(reading, OpenWeights):
        raise CapabilityError(f"alce: MAUVE needs hidden states, which {reading.card.name} does not give")
    people = [_shown(item.question, item.answer) for item in items]
    written = [
        _shown(item.question, without_citations(answer.text)) for item, answer in zip(items, answers, strict=True)
    ]
    states = reading.hidden([*people, *written], [-1])
    features = np.stack([one[0, -1] for one in states]).astype(np.float64)
    return mauve(features[: len(people)], features[len(people) :], seed=seed)


def _shown(question: str, answer: str) -> str:
    return " ".join(f"{question} {answer.strip()}".split()[:WORDS]).rstrip(string.punctuation)
