"""Which prompts to ask a new model next: policies over the predictions of a neural process.

Each gives every prompt a value; the prompts of the largest values that have not been asked are asked next. The
learned policy is in :mod:`steelyard.evaluation.acquisition.learned_policy`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from steelyard.evaluation.acquisition.score_cells import Indices, Scores

PolicyName: TypeAlias = Literal["random", "cluster", "uncertainty", "information-gain", "ppo"]


def entropy(probabilities: Scores) -> Scores:
    """Entropy of Bernoulli variables, in nats.

    >>> round(float(entropy(np.array([0.5]))[0]), 4)
    0.6931
    """
    p = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return np.asarray(-p * np.log(p) - (1 - p) * np.log(1 - p))


def uncertainty(draws: Scores) -> Scores:
    """Entropy of the predictive distribution; ``draws`` (draws, prompts) are probabilities under draws of z."""
    return entropy(draws.mean(axis=0))


def information_gain(draws: Scores) -> Scores:
    """What a prompt's score is expected to tell of z, and so of all other scores: I(y; z | observed).

    It is H(E[p]) - E[H(p)] over draws of z: prompts that are uncertain only because their answer is a coin toss
    gain nothing.

    >>> information_gain(np.array([[0.5, 0.0], [0.5, 1.0]])).round(4).tolist()
    [0.0, 0.6931]
    """
    gain: Scores = np.maximum(entropy(draws.mean(axis=0)) - entropy(draws).mean(axis=0), 0.0)
    return gain


def cluster_centres(features: NDArray[np.float32], count: int, seed: int) -> Indices:
    """``count`` prompts that stand for as many clusters: the nearest to each centre of k-means, each only once."""
    from scipy.cluster.vq import kmeans2

    centres, _ = kmeans2(features.astype(float), count, minit="++", seed=seed, missing="warn")
    distances = np.square(features[:, None, :].astype(float) - centres[None]).sum(axis=2)
    chosen: list[int] = []
    for centre in range(len(centres)):
        order = np.argsort(np.nan_to_num(distances[:, centre], nan=np.inf), kind="stable")
        chosen.append(next(int(p) for p in order if int(p) not in chosen))
    return np.array(chosen, dtype=np.intp)


def best_unseen(values: Scores, observed: NDArray[np.bool_], count: int) -> Indices:
    """The ``count`` prompts of the largest values among those not observed."""
    return np.argsort(-np.where(observed, -np.inf, values), kind="stable")[: min(count, int((~observed).sum()))]
