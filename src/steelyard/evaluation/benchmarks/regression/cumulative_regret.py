"""How regret grows with the number of examples seen: square root, logarithm or straight line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SHAPES: Mapping[str, Callable[[Array], Array]] = {
    "sqrt": np.sqrt,
    "log": np.log,
    "linear": lambda steps: steps,
}


class Fit(NamedTuple):
    """a * shape(T) + b, and the share of the curve's variance that it explains."""

    shape: str
    a: float
    b: float
    r2: float


def cumulative_regret(errors: ArrayLike, best_errors: ArrayLike) -> Array:
    """R_T = sum over t <= T of |error_t| - |best_t|, of shape (steps,).

    ``best`` is what the best method in hindsight, fitted to all points, gets wrong on the same ones.

    >>> cumulative_regret([3, -2], [1, 1]).tolist()
    [2.0, 3.0]
    """
    regret: Array = np.cumsum(np.abs(np.asarray(errors, float)) - np.abs(np.asarray(best_errors, float)))
    return regret


def fit_shapes(regret: ArrayLike) -> list[Fit]:
    """Least-squares fits of a * shape(T) + b, T = 1, 2, ..., the best first.

    A curve without variance is explained by none: R^2 is then 0.

    >>> fit_shapes([5.0 + 2.0 * t**0.5 for t in range(1, 50)])[0].shape
    'sqrt'
    """
    curve = np.asarray(regret, dtype=np.float64)
    steps = np.arange(1, len(curve) + 1, dtype=np.float64)
    total = float(((curve - curve.mean()) ** 2).sum())
    fits = []
    for name, shape in SHAPES.items():
        design = np.column_stack([shape(steps), np.ones_like(steps)])
        (a, b), *_ = np.linalg.lstsq(design, curve, rcond=None)
        left = float(((curve - design @ (a, b)) ** 2).sum())
        fits.append(Fit(name, float(a), float(b), 1 - left / total if total > 0 else 0.0))
    return sorted(fits, key=lambda fit: -fit.r2)
