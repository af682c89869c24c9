"""Compare two systems on the samples both were measured on.

comparison = compare(first.results, second.results, "accuracy")
print(comparison.verdict)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steelyard.contracts import Interval, Result
from steelyard.errors import UsageError
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.significance import mcnemar_exact, permutation_test
from steelyard.evaluation.statistics import is_binary, paired_difference
from steelyard.evaluation.summary import summarise_marks


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same ``n`` samples.

    ``difference`` is first minus second; ``first`` and ``second`` are both systems' means on the shared
    samples. ``only_first`` and ``only_second`` count samples that the other lacks. ``different`` says whether
    the test supports a difference at ``alpha``; ``verdict`` puts it in words.
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
    a = np.array([one.marks.values[metric] for one, _ in pairs])
    b = np.array([two.marks.values[metric] for _, two in pairs])
    weights = np.array([one.weight * one.marks.weights.get(metric, 1.0) for one, _ in pairs])
    difference = paired_difference(a, b, weights, level=1 - alpha)
    if is_binary(a, b) and bool(np.all(weights == weights[0])):
        test, p_value = "exact McNemar", mcnemar_exact(a, b)
    else:
        test, p_value = "sign-flip permutation", permutation_test((a - b) * weights / weights.mean(), seed=seed)
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
