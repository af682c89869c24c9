"""Simulated models: reviewers whose accuracy follows a planted ability, and answers of known accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steelyard.contracts import Verdict
from steelyard.evaluation.ranking.records import AnswerTable, Battles, battles


def peer_battles(
    ability: Sequence[float], accuracy: Sequence[float], *, questions: int, seed: int, self_bias: float = 0.0
) -> Battles:
    """All pairs judged by all, the abler model's answer being the better one more often.

    Reviewer r names the better one with probability accuracy[r]; on its own answer it insists with probability
    ``self_bias``.
    """
    rng = np.random.default_rng(seed)
    n = len(ability)
    names = tuple(f"m{i}" for i in range(n))
    entries, verdicts = [], []
    for q in range(questions):
        quality = np.asarray(ability) + rng.normal(0, 1.0, n)
        for i in range(n):
            for j in range(i + 1, n):
                for r in range(n):
                    right = rng.random() < accuracy[r]
                    value = float((quality[i] > quality[j]) == right)
                    if r in (i, j) and rng.random() < self_bias:
                        value = float(r == i)
                    entries.append((q, r, i, j))
                    verdicts.append(Verdict(value, (value, value)))
    return battles(names, names, entries, verdicts)


def multiple_choice(accuracy: Sequence[float], *, questions: int, seed: int, choices: int = 4) -> AnswerTable:
    """Answers to multiple-choice questions, right with the model's accuracy and else a random wrong choice."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, choices, questions)
    texts = []
    for share in accuracy:
        wrong = (gold + rng.integers(1, choices, questions)) % choices
        said = np.where(rng.random(questions) < share, gold, wrong)
        texts.append(tuple("ABCDEFGH"[c] for c in said))
    names = tuple(f"m{i}" for i in range(len(accuracy)))
    return AnswerTable(names, tuple(f"q{i}" for i in range(questions)), tuple(texts))
