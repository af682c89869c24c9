"""Ranking by gold answers: the task's own metric, every two systems compared paired, and corrected for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from steelyard.evaluation.compare import compare
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.ranking.records import Ranking
from steelyard.evaluation.significance import holm, rank_stability
from steelyard.evaluation.statistics import interval_record


def gold_ranking(
    names: Sequence[str], evaluations: Sequence[Evaluation], *, alpha: float = 0.05, seed: int = 0
) -> Ranking:
    """Systems by the metric of their task; ``details`` has all paired comparisons and the rank stability.

    Each comparison carries the paired difference with its interval, the test's p-value and Holm's adjusted one
    over all pairs; ``different`` says whether the adjusted one supports a difference.
    """
    metric, higher = evaluations[0].metric, evaluations[0].higher_is_better
    intervals = tuple(done.summary[metric] for done in evaluations)
    merit = [interval.value if higher else -interval.value for interval in intervals]
    order = tuple(int(i) for i in np.argsort([-value for value in merit], kind="stable"))
    found = [
        (i, j, compare(evaluations[i], evaluations[j], metric, names=(names[i], names[j]), seed=seed))
        for i, j in combinations(order, 2)
    ]
    adjusted = holm([one.p_value for _, _, one in found])
    comparisons: list[dict[str, Any]] = [
        {
            "first": names[i],
            "second": names[j],
            "difference": interval_record(one.difference),
            "test": one.test,
            "p_value": one.p_value,
            "p_holm": p,
            "different": p <= alpha,
            "n": one.n,
        }
        for (i, j, one), p in zip(found, adjusted, strict=True)
    ]
    values = [[result.marks.values[metric] for result in done.results] for done in evaluations]
    stable = rank_stability(np.asarray(values) * (1 if higher else -1), seed=seed)
    return Ranking(
        "gold",
        tuple(names),
        tuple(interval.value for interval in intervals),
        metric,
        intervals,
        order,
        details={
            "metric": metric,
            "higher_is_better": higher,
            "alpha": alpha,
            "comparisons": comparisons,
            "stability": {
                "first": dict(zip(names, stable.first.tolist(), strict=True)),
                "above": stable.above.tolist(),
            },
        },
    )
