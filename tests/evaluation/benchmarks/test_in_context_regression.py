"""In-context regression: generators against scikit-learn's, parsing, reruns, and planted regret curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steelyard.errors import UsageError
from steelyard.evaluation.benchmarks.regression.cumulative_regret import cumulative_regret, fit_shapes
from steelyard.evaluation.benchmarks.regression.in_context_regression import (
    MODEL,
    in_context_regression,
    parse_number,
    regret_curves,
    write_prompt,
)
from steelyard.evaluation.benchmarks.regression.numeric_regressors import regressors
from steelyard.evaluation.benchmarks.regression.regression_functions import FUNCTIONS, draw
from steelyard.models.scripted import ScriptedModel


@pytest.mark.parametrize("number", [1, 2, 3])
def test_friedmans_problems_are_scikit_learns(number: int) -> None:
    import sklearn.datasets

    make = getattr(sklearn.datasets, f"make_friedman{number}")
    options = {"n_features": 5} if number == 1 else {}
    x, y = make(n_samples=40, noise=0.0, random_state=7, **options)
    found = draw(f"friedman-{number}", 40, seed=7, decimals=12)
    assert found.inputs == pytest.approx(x, abs=1e-9)
    assert found.outputs == pytest.approx(y, abs=1e-9)
    assert FUNCTIONS[f"friedman-{number}"][0](x) == pytest.approx(y)


def test_linear_problems_are_linear_in_the_informative_features_only() -> None:
    x, y = draw("linear-2-of-4", 50, seed=3, decimals=9)
    weights, *_ = np.linalg.lstsq(x, y, rcond=None)
    assert (abs(weights) > 1e-6).sum() == 2
    assert x @ weights == pytest.approx(y, abs=1e-5)


def test_the_original_functions_by_hand() -> None:
    assert FUNCTIONS["original-1"][0](np.array([[0.0], [100.0]])) == pytest.approx([10, 110])
    assert FUNCTIONS["original-2"][0](np.array([[0.0, 1.0, 3.0, 1.0]])) == pytest.approx([1])
    assert FUNCTIONS["original-3"][0](np.array([[1.0, 2.0, 3.0, 4.0]])) == pytest.approx([np.e + 3 + 8])
    assert FUNCTIONS["original-5"][0](np.zeros((1, 3))) == pytest.approx([100 / 3])
    e = np.e
    expected = e / 10 * np.sin(e) + e / 10 * np.cos(e) + 1
    assert FUNCTIONS["original-4"][0](np.array([[e, e]])) == pytest.approx([expected])
    assert all(np.isfinite(draw(name, 30, seed=1).outputs).all() for name in FUNCTIONS)


@pytest.mark.parametrize(
    ("output", "value", "valid"),
    [
        (" 12.29\n\nFeature", 12.29, True),
        ("-3", -3.0, True),
        ("\n\n 4.5 units", 4.5, True),
        ("1.2.3", 1.2, True),
        ("2e2", 200.0, True),
        ("7.", 7.0, True),
        ("about 5", 0.0, False),
        ("5th", 0.0, False),
        ("", 0.0, False),
        ("1e999", 0.0, False),
    ],
)
def test_numbers_are_parsed(output: str, value: float, valid: bool) -> None:
    assert parse_number(output) == (value, valid)


@pytest.mark.parametrize(
    ("shape", "curve"),
    [("sqrt", np.sqrt), ("log", np.log), ("linear", lambda t: t)],
)
def test_planted_regret_curves_are_picked(shape: str, curve: Any) -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(1, 101, dtype=float)
    best, *others = fit_shapes(3 * curve(steps) + 2 + rng.normal(0, 0.05, 100))
    assert best.shape == shape
    assert best.a == pytest.approx(3, abs=0.05)
    assert best.b == pytest.approx(2, abs=0.2)
    assert best.r2 > 0.99 > 0.985 > others[-1].r2


def test_regret_counts_absolute_errors_and_is_zero_for_the_best() -> None:
    assert cumulative_regret([1, -1, 2], [0, 1, -1]).tolist() == [1, 1, 2]
    assert fit_shapes([2.0, 2.0, 2.0])[0].r2 == 0


def oracle(prompt: str) -> str:
    """Knows original-1."""
    asked = float(prompt.rsplit("Feature 0: ", 1)[1].split("\n")[0])
    return f" {FUNCTIONS['original-1'][0](np.array([[asked]]))[0]:.2f}\n"


def test_an_oracle_ranks_first_and_has_no_regret() -> None:
    model = ScriptedModel(oracle)
    found = in_context_regression(model, functions=("original-1",), examples=12, queries=6)
    assert found.values["mean rank"].value == 1
    assert found.values["invalid"].value == 0
    table = found.tables[0]
    assert [row[0] for row in table.rows] == [MODEL, *regressors()]
    assert table.rows[0][1].value < 0.1 < table.rows[-1][1].value  # type: ignore[union-attr]
    others = {name: run for name, run in regressors().items() if name in ("mean", "ridge")}
    curves = regret_curves(model, others, "original-1", seeds=2, steps=10)
    assert curves[MODEL][-1] < 0 < curves["mean"][-1]


def test_reruns_are_identical_and_a_model_without_numbers_is_invalid() -> None:
    mute = ScriptedModel(lambda prompt: "?")
    runs = [
        in_context_regression(mute, functions=("friedman-1",), examples=5, queries=4, seeds=2) for _ in range(2)
    ]
    assert runs[0].to_record() == runs[1].to_record()
    assert runs[0].values["invalid"].value == 1


def test_prompts_end_where_the_number_is_to_come() -> None:
    text = write_prompt(np.array([[1.0, 2.5]]), np.array([3.0]), np.array([4.0, 5.0]))
    assert text.endswith("Feature 0: 1.0\nFeature 1: 2.5\nOutput: 3.0\n\nFeature 0: 4.0\nFeature 1: 5.0\nOutput:")


def test_unknown_functions_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown function 'friedman-4'; did you mean 'friedman-"):
        in_context_regression(ScriptedModel(), functions=("friedman-4",))
    with pytest.raises(UsageError, match="linear-K-of-N"):
        in_context_regression(ScriptedModel(), functions=("linear-3-of-2",))
