"""Metrics of whole tasks: from per-sample statistics to a value with its interval and standard error.

Most metrics are means. Corpus metrics (BLEU, chrF, TER, F1, Matthews) are not: each sample leaves its sufficient
statistics, which are summed, and the bootstrap resamples them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Interval, Marks
from steelyard.evaluation.statistics import mean_interval, ratio_interval

Array: TypeAlias = NDArray[np.float64]
Rule: TypeAlias = Literal[
    "mean", "brier_score", "perplexity", "weighted_perplexity", "bits_per_byte", "bleu", "chrf", "chrf++", "ter",
    "f1", "matthews_corrcoef",
]  # fmt: skip

CORPUS: tuple[Rule, ...] = ("bleu", "chrf", "chrf++", "ter", "f1", "matthews_corrcoef")
RESAMPLES = 1000


class Estimate(NamedTuple):
    """A metric's value, interval and standard error; the error is nan where one sample cannot tell."""

    interval: Interval
    stderr: float


def statistic(key: str, number: int) -> str:
    """The name under which a corpus metric's statistic number ``number`` is kept among a sample's values."""
    return f"{key}#{number}"


def standard_error(values: Sequence[float]) -> float:
    """The standard error of a mean: s / sqrt(n) with the sample standard deviation s (n - 1 below the line).

    >>> round(standard_error([1.0, 0.0, 1.0, 1.0]), 6)
    0.25
    """
    if len(values) < 2:
        return math.nan
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1)) / math.sqrt(len(values))


def summarise_rules(
    rules: Mapping[str, Rule], marks: Sequence[Marks], weights: Sequence[float]
) -> dict[str, Interval]:
    """One interval a metric, for :class:`~steelyard.evaluation.benchmark_task.BenchmarkTask`."""
    return {key: estimate(key, rule, marks).interval for key, rule in rules.items() if marks}


def estimate(key: str, rule: Rule, marks: Sequence[Marks]) -> Estimate:
    """The metric ``key`` over the marks of all samples.

    ``mean``: Wilson's interval for right or wrong, bootstrap otherwise; standard error by the formula.
    ``perplexity``: exp of the mean surprisal; ``weighted_perplexity`` and ``bits_per_byte``: of the ratio of
    sums, by the delta method. Corpus metrics: percentile bootstrap over samples with seed 0.
    """
    values = [mark.values[key] for mark in marks]
    if rule in CORPUS:
        return _corpus(key, rule, marks)
    if rule in ("mean", "brier_score"):
        bounds = (0.0, 2.0 if rule == "brier_score" else 1.0)
        return Estimate(mean_interval(values, bounds=bounds), standard_error(values))
    if rule == "perplexity":
        value, low, high, n = mean_interval(values, bounds=(0.0, math.inf))
        return Estimate(Interval(_exp(value), _exp(low), _exp(high), n), _exp(value) * standard_error(values))
    sizes = [mark.weights[key] for mark in marks]
    amounts = [value * size for value, size in zip(values, sizes, strict=True)]
    value, low, high, n = ratio_interval(amounts, sizes)
    low = max(0.0, low)
    error = _ratio_error(np.array(amounts), np.array(sizes))
    if rule == "bits_per_byte":
        return Estimate(Interval(value, low, high, n), error)
    return Estimate(Interval(_exp(value), _exp(low), _exp(high), n), _exp(value) * error)


def _ratio_error(amounts: Array, sizes: Array) -> float:
    """Delta-method standard error of sum(amounts) / sum(sizes)."""
    n = len(amounts)
    if n < 2:
        return math.nan
    residuals = amounts - amounts.sum() / sizes.sum() * sizes
    return math.sqrt(n / (n - 1) * float(np.square(residuals).sum())) / float(sizes.sum())


def _corpus(key: str, rule: Rule, marks: Sequence[Marks]) -> Estimate:
    width = sum(name.startswith(f"{key}#") for name in marks[0].values)
    table = np.array([[mark.values[statistic(key, i)] for i in range(width)] for mark in marks])
    score = _SCORES[rule]
    value = score(table)
    n = len(table)
    if n == 1:
        return Estimate(Interval(value, -math.inf, math.inf, 1), math.nan)
    rng = np.random.default_rng(0)
    draws = np.array([score(table[rng.integers(0, n, n)]) for _ in range(RESAMPLES)])
    low, high = np.quantile(draws, (0.025, 0.975))
    interval = Interval(value, min(float(low), value), max(float(high), value), n)
    return Estimate(interval, float(np.std(draws, ddof=1)))


def binary_f1(table: Array) -> float:
    """F1 of class 1 from rows (gold, predicted): 2 TP / (2 TP + FP + FN), 0 without any.

    >>> binary_f1(np.array([[1, 1], [1, 0], [0, 1], [0, 0]]))
    0.5
    """
    gold, said = table[:, 0] == 1, table[:, 1] == 1
    below = float(gold.sum() + said.sum())
    return 2 * float((gold & said).sum()) / below if below else 0.0


def matthews(table: Array) -> float:
    """Matthews' correlation of rows (gold, predicted), for any number of classes; 0 where either is constant.

    Source: Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".

    >>> matthews(np.array([[1, 1], [0, 0], [1, 1], [0, 0]]))
    1.0
    """
    classes = np.unique(table)
    gold, said = (table[:, side, None] == classes for side in (0, 1))
    n = len(table)
    t, p = gold.sum(0).astype(float), said.sum(0).astype(float)
    right = float((gold & said).sum())
    below = math.sqrt(float(n * n - p @ p) * float(n * n - t @ t))
    return float(right * n - t @ p) / below if below else 0.0


def _sacrebleu(rule: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF, TER

    made: dict[str, Callable[[], Any]] = {
        "bleu": BLEU,
        "chrf": CHRF,
        "chrf++": lambda: CHRF(word_order=2),
        "ter": TER,
    }
    return made[rule]()


def corpus_statistics(rule: Rule, answer: str, references: Sequence[str]) -> tuple[float, list[float]]:
    """A sentence's score and its sufficient statistics, by sacrebleu with its defaults."""
    metric = _sacrebleu(rule)
    statistics = metric._extract_corpus_statistics([answer], [[reference] for reference in references])
    flat = [float(value) for value in statistics[0]]
    return _scored(metric, flat), flat


def _scored(metric: Any, sums: Sequence[float]) -> float:
    return float(metric._compute_score_from_stats(list(sums)).score)


def _corpus_score(rule: str) -> Callable[[Array], float]:
    def score(table: Array) -> float:
        return _scored(_sacrebleu(rule), table.sum(axis=0).tolist())

    return score


_SCORES: Mapping[str, Callable[[Array], float]] = {
    **{rule: _corpus_score(rule) for rule in ("bleu", "chrf", "chrf++", "ter")},
    "f1": binary_f1,
    "matthews_corrcoef": matthews,
}


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
