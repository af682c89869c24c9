"""MAUVE: how close the distribution of a model's texts is to that of people's, by quantised features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval
from steelyard.errors import UsageError
from steelyard.evaluation.statistics import z_value

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SCALING = 5.0
"""The constant c of exp(-c KL), as in the paper."""
MIXTURES = 25
VARIANCE = 0.9
"""Share of the features' variance that the principal components keep."""


class Quantised(NamedTuple):
    """The clusters of both sides' texts, numbered from 0 to ``clusters`` - 1."""

    first: Integers
    second: Integers
    clusters: int


def mauve(first: Floats, second: Floats, *, seed: int = 0, level: float = 0.95) -> Interval:
    """The area under the divergence frontier of two sets of features, in (0, 1]; 1 for equal distributions.

    1. All features are scaled to length 1, projected on the principal components that keep nine tenths of their
       variance, and clustered together by k-means into K = max(2, n / 10) clusters, n being the size of the
       smaller side.
    2. P and Q are the two sides' shares of the clusters. For 25 mixtures R = w P + (1 - w) Q the points
       (exp(-c KL(Q | R)), exp(-c KL(P | R))), c = 5, with (1, 0) and (0, 1) at the ends, are the frontier.

    The interval is the normal one from the jackknife over the texts of both sides, the clusters held fixed; it
    says
    nothing of the spread over other clusterings. Few texts make few clusters and large values: the measure is
    meant for thousands of texts.

    Args:
        first: Features of people's texts, (n, d).
        second: Features of a model's texts, (m, d).
        seed: Of k-means.
        level: Of the interval.

    Raises:
        UsageError: Fewer than two texts on a side, or features of different widths.

    Source:
        MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence Frontiers (2021), section 2
        and appendix; K and c are its defaults. Written from the paper.
    """
    quantised = quantise(first, second, seed=seed)
    p, q = (_counts(side, quantised.clusters) for side in (quantised.first, quantised.second))
    value = frontier_area(p, q)
    half = z_value(level) * math.sqrt(_jackknife_variance(p, q, 0) + _jackknife_variance(q, p, 1))
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Interval(value, low, high, min(len(first), len(second)))


def frontier_area(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float:
    """The area under the divergence frontier of two histograms over the same clusters.

    >>> round(frontier_area([2, 2], [5, 5]), 3), round(frontier_area([1, 0], [0, 1]), 3)
    (1.0, 0.004)
    """
    p, q = (np.asarray(side, dtype=np.float64) / np.sum(side) for side in (first, second))
    weights = np.linspace(1e-6, 1 - 1e-6, MIXTURES)
    points = [(0.0, 1.0), (1.0, 0.0)]
    for w in weights:
        mixture = w * p + (1 - w) * q
        points.append((math.exp(-SCALING * _kl(q, mixture)), math.exp(-SCALING * _kl(p, mixture))))
    # along the frontier one coordinate rises while the other falls; ties are put in that order
    curve = np.array(sorted(points, key=lambda point: (point[0], -point[1])))
    return float(np.trapezoid(curve[:, 1], curve[:, 0]))


def quantise(first: Floats, second: Floats, *, seed: int = 0) -> Quantised:
    """Cluster both sides' features together."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    if min(len(first), len(second)) < 2 or first.shape[1:] != second.shape[1:]:
        raise UsageError(
            f"MAUVE needs two texts a side and features of one width, not {first.shape}, {second.shape}"
        )
    features = np.concatenate([first, second]).astype(np.float64)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if np.ptp(features, axis=0).max() > 0:
        projected = PCA(random_state=seed).fit(features)
        kept = int(np.searchsorted(np.cumsum(projected.explained_variance_ratio_), VARIANCE)) + 1
        features = projected.transform(features)[:, :kept]
    distinct = len(np.unique(features, axis=0))
    clusters = min(distinct, max(2, round(min(len(first), len(second)) / 10)))
    labels = KMeans(clusters, n_init=5, random_state=seed).fit_predict(features).astype(np.int64)
    return Quantised(labels[: len(first)], labels[len(first) :], clusters)


def _counts(labels: Integers, clusters: int) -> Floats:
    return np.bincount(labels, minlength=clusters).astype(np.float64)


def _kl(p: Floats, r: Floats) -> float:
    """Sum of p log(p / r) in nats over the clusters that p has."""
    has = p > 0
    return max(0.0, float((p[has] * np.log(p[has] / r[has])).sum()))


def _jackknife_variance(changed: Floats, other: Floats, side: int) -> float:
    """Variance of the area over leaving out one text of a side: (n - 1) / n times the squared deviations' sum.

    Texts of one cluster are alike, so one area a cluster is enough.
    """
    n = float(changed.sum())
    values, weights = [], []
    for cluster in np.flatnonzero(changed):
        left = changed.copy()
        left[cluster] -= 1
        values.append(frontier_area(left, other) if side == 0 else frontier_area(other, left))
        weights.append(changed[cluster])
    areas, share = np.array(values), np.array(weights)
    mean = float(np.average(areas, weights=share))
    return (n - 1) / n * float((share * np.square(areas - mean)).sum())
