"""Agreement statistics against scikit-learn and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
from statsmodels.stats.inter_rater import fleiss_kappa as reference_fleiss

from steelyard.evaluation.judging.agreement import (
    cohen_kappa,
    fleiss_kappa,
    macro_f1,
    percent_agreement,
    rating_counts,
)

LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40)


@settings(max_examples=10, deadline=None)
@given(LABELS)
def test_two_raters_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    a, b = (list(column) for column in zip(*pairs, strict=True))
    assert percent_agreement(a, b).value == pytest.approx(accuracy_score(a, b))
    labels = sorted({*a, *b})
    assert macro_f1(a, b).value == pytest.approx(f1_score(a, b, average="macro", labels=labels, zero_division=0))
    mine = cohen_kappa(a, b)
    if len(labels) == 1:
        assert math.isnan(mine.value)
    else:
        assert mine.value == pytest.approx(cohen_kappa_score(a, b), abs=1e-9)
        assert mine.low <= mine.value <= mine.high


def test_many_raters_agree_with_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for raters in (2, 3, 5):
        ratings = rng.integers(0, 3, size=(60, raters))
        counts = rating_counts(ratings.tolist())
        assert counts.sum(axis=1).tolist() == [raters] * 60
        assert fleiss_kappa(counts).value == pytest.approx(reference_fleiss(counts))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Two raters right with probability 0.8 each on a fair coin: kappa is 0.36."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(40):
        truth = rng.integers(0, 2, 150)
        a, b = (np.where(rng.random(150) < 0.8, truth, 1 - truth) for _ in range(2))
        found = cohen_kappa(a, b)
        covered += found.low <= 0.36 <= found.high
    assert covered >= 33


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        percent_agreement([1, 2], [1])
    with pytest.raises(ValueError, match="same number of ratings"):
        fleiss_kappa([[2, 1], [1, 1]])
