"""Compare two systems on the samples both were measured on.

comparison = compare(first.results, second.results, "accuracy")
print(comparison.verdict)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval, Result
from steelyard.errors import UsageError
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.significance import (
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    permutation_test,
)
from steelyard.evaluation.statistics import is_binary, paired_difference, standard_error
from steelyard.evaluation.summary import summarise_marks

POWER = 0.8
"""Chance of showing a difference of the size that a comparison calls detectable."""

Pairs = Sequence[tuple[Result, Result]]


class PairCounts(NamedTuple):
    """Samples by who was right, for 0/1 values; ``first`` and ``second`` are the discordant pairs."""

    both: int
    first: int
    second: int
    neither: int


@dataclass(frozen=True)
class GroupDifference:
    """Both systems in one group of samples; the p-values of all groups are corrected together (Holm)."""

    group: str
    first: Interval
    second: Interval
    difference: Interval
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same ``n`` samples.

    ``difference`` is first minus second; ``first`` and ``second`` are both systems' means on the shared
    samples. ``only_first`` and ``only_second`` count samples that the other lacks. ``different`` says whether
    the test supports a difference at ``alpha``; ``verdict`` puts it in words.

    ``sd`` is the standard deviation of the paired differences and ``detectable`` the smallest true difference that
    as many samples with this spread would show with probability :data:`POWER`: a smaller one may well be there
    and not be seen. It is not known (None) where the two never differ. ``counts`` are given for 0/1 values.
    """

    metric: str
    first: Interval
    second: Interval
    difference: Interval
    p_value: float
    test: str
    n: int
    different: bool
    verdict: str
    alpha: float = 0.05
    only_first: int = 0
    only_second: int = 0
    sd: float | None = None
    detectable: float | None = None
    counts: PairCounts | None = None
    groups: tuple[GroupDifference, ...] = ()


def compare(
    first: Evaluation | Sequence[Result],
    second: Evaluation | Sequence[Result],
    metric: str | None = None,
    *,
    names: tuple[str, str] | None = None,
    higher_is_better: bool | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """Paired comparison of two evaluations (or result lists) of one task.

    The test is McNemar's (exact) for 0/1 values of equal weight, otherwise a sign-flip permutation test of
    the weighted mean difference; for a ratio such as bits per byte each sample weighs as much as it is long.

    Args:
        first: One system's results.
        second: The other's.
        metric: What to compare; by default the metric that ranks systems on the task.
        names: What to call the two in the verdict.
        higher_is_better: By default as the evaluations say; without them false for bits per byte only.
        alpha: Chance of a false claim that is accepted.
        seed: For the permutation test.

    Raises:
        UsageError: Different tasks, no common samples, or a metric that they lack.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, not {alpha}")
    metric = metric or _default_metric(first, second)
    higher = _direction(first, metric) if higher_is_better is None else higher_is_better
    names = names or _names(first, second)
    pairs, only_first, only_second = _shared(first, second, metric)
    a, b, weights = _values(pairs, metric)
    difference = paired_difference(a, b, weights, level=1 - alpha)
    test, p_value = _test(a, b, weights, seed)
    sd = standard_error(a - b, weights) * math.sqrt(len(pairs)) if len(pairs) > 1 else 0.0
    different = p_value <= alpha
    return Comparison(
        metric=metric,
        first=_mean([one for one, _ in pairs], metric, 1 - alpha),
        second=_mean([two for _, two in pairs], metric, 1 - alpha),
        difference=difference,
        p_value=p_value,
        test=test,
        n=len(pairs),
        different=different,
        verdict=_verdict(names, metric, difference, (p_value, test, different), higher),
        alpha=alpha,
        only_first=only_first,
        only_second=only_second,
        sd=sd or None,
        detectable=minimum_detectable_difference(len(pairs), sd, power=POWER, alpha=alpha) if sd else None,
        counts=_counts(a, b) if is_binary(a, b) else None,
        groups=_groups(pairs, metric, alpha, seed),
    )


def _values(pairs: Pairs, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    a = np.array([one.marks.values[metric] for one, _ in pairs])
    b = np.array([two.marks.values[metric] for _, two in pairs])
    return a, b, np.array([one.weight * one.marks.weights.get(metric, 1.0) for one, _ in pairs])


def _test(
    a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64], seed: int
) -> tuple[str, float]:
    """The name of the paired test that suits the values, and its p-value."""
    if is_binary(a, b) and bool(np.all(weights == weights[0])):
        return "exact McNemar", mcnemar_exact(a, b)
    return "sign-flip permutation", permutation_test((a - b) * weights / weights.mean(), seed=seed)


def _counts(a: NDArray[np.float64], b: NDArray[np.float64]) -> PairCounts:
    return PairCounts(
        int(((a == 1) & (b == 1)).sum()), int((a > b).sum()), int((a < b).sum()), int(((a == 0) & (b == 0)).sum())
    )


def _groups(pairs: Pairs, metric: str, alpha: float, seed: int) -> tuple[GroupDifference, ...]:
    names = sorted({one.group for one, _ in pairs if one.group})
    members = [[pair for pair in pairs if pair[0].group == name] for name in names]
    values = [_values(inside, metric) for inside in members]
    p_values = holm([_test(*columns, seed)[1] for columns in values])
    return tuple(
        GroupDifference(
            name,
            _mean([one for one, _ in inside], metric, 1 - alpha),
            _mean([two for _, two in inside], metric, 1 - alpha),
            paired_difference(*columns, level=1 - alpha),
            p_value,
        )
        for name, inside, columns, p_value in zip(names, members, values, p_values, strict=True)
    )


def _shared(
    first: Evaluation | Sequence[Result], second: Evaluation | Sequence[Result], metric: str
) -> tuple[list[tuple[Result, Result]], int, int]:
    """Pairs on common samples that have the metric, and how many samples each side has alone."""
    if isinstance(first, Evaluation) and isinstance(second, Evaluation) and first.key.task != second.key.task:
        raise UsageError(
            f"{first.task!r} and {second.task!r} are different tasks; compare runs on the same version of one file"
        )
    left = {result.sample_id: result for result in _results(first)}
    right = {result.sample_id: result for result in _results(second)}
    common = [sample_id for sample_id in left if sample_id in right]
    if not common:
        raise UsageError("the two have no sample in common; compare runs on the same task")
    pairs = [
        (left[i], right[i]) for i in common if metric in left[i].marks.values and metric in right[i].marks.values
    ]
    if not pairs:
        known = sorted({name for i in common for name in left[i].marks.values})
        raise UsageError(f"no common sample has the metric {metric!r}; there are {', '.join(known)}")
    for one, two in pairs:
        if one.weight != two.weight or one.marks.weights.get(metric) != two.marks.weights.get(metric):
            raise UsageError(f"sample {one.sample_id!r} differs between the two; compare runs on the same file")
    return pairs, len(left) - len(common), len(right) - len(common)


def _results(side: Evaluation | Sequence[Result]) -> Sequence[Result]:
    return side.results if isinstance(side, Evaluation) else side


def _default_metric(first: Evaluation | Sequence[Result], second: Evaluation | Sequence[Result]) -> str:
    for side in (first, second):
        if isinstance(side, Evaluation):
            return side.metric
    raise UsageError("say which metric to compare")


def _direction(side: Evaluation | Sequence[Result], metric: str) -> bool:
    if isinstance(side, Evaluation) and side.metric == metric:
        return side.higher_is_better
    return metric != "bits_per_byte"


def _names(first: Evaluation | Sequence[Result], second: Evaluation | Sequence[Result]) -> tuple[str, str]:
    one = first.card.name if isinstance(first, Evaluation) else "the first"
    two = second.card.name if isinstance(second, Evaluation) else "the second"
    return (one, two) if one != two else (f"{one} (first)", f"{two} (second)")


def _mean(results: Sequence[Result], metric: str, level: float) -> Interval:
    return summarise_marks([r.marks for r in results], [r.weight for r in results], level=level)[metric]


def _verdict(
    names: tuple[str, str], metric: str, difference: Interval, found: tuple[float, str, bool], higher: bool
) -> str:
    """One sentence that claims a difference only where the test supports it."""
    p_value, test, different = found
    one, two = names
    gap = f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    evidence = f"{metric} {gap}, n = {difference.n}, {test} p = {p_value:.3g}"
    if not different:
        return f"No difference between {one} and {two} is shown ({evidence})."
    better, worse = (one, two) if (difference.value > 0) == higher else (two, one)
    return f"{better} is better than {worse} ({evidence}; difference: {one} minus {two})."
