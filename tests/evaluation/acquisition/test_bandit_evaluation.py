"""Bandits over score matrices: exact steps on small tables, and the exact best with a full budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard import parts
from steelyard.errors import UsageError
from steelyard.evaluation.acquisition.bandit_evaluation import bandit_evaluation
from steelyard.evaluation.acquisition.fixed_allocation import (
    longest_best,
    successive_halving,
    uniform_allocation,
)
from steelyard.evaluation.acquisition.low_rank import LowRank, least_squares, predict
from steelyard.evaluation.acquisition.score_cells import fill, observed_means, replay, unseen
from steelyard.evaluation.acquisition.simulated_scores import item_response_scores
from steelyard.evaluation.acquisition.upper_confidence import ucb_e, ucb_e_lrf

NAN = np.nan


def test_ucb_e_pulls_the_largest_bound() -> None:
    """Means 1/2, 3/4 and 0 with 2, 4 and 1 seen: bounds 0.5 + 0.707, 0.75 + 0.5 and 0 + 1."""
    seen = np.array([[1, 0, NAN, NAN, NAN], [1, 1, 1, 0, NAN], [0, NAN, NAN, NAN, NAN]])
    step = ucb_e(seen, 2, np.random.default_rng(0), bonus=1.0)
    assert step.means.tolist() == [0.5, 0.75, 0.0]
    assert set(step.methods) == {1}
    assert step.examples.tolist() == [4]
    assert set(ucb_e(seen, 2, np.random.default_rng(0), bonus=4.0).methods) == {2}  # 0 + 2 is the largest


def test_ucb_e_takes_unseen_methods_first_and_none_that_are_done() -> None:
    seen = np.array([[1.0, 1.0], [0.0, NAN], [NAN, NAN]])
    assert set(ucb_e(seen, 1, np.random.default_rng(0)).methods) == {2}
    seen[2] = [0.0, 0.0]
    assert set(ucb_e(seen, 1, np.random.default_rng(0)).methods) == {1}
    seen[1] = 0.0
    assert len(ucb_e(seen, 1, np.random.default_rng(0)).methods) == 0


def test_paired_examples_follow_the_order() -> None:
    seen = np.array([[NAN, 1.0, NAN, NAN]])
    step = ucb_e(seen, 2, np.random.default_rng(0), order=np.array([3, 1, 0, 2]))
    assert step.examples.tolist() == [3, 0]


def test_one_step_of_least_squares_is_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    fixed, targets = rng.standard_normal((1, 6, 2)), rng.random((1, 3, 6))
    weights = (rng.random((1, 3, 6)) < 0.7) * 1.0
    found = least_squares(*(a.astype(np.float32) for a in (weights, weights * targets, fixed)), 0.3)
    for row in range(3):
        design = fixed[0] * weights[0, row][:, None]
        expected = np.linalg.solve(design.T @ design + 0.3 * np.eye(2), design.T @ (weights * targets)[0, row])
        assert found[0, row] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_matrix_of_low_rank_is_completed(rank: int) -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((12, rank)) @ rng.random((rank, 40)) / rank
    seen = np.where(rng.random(truth.shape) < 0.6, truth, NAN)
    guess = predict(seen, LowRank(rank=rank, members=8, ridge=1e-4, sweeps=60), rng)
    hidden = np.isnan(seen)
    column_means = np.nanmean(seen, axis=0) * np.ones_like(truth)
    assert np.abs(guess.mean - truth)[hidden].mean() < 0.3 * np.abs(column_means - truth)[hidden].mean()
    assert guess.deviation[hidden].mean() > guess.deviation[~hidden].mean()


def test_the_low_rank_step_asks_where_the_ensemble_is_least_sure() -> None:
    rng = np.random.default_rng(0)
    seen = np.where(rng.random((6, 30)) < 0.5, np.outer(rng.random(6), rng.random(30)), NAN)
    settings_ = LowRank(members=8)
    step = ucb_e_lrf(seen, 3, np.random.default_rng(5), warm_up=0.0, low_rank=settings_)
    guess = predict(seen, settings_, np.random.default_rng(5))
    method = step.methods[0]
    unsure = np.where(np.isnan(seen[method]), guess.deviation[method], -1.0)
    assert set(step.examples) == set(np.argsort(-unsure)[:3])
    assert step.means == pytest.approx(np.where(np.isnan(seen), guess.mean, seen).mean(axis=1))


def test_the_warm_up_is_random_over_all_methods() -> None:
    step = ucb_e_lrf(unseen((5, 50)), 40, np.random.default_rng(0), warm_up=0.2)
    assert len(set(step.methods)) == 5
    assert len(set(zip(step.methods, step.examples, strict=True))) == 40


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), policy=st.sampled_from(["ucb-e", "ucb-e-lrf"]), paired=st.booleans())
def test_a_full_budget_names_the_exact_best(seed: int, policy: str, paired: bool) -> None:
    scores = np.random.default_rng(seed).random((4, 12))
    found = bandit_evaluation(
        replay(scores), scores.shape, policy=policy, budget=1.0, batch=5, members=2, paired=paired, seed=seed
    )
    assert found.best == scores.mean(axis=1).argmax()
    assert np.array_equal(found.seen, scores)
    assert found.means == pytest.approx(scores.mean(axis=1))


@pytest.mark.parametrize("policy", ["ucb-e", "ucb-e-lrf"])
def test_no_cell_is_asked_twice_and_the_budget_is_kept(policy: str) -> None:
    scores = item_response_scores(8, 60, seed=3)
    asked: list[tuple[int, int]] = []

    def measure(methods: np.ndarray, examples: np.ndarray) -> np.ndarray:
        asked.extend(zip(methods.tolist(), examples.tolist(), strict=True))
        return scores[methods, examples]

    found = bandit_evaluation(measure, scores.shape, policy=policy, budget=0.31, batch=7, members=4)
    assert len(asked) == len(set(asked)) == found.cells == round(0.31 * 480)
    again = bandit_evaluation(replay(scores), scores.shape, policy=policy, budget=0.31, batch=7, members=4)
    assert again.best == found.best
    assert np.array_equal(again.seen, found.seen, equal_nan=True)


def test_more_of_the_good_than_of_the_bad_is_measured() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((10, 400)) < np.r_[0.8, [0.3] * 9][:, None]) * 1.0
    found = bandit_evaluation(replay(scores), scores.shape, budget=0.2, batch=8)
    counts = (~np.isnan(found.seen)).sum(axis=1)
    assert found.best == 0
    assert counts[0] > 3 * counts[1:].max()


def test_uniform_allocation_is_paired_and_halving_ends_with_few() -> None:
    scores = item_response_scores(8, 200, seed=0)
    even = uniform_allocation(replay(scores), scores.shape, 400, seed=1)
    known = ~np.isnan(even)
    assert (known == known[0]).all()
    assert known[0].sum() == 50
    halved = successive_halving(replay(scores), scores.shape, 480, seed=1)
    counts = np.sort((~np.isnan(halved)).sum(axis=1))
    assert counts.tolist() == [20, 20, 20, 20, 60, 60, 140, 140]  # 480 / 3 rounds over 8, 4 and 2 methods
    assert counts[-1] == (~np.isnan(halved[longest_best(halved)])).sum()


def test_bad_scores_and_empty_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        fill(unseen((1, 2)), np.array([0]), np.array([0]), lambda methods, examples: np.array([1.5]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        fill(unseen((1, 2)), np.array([0]), np.array([0]), lambda methods, examples: np.array([np.nan]))
    with pytest.raises(UsageError, match="is empty"):
        bandit_evaluation(replay(np.ones((0, 3))), (0, 3))
    with pytest.raises(UsageError, match="did you mean 'budget'"):
        parts.validate("bandit-evaluation", {"budgt": 0.2})
    with pytest.raises(UsageError, match="less than or equal to 1"):
        parts.validate("bandit-evaluation", {"budget": 2})
    assert observed_means(unseen((2, 2))).tolist() == [-np.inf, -np.inf]
