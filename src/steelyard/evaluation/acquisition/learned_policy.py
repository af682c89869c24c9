"""A policy that learns which prompts to ask, by proximal policy optimization on earlier models.

An episode is one earlier model whose scores are revealed prompt by prompt. The state is what the neural process
makes of the scores revealed so far; an action is a prompt not yet asked; the reward of a step is by how much it
lowers the error of the predictions, and at the end the error of the estimated benchmark score is paid:

    r_t = L(s_t) - L(s_t+1),    L = mean squared error of all predicted scores
    r_T also loses |estimate - true score|

One small network, shared by all prompts, gives each prompt its logit, so the policy does not depend on how many
prompts there are; it starts as uncertainty sampling. Prompts already asked are masked.

Source: Active Evaluation Acquisition for Efficient LLM Benchmarking, its section on the policy learned by
reinforcement learning; Schulman et al., "Proximal Policy Optimization Algorithms", equation 7 (clipped objective),
and "High-Dimensional Continuous Control Using Generalized Advantage Estimation" for advantages. It is
written out here because the network over a set of prompts, with asked ones masked, is most of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from steelyard.evaluation.acquisition.neural_process import NeuralProcess
from steelyard.evaluation.acquisition.score_cells import Scores


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """``updates`` of the policy, each from ``episodes`` episodes of ``horizon`` steps, replayed ``epochs`` times;
    ``draws`` of z behind each state; ``clip`` bounds the change of a probability ratio.
    """

    updates: int = 30
    episodes: int = 24
    horizon: int = 12
    epochs: int = 4
    draws: int = 12
    hidden: int = 32
    rate: float = 2e-3
    clip: float = 0.2
    discount: float = 1.0
    trace: float = 0.95
    entropy: float = 1e-3


UNCERTAINTY = -6  # the column of :func:`states_of` that holds the predictive entropy
TRUST = 10.0


class PromptPolicy(nn.Module):
    """Logit of each prompt, and the value of a state, from what is known of each prompt.

    The logit is a network's output, zero at first, plus a learned multiple of the predictive entropy: training
    starts from uncertainty sampling and looks for something better.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.prompts = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.logit = nn.Linear(hidden, 1)
        nn.init.zeros_(self.logit.weight)
        self.trust = nn.Parameter(torch.tensor(TRUST))
        self.value = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """``states`` (rows, prompts, width) -> logits (rows, prompts) with asked ones at -inf, values (rows,)."""
        hidden = self.prompts(states)
        logits = self.logit(hidden)[..., 0] + self.trust * states[..., UNCERTAINTY]
        logits = logits.masked_fill(states[..., -1] > 0, -torch.inf)
        return logits, self.value(hidden.mean(dim=1))[:, 0]


def states_of(process: NeuralProcess, draws: Tensor, scores: Tensor, observed: Tensor) -> Tensor:
    """What the policy sees of each prompt, (rows, prompts, width).

    Its features, predicted probability and how that varies over draws of z, its predictive entropy and information
    gain, its covariance over draws with the benchmark's score, its own score where asked, and last whether it was.
    """
    mean, deviation = draws.mean(dim=0), draws.std(dim=0)
    total = draws.mean(dim=2, keepdim=True)
    covariance = ((draws - mean) * (total - total.mean(dim=0))).mean(dim=0)
    covariance = covariance / (total.std(dim=0) + 1e-6)
    certain = _entropy(draws).mean(dim=0)
    own = torch.where(observed > 0, scores, torch.zeros_like(scores))
    share = observed.mean(dim=1, keepdim=True).expand_as(own)
    columns = [
        mean,
        4 * deviation,
        _entropy(mean),
        8 * (_entropy(mean) - certain),
        4 * covariance,
        own,
        share,
        observed,
    ]
    return torch.cat([process.features.expand(len(scores), -1, -1), torch.stack(columns, dim=-1)], dim=-1)


class Episodes(NamedTuple):
    """What was played, time first: states, actions, their log-probabilities, values and rewards."""

    states: Tensor
    actions: Tensor
    logprobs: Tensor
    values: Tensor
    rewards: Tensor


def play(
    policy: PromptPolicy,
    process: NeuralProcess,
    scores: Tensor,
    settings: PolicySettings,
    generator: torch.Generator,
) -> Episodes:
    """Play one episode with each row of ``scores`` (rows, prompts), drawing actions from the policy."""
    rows = torch.arange(len(scores))
    observed = torch.zeros_like(scores)
    draws = process.probabilities(scores, observed, settings.draws, generator)
    losses, played = _loss(draws, scores, observed), []
    for _ in range(settings.horizon):
        states = states_of(process, draws, scores, observed)
        with torch.no_grad():
            logits, values = policy(states)
        actions = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
        logprobs = torch.log_softmax(logits, dim=1)[rows, actions]
        observed = observed.clone()
        observed[rows, actions] = 1.0
        draws = process.probabilities(scores, observed, settings.draws, generator)
        after = _loss(draws, scores, observed)
        played.append((states, actions, logprobs, values, losses - after))
        losses = after
    final = torch.where(observed > 0, scores, draws.mean(dim=0)).mean(dim=1)
    stacked = [torch.stack(column) for column in zip(*played, strict=True)]
    stacked[4][-1] -= (final - scores.mean(dim=1)).abs()
    return Episodes(*stacked)


def advantages(rewards: Tensor, values: Tensor, discount: float, trace: float) -> Tensor:
    """Generalized advantage estimates, time first: A_t = d_t + discount trace A_t+1, d_t the temporal difference.

    >>> advantages(torch.tensor([[1.0], [1.0]]), torch.zeros(2, 1), 1.0, 1.0).flatten().tolist()
    [2.0, 1.0]
    """
    found, after, value_after = (
        torch.zeros_like(rewards),
        torch.zeros_like(rewards[0]),
        torch.zeros_like(values[0]),
    )
    for time in reversed(range(len(rewards))):
        difference = rewards[time] + discount * value_after - values[time]
        after = difference + discount * trace * after
        found[time], value_after = after, values[time]
    return found


def clipped_objective(logprobs: Tensor, before: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's surrogate, to be maximised: E min(r A, clip(r, 1 - e, 1 + e) A), r the ratio of probabilities."""
    ratio = (logprobs - before).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def train_policy(
    process: NeuralProcess, scores: Scores, settings: PolicySettings, seed: int
) -> Callable[[Tensor], Tensor]:
    """Train on earlier models' ``scores`` (models, prompts), without NaN; returns states -> logits."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.from_numpy(scores).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = PromptPolicy(process.features.shape[1] + 8, settings.hidden)
        optimizer = torch.optim.Adam(policy.parameters(), lr=settings.rate)
        for _ in range(settings.updates):
            rows = torch.randint(len(values), (settings.episodes,), generator=generator)
            update(policy, optimizer, play(policy, process, values[rows], settings, generator), settings)

    def logits(states: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = policy(states)[0]
        return found

    return logits


def update(
    policy: PromptPolicy, optimizer: torch.optim.Optimizer, played: Episodes, settings: PolicySettings
) -> None:
    """Replay episodes ``settings.epochs`` times: clipped objective, squared error of values, a little entropy."""
    gains = advantages(played.rewards, played.values, settings.discount, settings.trace)
    returns = (gains + played.values).flatten()
    gains = ((gains - gains.mean()) / (gains.std() + 1e-8)).flatten()
    scale = returns.std() + 1e-6
    states, actions, before = played.states.flatten(0, 1), played.actions.flatten(), played.logprobs.flatten()
    for _ in range(settings.epochs):
        logits, values = policy(states)
        distribution = torch.log_softmax(logits, dim=1)
        logprobs = distribution.gather(1, actions[:, None])[:, 0]
        spread = -(distribution.exp() * distribution.masked_fill(torch.isinf(distribution), 0)).sum(dim=1).mean()
        error = torch.square((values - returns) / scale).mean()
        loss = -clipped_objective(logprobs, before, gains, settings.clip) + 0.5 * error - settings.entropy * spread
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimizer.step()


def _loss(draws: Tensor, scores: Tensor, observed: Tensor) -> Tensor:
    predicted = torch.where(observed > 0, scores, draws.mean(dim=0))
    return torch.square(predicted - scores).mean(dim=1)


def _entropy(p: Tensor) -> Tensor:
    p = p.clamp(1e-6, 1 - 1e-6)
    return -p * p.log() - (1 - p) * (1 - p).log()


def numpy_states(process: NeuralProcess, draws: Scores, scores: Scores, observed: Scores) -> Tensor:
    """:func:`states_of` for one model given as arrays: draws (draws, prompts), scores and observed (prompts,)."""
    known = torch.from_numpy(np.nan_to_num(scores)).float()[None]
    return states_of(
        process, torch.from_numpy(draws).float()[:, None], known, torch.from_numpy(observed).float()[None]
    )
