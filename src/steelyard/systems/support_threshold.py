"""The least support at which an answer is given, found on questions that the documents answer and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval, Prompt, Sampling
from steelyard.errors import UsageError
from steelyard.systems.grounded import GroundedModel

FOLDS = 5
DRAWS = 10_000


class Calibration(NamedTuple):
    """A threshold and what it does to questions that it was not chosen on (by cross-fitting).

    Attributes:
        threshold: an answer is given where its support is at least so much.
        balanced_accuracy: the mean of the two shares below.
        answered: of the questions that the documents answer, the share that gets an answer.
        refused: of the others, the share that gets none.
    """

    threshold: float
    balanced_accuracy: Interval
    answered: Interval
    refused: Interval


def calibrate(
    model: GroundedModel,
    prompts: Sequence[Prompt],
    answerable: Sequence[bool],
    *,
    sampling: Sampling = Sampling(max_tokens=32),
    keep: float | None = None,
    seed: int = 0,
) -> Calibration:
    """Find the ``threshold`` of a grounded model on held-out questions.

    Args:
        model: what :func:`~steelyard.systems.grounded.grounded` made; its own threshold is not read.
        prompts: questions, some of which its documents do not answer.
        answerable: for each, whether they do.
        sampling: how to answer.
        keep: answer at least this share of the answerable questions, and refuse as many others as that allows;
            by default the balanced accuracy is what is largest.
        seed: of folds and draws.

    Raises:
        UsageError: Fewer than five questions of either kind.
    """
    measuring = GroundedModel(
        model.model, model.retriever, model.reranker, model.settings._replace(threshold=float("inf"))
    )
    supports = np.array([answer.support or 0.0 for answer in measuring.answers(prompts, sampling)])
    return calibrated(supports, np.asarray(answerable, dtype=bool), keep=keep, seed=seed)


def calibrated(
    supports: NDArray[np.float64], answerable: NDArray[np.bool_], *, keep: float | None = None, seed: int = 0
) -> Calibration:
    """The threshold for measured supports, both of shape (n,).

    The threshold is chosen on all questions. What is said of it comes from cross-fitting: each fifth of either
    kind is decided by the threshold that the other four give. Intervals hold 95% of the posterior under Jeffreys'
    prior, Beta(right + 1/2, wrong + 1/2) for either share.
    """
    kinds = [np.flatnonzero(answerable), np.flatnonzero(~answerable)]
    if min(map(len, kinds)) < FOLDS:
        raise UsageError(
            f"a threshold needs at least {FOLDS} questions that the documents answer and as many others; "
            f"there are {len(kinds[0])} and {len(kinds[1])}"
        )
    random = np.random.default_rng(seed)
    fold = np.empty(len(supports), dtype=np.int64)
    for places in kinds:
        fold[random.permutation(places)] = np.arange(len(places)) % FOLDS
    given = np.empty(len(supports), dtype=bool)
    for number in range(FOLDS):
        held = fold == number
        given[held] = supports[held] >= best_threshold(supports[~held], answerable[~held], keep)
    right = given == answerable
    answered, refused = (_posterior(right[places], random) for places in kinds)
    shares = [float(right[places].mean()) for places in kinds]
    return Calibration(
        best_threshold(supports, answerable, keep),
        _interval(sum(shares) / 2, (answered + refused) / 2, len(supports)),
        _interval(shares[0], answered, len(kinds[0])),
        _interval(shares[1], refused, len(kinds[1])),
    )


def best_threshold(
    supports: NDArray[np.float64], answerable: NDArray[np.bool_], keep: float | None = None
) -> float:
    """The threshold of the largest balanced accuracy, or the largest that keeps a share of the answerable.

    Thresholds lie in the middle between two supports; of equally good ones the lowest counts.

    >>> float(best_threshold(np.array([0.1, 0.3, 0.6, 0.9]), np.array([False, False, True, True])))
    0.45
    """
    values = np.unique(supports)
    tried = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2])
    given = supports[None, :] >= tried[:, None]
    answered = given[:, answerable].mean(axis=1)
    if keep is not None:
        return float(tried[answered >= keep].max(initial=0.0))
    refused = 1.0 - given[:, ~answerable].mean(axis=1)
    return float(tried[int(np.argmax(np.round(answered + refused, 12)))])


def _posterior(right: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.float64]:
    """Draws of the share that is right, shape (DRAWS,)."""
    count = int(right.sum())
    return random.beta(count + 0.5, len(right) - count + 0.5, DRAWS)


def _interval(value: float, draws: NDArray[np.float64], n: int) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)), n)
