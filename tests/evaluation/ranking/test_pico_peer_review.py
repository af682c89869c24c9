"""Learned reviewer weights: fewer inversions than unweighted votes, an objective that rises, reviewers dropped."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.ranking.simulated import peer_battles
from steelyard.errors import UsageError
from steelyard.evaluation.ranking.pico_peer_review import consistency, pico_peer_review, reviewed, uniform_scores
from steelyard.evaluation.ranking.rank_agreement import count_inversions
from steelyard.evaluation.ranking.records import Array, battles, review_tables

ABILITY, ACCURACY = np.linspace(1.5, -1.5, 7), np.linspace(0.9, 0.3, 7)


def inversions(scores: Array) -> int:
    """The planted order is 0, 1, 2 ..."""
    return count_inversions(np.argsort(-scores, kind="stable").tolist())


def test_fewer_inversions_than_unweighted_voting() -> None:
    learned, unweighted = [], []
    for seed in range(12):
        wins, counts = (
            t.sum(axis=0) for t in review_tables(peer_battles(ABILITY, ACCURACY, questions=5, seed=seed))
        )
        learned.append(inversions(reviewed(wins, counts, starts=2, seed=seed).scores))
        unweighted.append(inversions(uniform_scores(wins, counts)))
    assert np.mean(learned) < np.mean(unweighted)


def test_the_objective_rises_and_weights_follow_accuracy() -> None:
    wins, counts = (t.sum(axis=0) for t in review_tables(peer_battles(ABILITY, ACCURACY, questions=20, seed=1)))
    found = reviewed(wins, counts, eliminate=0.0)
    assert found.objective[-1] > found.objective[0]
    assert all(b >= a for a, b in zip(found.objective, found.objective[1:], strict=False))
    assert np.corrcoef(found.weights, ACCURACY)[0, 1] > 0.5


def test_the_weakest_reviewers_go_and_are_still_ranked() -> None:
    found = pico_peer_review(peer_battles(ABILITY, ACCURACY, questions=12, seed=2), resamples=2)
    assert len(found.details["eliminated"]) == 4  # 60 % of 7, rounded down
    assert set(found.ranked) == set(found.names)
    assert all(found.details["weights"][name] == 0.0 for name in found.details["eliminated"])
    assert np.mean([int(name[1:]) for name in found.details["eliminated"]]) > 3  # the less accurate ones
    few = pico_peer_review(
        peer_battles(ABILITY[:3], ACCURACY[:3], questions=8, seed=2), eliminate=0.9, resamples=1
    )
    assert few.details["eliminated"] == []


def test_the_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    table, theta = rng.random((5, 5)), rng.normal(size=5)
    _, gradient = consistency(table, theta)
    for i in range(5):
        step = np.eye(5)[i] * 1e-6
        numeric = (consistency(table, theta + step)[0] - consistency(table, theta - step)[0]) / 2e-6
        assert gradient[i] == pytest.approx(numeric, abs=1e-6)


def test_own_reviews_can_be_left_out() -> None:
    fought = peer_battles(ABILITY[:4], [0.5] * 4, questions=6, seed=0, self_bias=1.0)
    with_own, counts = (t.sum(axis=0) for t in review_tables(fought))
    without, others = (t.sum(axis=0) for t in review_tables(fought, own=False))
    assert np.diag(with_own).tolist() == np.diag(counts).tolist()  # everyone prefers itself
    assert np.diag(others).tolist() == [0.0] * 4
    assert without.sum() < with_own.sum()


def test_other_judges_are_refused() -> None:
    fought = battles(("a", "b", "c"), ("judge",), [], [])
    with pytest.raises(UsageError, match="review each other"):
        pico_peer_review(fought)
