"""What predictions of a language model are compared with: baselines and scikit-learn's regressors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UsageError

Array = NDArray[np.float64]
Regressor = Callable[[Array, Array, Array, int], Array]
"""(inputs, outputs, queries, seed) -> predictions."""


def mean(inputs: Array, outputs: Array, queries: Array, seed: int) -> Array:
    """The mean of the outputs seen."""
    return np.full(len(queries), outputs.mean())


def last(inputs: Array, outputs: Array, queries: Array, seed: int) -> Array:
    """The output seen last."""
    return np.full(len(queries), outputs[-1])


def random_output(inputs: Array, outputs: Array, queries: Array, seed: int) -> Array:
    """Any of the outputs seen."""
    drawn: Array = np.random.default_rng(seed).choice(outputs, size=len(queries))
    return drawn


def _fitted(make: Callable[[int, int], Any]) -> Regressor:
    def regressor(inputs: Array, outputs: Array, queries: Array, seed: int) -> Array:
        predicted: Array = np.asarray(make(len(outputs), seed).fit(inputs, outputs).predict(queries), dtype=float)
        return predicted

    return regressor


def regressors() -> Mapping[str, Regressor]:
    """Every regressor by name.

    Raises:
        UsageError: scikit-learn is missing.
    """
    try:
        from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
        from sklearn.linear_model import LinearRegression, Ridge
        from sklearn.neighbors import KNeighborsRegressor
    except ImportError:
        raise UsageError(
            "comparing with other regressors needs scikit-learn: pip install 'steelyard[evaluation]'"
        ) from None
    return {
        "linear regression": _fitted(lambda n, seed: LinearRegression()),
        "ridge": _fitted(lambda n, seed: Ridge(random_state=seed)),
        "nearest neighbours": _fitted(lambda n, seed: KNeighborsRegressor(n_neighbors=min(5, n))),
        "random forest": _fitted(lambda n, seed: RandomForestRegressor(n_estimators=100, random_state=seed)),
        "gradient boosting": _fitted(lambda n, seed: GradientBoostingRegressor(random_state=seed)),
        "mean": mean,
        "last": last,
        "random": random_output,
    }
