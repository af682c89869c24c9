"""Estimating a new model's benchmark score from a few prompts, chosen one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch import Tensor

from steelyard.contracts import Interval
from steelyard.errors import UsageError
from steelyard.evaluation.acquisition.acquisition_policies import (
    PolicyName,
    best_unseen,
    cluster_centres,
    information_gain,
    uncertainty,
)
from steelyard.evaluation.acquisition.learned_policy import PolicySettings, numpy_states, train_policy
from steelyard.evaluation.acquisition.neural_process import (
    NeuralProcess,
    ProcessSettings,
    prompt_features,
    train_process,
)
from steelyard.evaluation.acquisition.score_cells import Indices, Scores
from steelyard.parts import part

MeasurePrompts: TypeAlias = Callable[[Indices], Scores]
"""Prompt numbers -> the new model's scores on them, in order."""

DRAWS = 64
CALIBRATION = 0.2  # share of earlier models kept from training, to calibrate intervals


@dataclass(frozen=True, slots=True)
class Estimate:
    """A benchmark score from a part of its prompts.

    ``score`` is the mean of observed and predicted scores with its predictive interval, ``n`` the prompts asked;
    ``observed`` holds their scores (prompts,), NaN elsewhere, ``predicted`` the predicted ones, ``asked`` the
    order.
    """

    score: Interval
    observed: Scores
    predicted: Scores
    asked: tuple[int, ...]


@dataclass(frozen=True)
class KnownBenchmark:
    """A benchmark of which earlier models' scores are known, with what was learned of it.

    ``logits`` is the learned policy, None where none was trained.
    """

    process: NeuralProcess
    calibration: Scores
    logits: Callable[[Tensor], Tensor] | None = None

    @property
    def prompts(self) -> int:
        """How many prompts it has."""
        return len(self.process.features)


@part(papers=[194], kind="acquisition")
def active_evaluation_acquisition(
    measure: MeasurePrompts,
    earlier: Scores,
    embeddings: NDArray[np.float32] | None = None,
    *,
    policy: PolicyName = "uncertainty",
    budget: Annotated[float, Field(ge=0, le=1)] = 0.1,
    batch: PositiveInt = 1,
    latent: PositiveInt = 4,
    steps: PositiveInt = 200,
    updates: PositiveInt = 30,
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95,
    seed: int = 0,
) -> Estimate:
    """Estimate a new model's score on a known benchmark from a share of its prompts.

    1. A neural process learns from earlier models' scores to predict all scores of a model from some of them
       (:mod:`steelyard.evaluation.acquisition.neural_process`).
    2. A policy picks prompts for the new model, ``batch`` at a time: ``random``; ``cluster`` (prompts near the
    centres
       of k-means, fixed beforehand); ``uncertainty`` (largest predictive entropy); ``information-gain`` (largest
       mutual information with the latent variable); ``ppo``, learned on the earlier models.
    3. The score is the mean of what was observed and of predictions for the rest.

    The interval is predictive: quantiles over draws of the latent variable and of the unseen answers, widened by
    the factor that gives earlier models, kept from training, their nominal coverage. With all prompts asked the
    score is exact and the interval has no width.

    Args:
        measure: gives the new model's scores, between 0 and 1, on the prompts asked for.
        earlier: scores of earlier models (models, prompts), NaN where unknown.
        embeddings: one vector for each prompt (prompts, width), such as a sentence encoder's; optional.
        policy: how prompts are picked.
        budget: share of the prompts that are asked.
        batch: prompts asked at a time.
        latent: size of the latent variable.
        steps: training steps of the neural process.
        updates: policy updates of ``ppo``.
        level: level of the predictive interval.
        seed: seed of every draw.

    Raises:
        UsageError: fewer than five earlier models, shapes that do not fit, or scores outside 0..1.

    Source:
        Active Evaluation Acquisition for Efficient LLM Benchmarking (ICML 2025): the problem, the neural process
        and the policies. Calibrating the interval on models kept from training is this project's own (split
        conformal prediction with a normalised error, Papadopoulos et al. 2008).

    Relations:
        ``bandit-evaluation`` compares many methods of which nothing is known beforehand.

    Example:
        >>> from steelyard.evaluation.acquisition.simulated_scores import item_response_scores
        >>> scores = item_response_scores(41, 200)
        >>> new = scores[-1]
        >>> found = active_evaluation_acquisition(lambda prompts: new[prompts], scores[:-1], budget=0.1, steps=200)
        >>> len(found.asked), abs(found.score.value - new.mean()) < 0.1
        (20, True)
    """
    known = learn_benchmark(earlier, embeddings, ppo=policy == "ppo", sizes=(latent, steps, updates), seed=seed)
    count = round(budget * known.prompts)
    widening = interval_factor(known, policy, count, batch=batch, level=level, seed=seed)
    return estimate(known, measure, policy, count, batch=batch, level=level, widening=widening, seed=seed)


def learn_benchmark(
    earlier: Scores,
    embeddings: NDArray[np.float32] | None = None,
    *,
    ppo: bool = False,
    sizes: tuple[int, int, int] = (4, 200, 30),
    seed: int = 0,
) -> KnownBenchmark:
    """Train what a benchmark's estimates rest on: the neural process and, for ``ppo``, the policy.

    ``sizes`` are those of the latent variable, of the training of the process and of the policy. A fifth of the
    models is kept from training, for calibration.
    """
    _check(earlier, embeddings)
    latent, steps, updates = sizes
    order = np.random.default_rng(seed).permutation(len(earlier))
    kept = order[: max(2, round(CALIBRATION * len(earlier)))]
    trained = order[len(kept) :]
    features = prompt_features(earlier[trained], embeddings)
    process = train_process(features, earlier[trained], ProcessSettings(latent=latent, steps=steps), seed)
    logits = None
    if ppo:
        means = np.nanmean(earlier[trained], axis=0)
        whole = np.where(np.isnan(earlier[trained]), means, earlier[trained])
        logits = train_policy(process, whole, PolicySettings(updates=updates), seed)
    return KnownBenchmark(process, earlier[kept], logits)


def estimate(
    known: KnownBenchmark,
    measure: MeasurePrompts,
    policy: PolicyName,
    count: int,
    *,
    batch: int = 1,
    level: float = 0.95,
    widening: float = 1.0,
    seed: int = 0,
) -> Estimate:
    """Ask ``count`` prompts by the policy and estimate the score; see :func:`active_evaluation_acquisition`."""
    rng = np.random.default_rng(seed)
    observed = np.full(known.prompts, np.nan)
    asked: list[int] = []
    centres = (
        cluster_centres(known.process.features.numpy(), count, seed) if policy == "cluster" and count else None
    )
    while len(asked) < count:
        more = min(batch, count - len(asked))
        seen = ~np.isnan(observed)
        if centres is not None:
            chosen = centres[len(asked) : len(asked) + more]
        else:
            chosen = best_unseen(_values(known, observed, policy, rng, seed + len(asked)), seen, more)
        observed[chosen] = measure(chosen)
        asked.extend(map(int, chosen))
    draws = _draws(known.process, observed, 4 * DRAWS, seed)
    predicted = np.where(np.isnan(observed), draws.mean(axis=0), observed)
    interval = _interval(observed, draws, predicted.mean(), (level, widening), rng)
    return Estimate(interval, observed, predicted, tuple(asked))


def interval_factor(
    known: KnownBenchmark, policy: PolicyName, count: int, *, batch: int = 1, level: float = 0.95, seed: int = 0
) -> float:
    """By how much intervals must be widened so that models kept from training are covered as ``level`` says.

    It is the ceil((m + 1) ``level``)-th smallest ratio of error to half-width over m such models, the largest
    where that is more than m, and never below 1.
    """
    ratios = []
    if count >= known.prompts:
        return 1.0
    for number, row in enumerate(known.calibration):
        truth = np.nanmean(row)
        whole = np.where(np.isnan(row), truth, row)
        reveal = partial(np.take, whole)
        found = estimate(known, reveal, policy, count, batch=batch, level=level, seed=seed + number).score
        half = found.high - found.value if truth > found.value else found.value - found.low
        ratios.append(abs(truth - found.value) / max(half, 1e-9))
    rank = min(len(ratios), int(np.ceil((len(ratios) + 1) * level)))
    return max(1.0, float(np.sort(ratios)[rank - 1]))


def _values(
    known: KnownBenchmark, observed: Scores, policy: PolicyName, rng: np.random.Generator, seed: int
) -> Scores:
    """How much each prompt is worth asking next."""
    if policy == "random":
        return rng.random(known.prompts)
    draws = _draws(known.process, observed, DRAWS, seed)
    if policy == "uncertainty":
        return uncertainty(draws)
    if policy == "information-gain":
        return information_gain(draws)
    if known.logits is None:
        raise UsageError("policy 'ppo' was not trained; learn the benchmark with ppo=True")
    states = numpy_states(known.process, draws, observed, (~np.isnan(observed)).astype(float))
    return np.asarray(known.logits(states)[0].numpy(), dtype=np.float64)


def _draws(process: NeuralProcess, observed: Scores, count: int, seed: int) -> Scores:
    """Probabilities (count, prompts) under draws of the latent variable given what was observed."""
    known = torch.from_numpy(np.nan_to_num(observed)).float()[None]
    mask = torch.from_numpy(~np.isnan(observed)).float()[None]
    generator = torch.Generator().manual_seed(seed)
    return np.asarray(process.probabilities(known, mask, count, generator)[:, 0].numpy(), dtype=np.float64)


def _interval(
    observed: Scores, draws: Scores, value: float, level: tuple[float, float], rng: np.random.Generator
) -> Interval:
    """Quantiles of the score over draws of unseen answers, widened around ``value``, cut to what is possible."""
    missing = np.isnan(observed)
    asked, prompts = int((~missing).sum()), len(observed)
    if asked == prompts:
        return Interval(value, value, value, asked)
    known = np.nansum(observed)
    answers = (rng.random((len(draws), int(missing.sum()))) < draws[:, missing]).sum(axis=1)
    tail = (1 - level[0]) / 2
    low, high = np.quantile((known + answers) / prompts, [tail, 1 - tail])
    low, high = value - level[1] * (value - low), value + level[1] * (high - value)
    possible = known / prompts, (known + missing.sum()) / prompts
    return Interval(
        value, float(max(min(low, value), possible[0])), float(min(max(high, value), possible[1])), asked
    )


def _check(earlier: Scores, embeddings: NDArray[np.float32] | None) -> None:
    name = "part 'active-evaluation-acquisition'"
    if earlier.ndim != 2 or len(earlier) < 5:
        raise UsageError(f"{name}: needs the scores of at least 5 earlier models, not of {len(earlier)}")
    if (~np.isnan(earlier)).sum(axis=1).min() == 0:
        raise UsageError(f"{name}: an earlier model has no score at all; leave it out")
    if np.nanmin(earlier) < 0 or np.nanmax(earlier) > 1:
        raise UsageError(f"{name}: scores must lie between 0 and 1; rescale the metric")
    if embeddings is not None and len(embeddings) != earlier.shape[1]:
        raise UsageError(f"{name}: {len(embeddings)} embeddings for {earlier.shape[1]} prompts")
