"""In-context regression: a language model as a regressor, from examples written out in its prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from steelyard.contracts import Interval, LanguageModel, Message, Prompt, Sampling
from steelyard.errors import UsageError
from steelyard.evaluation.benchmarks.regression.cumulative_regret import cumulative_regret, fit_shapes
from steelyard.evaluation.benchmarks.regression.numeric_regressors import Regressor, regressors
from steelyard.evaluation.benchmarks.regression.regression_functions import check_function, draw
from steelyard.evaluation.measurement import Cell, Measurement, Table
from steelyard.evaluation.statistics import mean_interval
from steelyard.parts import part

Array = NDArray[np.float64]
MODEL = "language model"
INSTRUCTION = 'Estimate the value of "Output". Write the number only.'
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?=$|[^\w])")


class Parsed(NamedTuple):
    """A predicted number, and whether one was found; where none was, it is 0."""

    value: float
    valid: bool


class Predictions(NamedTuple):
    """Predictions of every regressor on one problem, and the share of the model's that were no numbers."""

    errors: Mapping[str, Array]
    invalid: float


@part(papers=[89], kind="measure")
def in_context_regression(
    model: LanguageModel,
    *,
    functions: tuple[str, ...] = ("linear-1-of-2", "friedman-1", "friedman-2", "friedman-3", "original-1"),
    examples: PositiveInt = 30,
    queries: PositiveInt = 20,
    seeds: PositiveInt = 2,
    steps: NonNegativeInt = 0,
    chat: bool = False,
) -> Measurement:
    """Predict numbers from examples in the prompt, beside regressors fitted to the same examples.

    Every example is written as lines "Feature i: x" and "Output: y" with two decimals; the query ends with
    "Output:", and the number with which the answer (greedy, one line) begins is the prediction. An answer without
    one counts as 0 and as invalid. The error is the mean absolute error over ``queries`` points, ``seeds`` times.

    With ``steps`` T, points are also shown one after the other, point t + 1 being predicted from the first t. The
    regret R_T = sum of |error| - |error of the regressor best in hindsight, fitted to all points|, averaged over
    seeds, is fitted by a f(T) + b with f the square root, the logarithm and the identity.

    Args:
        model: What is measured.
        functions: ``linear-K-of-N`` (K of N features matter), ``friedman-1`` to ``-3``, ``original-1`` to ``-5``.
        examples: How many are shown; one prompt must fit the model's context.
        queries: Points to predict, for each function and seed.
        seeds: Draws 1, 2, ... of each function.
        steps: Longest run for the regret; 0 leaves it out.
        chat: Ask in the model's chat template rather than by plain completion.

    Returns:
        ``mean rank`` of the model among all regressors (1 is best; over functions and seeds), ``invalid`` answers,
        and tables of errors and of regret.

    Source:
        "From Words to Numbers: Your Large Language Model Is Secretly A Capable Regressor When Given In-Context
        Examples", sections 2 to 4. The instruction is worded anew, the paper's neural networks are left out, and
        hindsight chooses among the regressors here.

    Relations:
        ``relentless`` measures order rather than numbers; regressors are scikit-learn's.

    Example:
        >>> parse_number(" 3.50 (about)"), parse_number("none")
        (Parsed(value=3.5, valid=True), Parsed(value=0.0, valid=False))
    """
    names = tuple(check_function(name) for name in functions)
    if not names:
        raise UsageError("in-context-regression: name at least one function")
    others = regressors()
    found = {
        (name, seed): _predict(model, others, name, examples, queries, seed, chat)
        for name in names
        for seed in range(1, seeds + 1)
    }
    ranks = [_rank({name: float(abs(e).mean()) for name, e in one.errors.items()}) for one in found.values()]
    invalid = [one.invalid for one in found.values()]
    tables = [_error_table([MODEL, *others], names, found)]
    if steps:
        tables.append(_regret_table(model, others, names, seeds, steps, chat))
    values = {
        "mean rank": mean_interval(ranks, bounds=(1.0, len(others) + 1.0)),
        "invalid": mean_interval(invalid, bounds=(0.0, 1.0)),
    }
    middle = (len(others) + 2) / 2
    note = f"the model is one of {len(others) + 1} regressors; a mean rank above {middle:g} is in the worse half"
    return Measurement("in-context-regression", values, tuple(tables), (note,))


def write_point(features: Sequence[float], output: float | None = None) -> str:
    r"""A point as text; without an output it ends where the output is to come.

    >>> write_point([0.5, 2.0], 3.25)
    'Feature 0: 0.5\nFeature 1: 2.0\nOutput: 3.25'
    """
    lines = [f"Feature {number}: {value}" for number, value in enumerate(features)]
    return "\n".join([*lines, "Output:" if output is None else f"Output: {output}"])


def write_prompt(inputs: Array, outputs: Array, query: Array) -> str:
    """Instruction, examples and query, separated by empty lines."""
    shown = [write_point(x.tolist(), float(y)) for x, y in zip(inputs, outputs, strict=True)]
    return "\n\n".join([INSTRUCTION, *shown, write_point(query.tolist())])


def parse_number(output: str) -> Parsed:
    r"""The number with which the first line that is not empty begins.

    >>> parse_number("12.5.3"), parse_number("-1e3\nFeature 0: 2")
    (Parsed(value=12.5, valid=True), Parsed(value=-1000.0, valid=True))
    """
    lines = [line for line in output.splitlines() if line.strip()]
    match = _NUMBER.match(lines[0]) if lines else None
    value = float(match[1]) if match else math.nan
    return Parsed(value, True) if math.isfinite(value) else Parsed(0.0, False)


def ask_numbers(model: LanguageModel, prompts: Sequence[str], chat: bool = False) -> list[Parsed]:
    """The model's numbers, greedy, one line of at most 12 tokens each."""
    asked: list[Prompt] = [[Message("user", prompt)] if chat else prompt for prompt in prompts]
    how = Sampling(max_tokens=12, stop=() if chat else ("\n",))
    return [parse_number(generation.text) for generation in model.generate(asked, how)]


def _predict(
    model: LanguageModel,
    others: Mapping[str, Regressor],
    name: str,
    examples: int,
    queries: int,
    seed: int,
    chat: bool,
) -> Predictions:
    problem = draw(name, examples + queries, seed=seed)
    x, y = problem.inputs[:examples], problem.outputs[:examples]
    asked, gold = problem.inputs[examples:], problem.outputs[examples:]
    numbers = ask_numbers(model, [write_prompt(x, y, query) for query in asked], chat)
    errors = {MODEL: np.array([number.value for number in numbers]) - gold}
    errors |= {name: regressor(x, y, asked, seed) - gold for name, regressor in others.items()}
    return Predictions(errors, float(np.mean([not number.valid for number in numbers])))


def _rank(errors: Mapping[str, float]) -> float:
    """The model's place among the mean errors, ties sharing their mean place."""
    own = errors[MODEL]
    below = sum(error < own for error in errors.values())
    same = sum(error == own for error in errors.values())
    return below + (same + 1) / 2


def _error_table(
    regressor_names: Sequence[str], names: Sequence[str], found: Mapping[tuple[str, int], Predictions]
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for regressor in regressor_names:
        cells: list[Interval] = []
        for name in names:
            errors = [abs(one.errors[regressor]) for (function, _), one in found.items() if function == name]
            cells.append(mean_interval(np.concatenate(errors), bounds=(0.0, math.inf)))
        rows.append((regressor, *cells))
    note = "mean absolute error, with a bootstrap interval over points (draws taken as fixed)"
    return Table("Error by regressor and function", ("regressor", *names), tuple(rows), note)


def regret_curves(
    model: LanguageModel, others: Mapping[str, Regressor], name: str, *, seeds: int, steps: int, chat: bool = False
) -> dict[str, Array]:
    """Mean cumulative regret over seeds of the model and of every other regressor, each of shape (steps,)."""
    curves: dict[str, list[Array]] = {}
    for seed in range(1, seeds + 1):
        x, y = draw(name, steps + 1, seed=seed)
        hindsight = {other: run(x, y, x[1:], seed) - y[1:] for other, run in others.items()}
        best = min(hindsight.values(), key=lambda errors: float(abs(errors).mean()))
        prompts = [write_prompt(x[:t], y[:t], x[t]) for t in range(1, steps + 1)]
        own = np.array([number.value for number in ask_numbers(model, prompts, chat)]) - y[1:]
        curves.setdefault(MODEL, []).append(cumulative_regret(own, best))
        for other, run in others.items():
            errors = [run(x[:t], y[:t], x[t : t + 1], seed)[0] - y[t] for t in range(1, steps + 1)]
            curves.setdefault(other, []).append(cumulative_regret(errors, best))
    return {regressor: np.mean(runs, axis=0) for regressor, runs in curves.items()}


def _regret_table(
    model: LanguageModel,
    others: Mapping[str, Regressor],
    names: Sequence[str],
    seeds: int,
    steps: int,
    chat: bool,
) -> Table:
    cheap: dict[str, Any] = {
        name: run for name, run in others.items() if name not in ("random forest", "gradient boosting")
    }
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        curves = regret_curves(model, cheap, name, seeds=seeds, steps=steps, chat=chat)
        for regressor, curve in curves.items():
            fit = fit_shapes(curve)[0]
            rows.append((name, regressor, float(curve[-1]), fit.shape, fit.a, fit.r2))
    columns = ("function", "regressor", "regret", "best shape", "a", "R2")
    note = (
        f"cumulative regret after {steps} steps, mean of {seeds} draws; ensembles are left out, as fitting them "
        "at every step takes minutes"
    )
    return Table("Regret", columns, tuple(rows), note)
