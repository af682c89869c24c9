"""Bradley-Terry against a logistic regression of its own, and Elo against a loop over battles."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from evaluation.ranking.simulated import peer_battles
from steelyard.contracts import Verdict
from steelyard.errors import UsageError
from steelyard.evaluation.ranking.bradley_terry import bradley_terry, strengths
from steelyard.evaluation.ranking.elo import elo, ratings
from steelyard.evaluation.ranking.records import battles, joined, win_tables

FOUGHT = peer_battles([1.0, 0.3, -0.2, -1.1], [0.8, 0.7, 0.75, 0.7], questions=20, seed=3)


def test_strengths_are_those_of_a_logistic_regression() -> None:
    wins = win_tables(FOUGHT).sum(axis=0)
    rows, won, total = [], [], []
    for i in range(4):
        for j in range(i + 1, 4):
            row = np.zeros(4)
            row[i], row[j] = 1.0, -1.0
            rows.append(row[1:])  # the first is the reference
            won.append(wins[i, j])
            total.append(wins[i, j] + wins[j, i])
    outcome = np.stack([won, np.subtract(total, won)], axis=1)
    fit = sm.GLM(outcome, np.stack(rows), family=sm.families.Binomial()).fit()
    expected = np.concatenate([[0.0], fit.params])
    assert strengths(wins) == pytest.approx(expected - expected.mean(), abs=1e-5)


def test_the_planted_order_is_found_with_intervals_around_it() -> None:
    found = bradley_terry(FOUGHT, resamples=40)
    assert found.ranked == ("m0", "m1", "m2", "m3")
    assert all(interval.low <= interval.value <= interval.high for interval in found.intervals)
    assert found.details["stability"]["first"]["m0"] > 0.9
    assert elo(FOUGHT, resamples=40, orders=40).ranked == found.ranked


def test_a_system_that_never_won_is_bounded_by_pseudo_wins_or_refused() -> None:
    table = np.array([[0.0, 5.0], [0.0, 0.0]])
    assert strengths(table, pseudo_wins=0.5)[0] == pytest.approx(np.log(11) / 2)
    with pytest.raises(UsageError, match="won or lost every battle"):
        strengths(table)


def test_elo_is_the_loop_over_battles() -> None:
    order = np.random.default_rng(0).permutation(len(FOUGHT.values))
    expected = [1000.0] * 4
    for n in order:
        i, j = int(FOUGHT.first[n]), int(FOUGHT.second[n])
        chance = 1 / (1 + 10 ** ((expected[j] - expected[i]) / 400))
        step = 16.0 * (FOUGHT.values[n] - chance)
        expected[i], expected[j] = expected[i] + step, expected[j] - step
    assert ratings(FOUGHT, order[None], np.ones(4), k=16.0)[0] == pytest.approx(expected)


def test_unreadable_verdicts_are_left_out() -> None:
    verdicts = [Verdict(1.0), Verdict(None), Verdict(0.5)]
    fought = battles(("a", "b"), ("j",), [(0, 0, 0, 1), (1, 0, 0, 1), (2, 0, 1, 0)], verdicts)
    assert win_tables(fought).sum(axis=0).tolist() == [[0.0, 1.5], [0.5, 0.0]]
    blind = battles(("a", "b"), ("j",), [(0, 0, 0, 1)], [Verdict(None)])
    for part in (bradley_terry, elo):
        with pytest.raises(UsageError, match="none of the verdicts"):
            part(blind)


def test_reviewers_are_joined_under_their_own_numbers() -> None:
    one = battles(("a", "b"), ("x",), [(0, 0, 0, 1)], [Verdict(1.0)])
    two = battles(("a", "b"), ("y",), [(0, 0, 0, 1)], [Verdict(0.0)])
    both = joined([one, two])
    assert both.reviewers == ("x", "y")
    assert both.reviewer.tolist() == [0, 1]
