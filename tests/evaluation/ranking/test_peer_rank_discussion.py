"""Peer rank: the fixed point, what its weights follow, and the biases it reports."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from evaluation.judging.scripted_judges import always
from evaluation.ranking.simulated import peer_battles
from steelyard.contracts import Answers
from steelyard.errors import UsageError
from steelyard.evaluation.judging.pairwise_judge import pairwise_judge
from steelyard.evaluation.ranking.peer_rank_discussion import normalised, peer_rank, peer_rank_discussion
from steelyard.evaluation.ranking.pico_peer_review import uniform_scores
from steelyard.evaluation.ranking.records import battles, review_tables

SKILL, ACCURACY = np.linspace(1.5, -1.5, 7), np.linspace(0.95, 0.35, 7)


def test_with_sums_the_weights_are_the_leading_eigenvector() -> None:
    fought = peer_battles(SKILL, ACCURACY, questions=10, seed=0)
    wins, counts = (t.sum(axis=0) for t in review_tables(fought))
    found = peer_rank(wins, counts, normalise="sum", rounds=1000)
    values, vectors = np.linalg.eig(wins / counts.sum(axis=1, keepdims=True))
    leading = np.real(vectors[:, np.argmax(np.real(values))])
    assert found.converged
    assert found.weights == pytest.approx(leading / leading.sum(), abs=1e-7)


def test_weights_follow_skill_and_beat_uniform_weights_on_average() -> None:
    weighted, uniform = [], []
    for seed in range(15):
        fought = peer_battles(SKILL, ACCURACY, questions=5, seed=seed, self_bias=0.5)
        wins, counts = (t.sum(axis=0) for t in review_tables(fought))
        found = peer_rank(wins, counts)
        weighted.append(kendalltau(found.scores, SKILL).statistic)
        uniform.append(kendalltau(uniform_scores(wins, counts), SKILL).statistic)
    assert np.mean(weighted) > np.mean(uniform)
    assert kendalltau(found.weights, SKILL).statistic > 0.5


def test_self_enhancement_is_found_where_it_is_and_not_where_it_is_not() -> None:
    biased = peer_rank_discussion(peer_battles(SKILL, [0.7] * 7, questions=25, seed=1, self_bias=0.8), resamples=2)
    fair = peer_rank_discussion(peer_battles(SKILL, [0.7] * 7, questions=25, seed=1), resamples=2)
    worst = biased.details["reviewers"]["m6"]["self_enhancement"]
    assert worst["low"] > 0.2
    found = [fair.details["reviewers"][f"m{i}"]["self_enhancement"] for i in range(7)]
    assert sum(one["low"] <= 0 <= one["high"] for one in found) >= 5
    assert fair.details["reviewers"]["m0"]["first_shown"]["value"] == 0.5  # both orders always agree here


def test_a_first_place_judge_gives_only_ties_after_swapping() -> None:
    verdicts = pairwise_judge(always("A")).compare([Answers("q", "one", "two"), Answers("r", "one", "two")])
    fought = battles(("a", "b"), ("a", "b"), [(0, 0, 0, 1), (1, 1, 0, 1)], verdicts)
    assert fought.values.tolist() == [0.5, 0.5]
    found = peer_rank_discussion(fought, resamples=2)
    assert found.scores == pytest.approx((0.5, 0.5))
    assert found.details["reviewers"]["a"]["first_shown"]["value"] == 1.0


def test_elo_weights_settle_on_the_same_order() -> None:
    fought = peer_battles(SKILL[:4], ACCURACY[:4], questions=20, seed=4)
    by_elo = peer_rank_discussion(fought, score="elo", rounds=30)
    assert by_elo.ranked == peer_rank_discussion(fought, resamples=2).ranked
    assert by_elo.details["converged"]


def test_equal_scores_give_equal_weights_and_others_are_refused() -> None:
    assert normalised(np.array([0.4, 0.4]), "min-max").tolist() == [0.5, 0.5]
    assert normalised(np.array([0.0, 0.0]), "sum").tolist() == [0.5, 0.5]
    with pytest.raises(UsageError, match="review each other"):
        peer_rank_discussion(battles(("a", "b"), ("judge",), [], []))
