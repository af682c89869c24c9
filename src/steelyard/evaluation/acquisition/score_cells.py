"""Cells of a score matrix: how they are asked for, kept and replayed.

A score matrix has a row for each method (a model, a prompt, a system) and a column for each example; a score
lies between 0 and 1, and NaN marks a cell that has not been measured. Algorithms ask for cells through a
callback, so the same code runs on a matrix that was measured before and on live models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Scores: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
MeasureCells: TypeAlias = Callable[[Indices, Indices], Scores]
"""(methods, examples), two equally long arrays -> the scores of these cells, in order."""


def replay(matrix: Scores) -> MeasureCells:
    """A callback that reads a matrix measured before, shape (methods, examples).

    >>> import numpy as np
    >>> replay(np.array([[0.0, 1.0]]))(np.array([0]), np.array([1]))
    array([1.])
    """
    return lambda methods, examples: matrix[methods, examples]


def unseen(shape: tuple[int, int]) -> Scores:
    """A matrix of (methods, examples) in which nothing has been measured."""
    return np.full(shape, np.nan)


def fill(seen: Scores, methods: Indices, examples: Indices, measure: MeasureCells) -> None:
    """Measure these cells and write them into ``seen``, in place.

    Raises :class:`ValueError` where a score is not finite or not between 0 and 1, since bounds on the mean of a
    method rest on that range.
    """
    scores = np.asarray(measure(methods, examples), dtype=np.float64)
    if scores.shape != methods.shape:
        raise ValueError(f"measuring {len(methods)} cells gave scores of shape {scores.shape}")
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise ValueError("scores must be finite and lie between 0 and 1; rescale the metric")
    seen[methods, examples] = scores


def observed_means(seen: Scores) -> Scores:
    """Mean of each method's measured scores, -inf where nothing was measured.

    >>> import numpy as np
    >>> observed_means(np.array([[1.0, 0.0, np.nan], [np.nan, np.nan, np.nan]])).tolist()
    [0.5, -inf]
    """
    known = ~np.isnan(seen)
    counts = known.sum(axis=1)
    sums = np.where(known, seen, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)


def random_cells(seen: Scores, count: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Up to ``count`` cells not measured yet, drawn uniformly over the whole matrix."""
    methods, examples = np.nonzero(np.isnan(seen))
    picked = rng.choice(len(methods), size=min(count, len(methods)), replace=False)
    return methods[picked], examples[picked]
