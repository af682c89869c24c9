"""Synthetic regression problems: linear, Friedman's three and five non-linear functions, without noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UsageError
from steelyard.parts import nearest

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
Ranges = tuple[tuple[float, float], ...]

LINEAR = re.compile(r"linear-(\d+)-of-(\d+)")


class Problem(NamedTuple):
    """Inputs of shape (n, features) and outputs of shape (n,)."""

    inputs: Array
    outputs: Array


def friedman1(x: Array) -> Array:
    """10 sin(pi x0 x1) + 20 (x2 - 0.5)^2 + 10 x3 + 5 x4."""
    y: Array = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return y


def friedman2(x: Array) -> Array:
    """sqrt(x0^2 + (x1 x2 - 1 / (x1 x3))^2)."""
    return np.sqrt(x[:, 0] ** 2 + _inner(x) ** 2)


def friedman3(x: Array) -> Array:
    """arctan((x1 x2 - 1 / (x1 x3)) / x0)."""
    return np.arctan(_inner(x) / x[:, 0])


def _inner(x: Array) -> Array:
    product: Array = x[:, 1] * x[:, 2] - 1 / (x[:, 1] * x[:, 3])
    return product


def original1(x: Array) -> Array:
    """x0 + 10 sin(5 pi x0 / 100) + 10 cos(6 pi x0 / 100): a line with a wobble."""
    share = x[:, 0] / 100 * np.pi
    y: Array = x[:, 0] + 10 * np.sin(5 * share) + 10 * np.cos(6 * share)
    return y


def original2(x: Array) -> Array:
    """(x0^4 + (x1 x2 - 2 / sqrt(x1 x3))^2)^0.75: Friedman 2 with other powers."""
    inner = x[:, 1] * x[:, 2] - 2 / np.sqrt(x[:, 1] * x[:, 3])
    return (x[:, 0] ** 4 + inner**2) ** 0.75


def original3(x: Array) -> Array:
    """exp(x0) + x1 x2 / sqrt(x3) + (x0 x3)^1.5."""
    return np.exp(x[:, 0]) + x[:, 1] * x[:, 2] / np.sqrt(x[:, 3]) + (x[:, 3] * x[:, 0]) ** 1.5


def original4(x: Array) -> Array:
    """x1/10 sin(x0) + x0/10 cos(x1) + sqrt(x0) log(x1) / (sqrt(x1) log(x0))."""
    waves = x[:, 1] / 10 * np.sin(x[:, 0]) + x[:, 0] / 10 * np.cos(x[:, 1])
    y: Array = waves + np.sqrt(x[:, 0]) * np.log(x[:, 1]) / (np.sqrt(x[:, 1]) * np.log(x[:, 0]))
    return y


def original5(x: Array) -> Array:
    """100 max softmax(x / 10)."""
    powers = np.exp(x / 10 - (x / 10).max(axis=1, keepdims=True))
    y: Array = 100 * powers.max(axis=1) / powers.sum(axis=1)
    return y


_FRIEDMAN: Ranges = ((0, 100), (40 * np.pi, 560 * np.pi), (0, 1), (1, 11))
FUNCTIONS: Mapping[str, tuple[Function, Ranges]] = {
    "friedman-1": (friedman1, ((0, 1),) * 5),
    "friedman-2": (friedman2, _FRIEDMAN),
    "friedman-3": (friedman3, _FRIEDMAN),
    "original-1": (original1, ((0, 100),)),
    "original-2": (original2, ((0, 3), (4 * np.pi, 56 * np.pi), (0, 2), (1, 11))),
    "original-3": (original3, ((1, 3), (1, 10), (0, 10), (1, 20))),
    "original-4": (original4, ((2, 100), (2, 100))),
    "original-5": (original5, ((-25, 25),) * 3),
}
"""Each function with the range from which every feature is drawn uniformly."""


def check_function(name: str) -> str:
    """The name, or a UsageError with the nearest one."""
    linear = LINEAR.fullmatch(name)
    if name not in FUNCTIONS and not (linear and 0 < int(linear[1]) <= int(linear[2])):
        known = ", ".join(FUNCTIONS)
        raise UsageError(
            f"unknown function {name!r}{nearest(name, FUNCTIONS)}; there are {known} and linear-K-of-N"
        )
    return name


def draw(name: str, samples: int, *, seed: int, decimals: int = 2) -> Problem:
    """``samples`` points of a function, inputs and outputs rounded to ``decimals``.

    ``linear-K-of-N`` has N standard normal features, K of them with coefficients drawn from 0 to 100. Friedman's
    are drawn as scikit-learn draws them, the outputs computed before the inputs are rounded.

    >>> draw("original-1", 2, seed=0).inputs.shape
    (2, 1)
    """
    rng = np.random.RandomState(seed)  # what scikit-learn draws from, so that its problems come out
    if linear := LINEAR.fullmatch(name):
        informative, features = int(linear[1]), int(linear[2])
        x = rng.standard_normal((samples, features))
        weights = np.zeros(features)
        weights[rng.permutation(features)[:informative]] = 100 * rng.uniform(size=informative)
        y = x @ weights
    else:
        function, ranges = FUNCTIONS[check_function(name)]
        x = rng.uniform(size=(samples, len(ranges)))
        low, high = np.array(ranges).T
        x = low + x * (high - low)
        y = function(x)
    return Problem(np.round(x, decimals), np.round(y, decimals))
