"""Thresholds of support: the best one by brute force, and honest figures for it."""

from __future__ import annotations

import numpy as np
import pytest

from passages import Bm25Retriever
from steelyard.contracts import Hit
from steelyard.errors import UsageError
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.grounded import grounded
from steelyard.systems.support_threshold import best_threshold, calibrate, calibrated


def balanced(supports: np.ndarray, answerable: np.ndarray, threshold: float) -> float:
    given = supports >= threshold
    return float(given[answerable].mean() + (~given[~answerable]).mean()) / 2


def test_the_best_threshold_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        answerable = np.arange(30) % 3 == 0
        supports = np.round(random.random(30) + 0.3 * answerable, 1)
        found = balanced(supports, answerable, best_threshold(supports, answerable))
        assert found == pytest.approx(max(balanced(supports, answerable, t) for t in np.linspace(0, 2, 401)))


def test_a_share_to_keep_is_kept() -> None:
    supports, answerable = np.arange(20) / 20, np.arange(20) % 2 == 0
    threshold = best_threshold(supports, answerable, keep=0.9)
    kept = (supports >= threshold)[answerable].mean()
    assert kept >= 0.9
    assert (supports >= threshold + 0.1)[answerable].mean() < 0.9


def test_figures_are_of_questions_that_the_threshold_was_not_chosen_on() -> None:
    random = np.random.default_rng(1)
    answerable = np.arange(60) % 2 == 0
    noise = random.random(60)  # a threshold on noise is right half the time, whatever its own questions say
    found = calibrated(noise, answerable)
    assert found.balanced_accuracy.low < 0.5 < found.balanced_accuracy.high
    clear = calibrated(answerable + 0.1 * noise, answerable)
    assert clear.balanced_accuracy.value == 1.0
    assert 0.9 < clear.balanced_accuracy.low < 1.0
    assert clear.answered.n == clear.refused.n == 30
    assert 0.1 < clear.threshold <= 1.0


def test_a_grounded_model_is_calibrated() -> None:
    hits = [Hit(str(i), 0.0, f"The colour of thing{i} is shade{i}.") for i in range(6)]
    model = ScriptedModel(lambda prompt: next((w for w in prompt.split() if w.startswith("shade")), "none"))
    prompts = [f"What is the colour of thing{i}?" for i in range(6)]
    prompts += [f"What is the height of mountain{i} in the north?" for i in range(6)]
    answerable = [True] * 6 + [False] * 6
    found = calibrate(grounded(model, Bm25Retriever(hits), k=1), prompts, answerable)  # type: ignore[arg-type]
    assert found.answered.value == found.refused.value == 1.0
    assert 0 < found.threshold < 1
    with pytest.raises(UsageError, match="at least 5 questions"):
        calibrate(grounded(model, Bm25Retriever(hits)), prompts[:7], answerable[:7])  # type: ignore[arg-type]
