"""How alike models' answers are: exact, ROUGE-L or by embedding; and agreement with the most common answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from steelyard.contracts import Embedder
from steelyard.errors import CapabilityError
from steelyard.evaluation.grading import normalise_answer
from steelyard.evaluation.ranking.records import AnswerTable, Array

Agreement: TypeAlias = Callable[[Sequence[str]], Array]
"""Answers (systems,) to one question -> symmetric similarities (systems, systems)."""


def similarities(answers: AnswerTable, agreement: Agreement) -> Array:
    """Similarities of every two systems' answers to each question: float (questions, systems, systems)."""
    return np.stack([agreement(own) for own in zip(*answers.texts, strict=True)])


def exact_agreement(texts: Sequence[str]) -> Array:
    """1 where two answers are equal after :func:`~steelyard.evaluation.grading.normalise_answer`, else 0.

    >>> exact_agreement(["The cat", "cat", "dog"])[0].tolist()
    [1.0, 1.0, 0.0]
    """
    said = np.array([_comparable(text) for text in texts])
    return np.asarray(said[:, None] == said[None, :], dtype=np.float64)


def rouge_l_agreement(texts: Sequence[str]) -> Array:
    """ROUGE-L's F measure of every two answers, by the package rouge-score without stemming."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise CapabilityError(
            "ROUGE-L needs the package rouge-score: pip install 'steelyard[evaluation]'"
        ) from error
    scorer = RougeScorer(["rougeL"])
    found = np.eye(len(texts))
    for i in range(len(texts)):
        for j in range(i + 1, len(texts)):
            found[i, j] = found[j, i] = scorer.score(texts[i], texts[j])["rougeL"].fmeasure
    return found


def embedding_agreement(name: str) -> Agreement:
    """Cosine similarity of answers embedded by the model ``name``."""
    from steelyard.systems.loading import load

    model = load(name)
    if not isinstance(model, Embedder):
        raise CapabilityError(
            f"{name} lacks the capability 'embed', which similarity of answers needs; try minilm"
        )

    def agreement(texts: Sequence[str]) -> Array:
        vectors = model.embed([text or " " for text in texts]).astype(np.float64)
        return np.asarray(vectors @ vectors.T)

    return agreement


def most_common_answer_scores(answers: AnswerTable) -> Array:
    """The share of questions on which each system (systems,) gives the answer that most systems give.

    Where several answers are equally common, agreeing with any of them counts alike: the reciprocal of their
    number.

    Source: Ranking Large Language Models without Ground Truth (2024), the baseline of its experiments.

    >>> most_common_answer_scores(AnswerTable(("a", "b", "c"), ("q",), (("4",), ("4",), ("5",)))).tolist()
    [1.0, 1.0, 0.0]
    """
    scores = np.zeros(len(answers.names))
    for own in zip(*answers.texts, strict=True):
        said = [_comparable(text) for text in own]
        counts = Counter(said)
        top = max(counts.values())
        common = {text for text, count in counts.items() if count == top}
        scores += [(text in common) / len(common) for text in said]
    return np.asarray(scores / len(answers.questions))


def _comparable(text: str) -> str:
    return normalise_answer(text) or text.strip().casefold()
