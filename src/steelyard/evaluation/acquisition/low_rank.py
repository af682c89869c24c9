"""Low-rank prediction of unseen scores: an ensemble of factorizations, and how far its members differ.

    S ~ U V^T,    U (methods, rank), V (examples, rank)

Each member minimises the squared error over the measured cells, without a random few of them, plus a ridge
penalty, by alternating least squares from random factors of its own. The ensemble's mean is the prediction, its
standard deviation the uncertainty.

Source: On Speeding Up Language Model Evaluation, section 3.2 (low-rank factorization and its uncertainty by an
ensemble); defaults are those of the authors' package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.evaluation.acquisition.score_cells import Scores


@dataclass(frozen=True, slots=True)
class LowRank:
    """Settings of an ensemble: ``members`` factorizations of ``rank``, ``ridge`` the weight of the penalty,
    ``drop`` the share of measured cells that a member does not see, ``sweeps`` the rounds of alternating least
    squares.
    """

    rank: int = 1
    members: int = 64
    ridge: float = 0.1
    drop: float = 0.05
    sweeps: int = 10


class Prediction(NamedTuple):
    """Mean and standard deviation over the ensemble, each (methods, examples)."""

    mean: Scores
    deviation: Scores


def predict(seen: Scores, settings: LowRank, rng: np.random.Generator) -> Prediction:
    """Fit the ensemble to the measured cells of ``seen`` (methods, examples), NaN where unseen; predict them all.

    >>> import numpy as np
    >>> truth = np.outer([0.4, 0.8], [1.0, 0.5, 0.9, 0.7])
    >>> seen = truth.copy()
    >>> seen[1, 3] = np.nan
    >>> guess = predict(seen, LowRank(ridge=1e-6, drop=0.0, members=4), np.random.default_rng(0))
    >>> bool(abs(guess.mean[1, 3] - truth[1, 3]) < 1e-3)
    True
    """
    methods, examples = seen.shape
    known = ~np.isnan(seen)
    weights = (known & (rng.random((settings.members, methods, examples)) >= settings.drop)).astype(np.float32)
    targets = weights * np.where(known, seen, 0.0).astype(np.float32)
    left = rng.standard_normal((settings.members, methods, settings.rank)).astype(np.float32)
    right = np.zeros((settings.members, examples, settings.rank), dtype=np.float32)
    for _ in range(settings.sweeps):
        right = least_squares(weights.swapaxes(1, 2), targets.swapaxes(1, 2), left, settings.ridge)
        left = least_squares(weights, targets, right, settings.ridge)
    guesses = left @ right.swapaxes(1, 2)
    return Prediction(guesses.mean(axis=0).astype(float), guesses.std(axis=0, ddof=1).astype(float))


def least_squares(
    weights: NDArray[np.float32], targets: NDArray[np.float32], fixed: NDArray[np.float32], ridge: float
) -> NDArray[np.float32]:
    """The factors (members, rows, rank) that fit each row best, given those of the columns.

    ``weights`` and ``targets`` are (members, rows, columns), the latter already times the weights; ``fixed`` is
    (members, columns, rank). Each row solves (sum_j w_j f_j f_j^T + ridge I) x = sum_j w_j t_j f_j.
    """
    members, columns, rank = fixed.shape
    right = targets @ fixed
    if rank == 1:
        return right / (weights @ np.square(fixed) + np.float32(ridge))
    products = (fixed[:, :, :, None] * fixed[:, :, None, :]).reshape(members, columns, rank * rank)
    normal = (weights @ products).reshape(members, -1, rank, rank) + ridge * np.eye(rank, dtype=np.float32)
    solved: NDArray[np.float32] = np.linalg.solve(normal, right[..., None])[..., 0]
    return solved
