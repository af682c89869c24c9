"""Active evaluation acquisition: predictions, policies and the policy gradient, on simulated benchmarks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import UsageError
from steelyard.evaluation.acquisition.acquisition_policies import (
    best_unseen,
    cluster_centres,
    information_gain,
    uncertainty,
)
from steelyard.evaluation.acquisition.active_evaluation_acquisition import (
    KnownBenchmark,
    active_evaluation_acquisition,
    estimate,
    interval_factor,
    learn_benchmark,
)
from steelyard.evaluation.acquisition.learned_policy import (
    Episodes,
    PolicySettings,
    PromptPolicy,
    advantages,
    clipped_objective,
    play,
    states_of,
    update,
)
from steelyard.evaluation.acquisition.neural_process import ProcessSettings, prompt_features, train_process
from steelyard.evaluation.acquisition.simulated_scores import item_response_scores

SCORES = item_response_scores(60, 80, seed=0)
EARLIER, NEW = SCORES[:45], SCORES[45:]
pytestmark = pytest.mark.xdist_group("acquisition")  # its models are trained once
POLICIES = ("random", "cluster", "uncertainty", "information-gain", "ppo")


@pytest.fixture(scope="module")
def known() -> KnownBenchmark:
    return learn_benchmark(EARLIER, ppo=True, sizes=(2, 200, 2), seed=0)


def errors(known: KnownBenchmark, policy: str, count: int) -> np.ndarray:
    found = [estimate(known, lambda at, row=row: row[at], policy, count, seed=i) for i, row in enumerate(NEW)]  # type: ignore[misc,arg-type]
    return np.array([abs(e.score.value - row.mean()) for e, row in zip(found, NEW, strict=True)])


@pytest.mark.parametrize("policy", POLICIES)
def test_every_prompt_asked_gives_the_exact_score(known: KnownBenchmark, policy: str) -> None:
    row = NEW[0]
    found = estimate(known, lambda at: row[at], policy, 80, batch=16)  # type: ignore[arg-type]
    assert found.score == (pytest.approx(row.mean()),) * 3 + (80,)
    assert sorted(found.asked) == list(range(80))
    assert found.predicted == pytest.approx(row)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_prompt_is_asked_twice(known: KnownBenchmark, policy: str) -> None:
    asked: list[int] = []

    def measure(at: np.ndarray) -> np.ndarray:
        asked.extend(at.tolist())
        return NEW[1][at]

    found = estimate(known, measure, policy, 11, batch=4)  # type: ignore[arg-type]
    assert len(set(asked)) == 11
    assert tuple(asked) == found.asked
    assert found.score.low <= found.score.value <= found.score.high


def test_predictions_beat_the_mean_of_a_random_subset(known: KnownBenchmark) -> None:
    rng = np.random.default_rng(0)
    plain = [np.mean([abs(r[rng.choice(80, 8, False)].mean() - r.mean()) for _ in range(20)]) for r in NEW]
    assert errors(known, "information-gain", 8).mean() < np.mean(plain)


def test_more_prompts_narrow_the_interval(known: KnownBenchmark) -> None:
    widths = []
    for count in (2, 10, 40):
        scores = [estimate(known, lambda at, r=r: r[at], "information-gain", count).score for r in NEW[:5]]  # type: ignore[misc]
        widths.append(np.mean([s.high - s.low for s in scores]))
    assert widths[0] > widths[1] > widths[2]


def test_calibrated_intervals_cover_the_models_they_were_calibrated_on(known: KnownBenchmark) -> None:
    factor = interval_factor(known, "random", 8)
    covered = 0
    for number, row in enumerate(known.calibration):
        score = estimate(known, lambda at, r=row: r[at], "random", 8, widening=factor, seed=number).score  # type: ignore[misc]
        covered += score.low - 1e-9 <= row.mean() <= score.high + 1e-9
    assert covered == len(known.calibration)


def test_information_gain_is_mutual_information_by_brute_force() -> None:
    """Over the joint distribution of a draw and an answer: sum of p log (p / (p_draw p_answer))."""
    draws = np.random.default_rng(0).random((5, 3))
    for prompt in range(3):
        joint = np.stack([draws[:, prompt], 1 - draws[:, prompt]], axis=1) / 5
        brute = (joint * np.log(joint / (joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)))).sum()
        assert information_gain(draws)[prompt] == pytest.approx(brute)
    assert uncertainty(np.array([[0.0, 0.5], [1.0, 0.5]])) == pytest.approx([np.log(2)] * 2)
    assert best_unseen(np.array([3.0, 1.0, 2.0]), np.array([True, False, False]), 5).tolist() == [2, 1]


def test_centres_are_distinct_and_one_of_each_cluster() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(np.eye(4), 6, axis=0).astype(np.float32) * 10 + rng.normal(0, 0.1, (24, 4)).astype(
        np.float32
    )
    assert sorted(cluster_centres(points, 4, 0) // 6) == [0, 1, 2, 3]
    assert len(set(cluster_centres(points, 20, 0))) == 20


def test_training_lowers_the_bound_and_leaves_the_global_seed_alone() -> None:
    features = prompt_features(EARLIER, None)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    losses = []
    for steps in (1, 150):
        process = train_process(features, EARLIER, ProcessSettings(latent=2, steps=steps), 0)
        values, known = torch.from_numpy(EARLIER).float(), torch.ones(EARLIER.shape)
        with torch.random.fork_rng(devices=[]):
            losses.append(process.bound(values, known, torch.zeros_like(known)).item())
    assert losses[1] < losses[0] - 0.05
    assert torch.rand(1) == expected


def test_unknown_scores_do_not_count() -> None:
    holes = EARLIER.copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.2] = np.nan
    found = active_evaluation_acquisition(lambda at: NEW[0][at], holes, budget=0.2, steps=20, latent=2)
    assert np.isfinite(found.score).all()
    process = train_process(prompt_features(holes, None), holes, ProcessSettings(steps=2), 0)
    values, known = torch.from_numpy(np.nan_to_num(holes)).float(), torch.from_numpy(~np.isnan(holes)).float()
    with torch.random.fork_rng(devices=[]):
        first = process.bound(values, known, known * 0)
    with torch.random.fork_rng(devices=[]):
        second = process.bound(torch.where(known > 0, values, 1 - values), known, known * 0)
    assert first.item() == pytest.approx(second.item(), rel=1e-5)


def test_embeddings_are_part_of_the_features() -> None:
    embeddings = np.random.default_rng(0).standard_normal((80, 32)).astype(np.float32)
    assert prompt_features(EARLIER, embeddings).shape == (80, 1 + 8 + 16)
    assert prompt_features(EARLIER, None).shape == (80, 1 + 8)


def test_advantages_and_the_clipped_objective_by_hand() -> None:
    rewards, values = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [1.0]])
    found = advantages(rewards, values, 0.9, 0.8).flatten().tolist()
    last = 2.0 - 1.0
    assert found == pytest.approx([1.0 + 0.9 * 1.0 - 0.5 + 0.9 * 0.8 * last, last])
    ratios = torch.tensor([1.5, 0.5]).log()
    gained = clipped_objective(ratios, torch.zeros(2), torch.tensor([1.0, -1.0]), 0.2)
    assert float(gained) == pytest.approx((1.2 - 0.8) / 2)


def test_the_policy_learns_what_is_rewarded() -> None:
    """A bandit in the policy's own form: asking a prompt whose first feature is 1 is rewarded."""
    torch.manual_seed(0)
    policy = PromptPolicy(8, 8)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.02)
    states = torch.zeros(1, 32, 6, 8)
    states[..., 2, 0] = 1.0
    generator = torch.Generator().manual_seed(0)

    def share() -> float:
        return float(torch.softmax(policy(states[0])[0], dim=1)[:, 2].mean())

    before = share()
    for _ in range(20):
        with torch.no_grad():
            logits, values = policy(states[0])
        actions = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
        logprobs = torch.log_softmax(logits, dim=1)[torch.arange(32), actions]
        rewards = (actions == 2).float()
        update(
            policy,
            optimizer,
            Episodes(states, actions[None], logprobs[None], values[None], rewards[None]),
            PolicySettings(),
        )
    assert before < 0.3
    assert share() > 0.8


def test_before_training_the_policy_is_uncertainty_sampling(known: KnownBenchmark) -> None:
    scores = torch.from_numpy(EARLIER[:2]).float()
    observed = torch.zeros_like(scores)
    observed[:, :5] = 1.0
    draws = known.process.probabilities(scores, observed, 16, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, _ = PromptPolicy(known.process.features.shape[1] + 8, 8)(
            states_of(known.process, draws, scores, observed)
        )
    for row in range(2):
        values = uncertainty(draws[:, row].numpy().astype(float))
        values[:5] = -np.inf
        assert int(logits[row].argmax()) == int(values.argmax())


def test_episodes_ask_each_prompt_once_and_rewards_add_up(known: KnownBenchmark) -> None:
    """Rewards sum to the fall of the squared error less the final error of the estimate."""
    scores = torch.from_numpy(EARLIER[:3]).float()
    policy = PromptPolicy(known.process.features.shape[1] + 8, 8)
    settings = PolicySettings(horizon=80, draws=4)
    played = play(policy, known.process, scores, settings, torch.Generator().manual_seed(0))
    assert all(sorted(row) == list(range(80)) for row in played.actions.T.tolist())
    first = known.process.probabilities(scores, scores * 0, 4, torch.Generator().manual_seed(0)).mean(dim=0)
    assert played.rewards.sum(dim=0) == pytest.approx(torch.square(first - scores).mean(dim=1), abs=1e-5)
    logits, _ = policy(states_of(known.process, first[None].expand(2, -1, -1), scores, torch.ones_like(scores)))
    assert torch.isinf(logits).all()


def test_wrong_input_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 5"):
        active_evaluation_acquisition(lambda at: np.ones(len(at)), np.ones((3, 10)))
    with pytest.raises(UsageError, match="between 0 and 1"):
        active_evaluation_acquisition(lambda at: np.ones(len(at)), np.full((6, 10), 2.0))
    with pytest.raises(UsageError, match="embeddings"):
        active_evaluation_acquisition(lambda at: np.ones(len(at)), EARLIER, np.ones((3, 2), dtype=np.float32))
