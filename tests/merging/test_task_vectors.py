from __future__ import annotations

import pytest
import torch

from steelyard.errors import UsageError
from steelyard.merging.linear import linear
from steelyard.merging.model_stock import model_stock
from steelyard.merging.slerp import slerp
from steelyard.merging.task_arithmetic import task_arithmetic
from steelyard.merging.task_vectors import combine, elected_signs, per_model
from steelyard.merging.ties import ties


@pytest.mark.parametrize("by", ["sum", "count"])
def test_ties_against_its_definition_entry_by_entry(by: str) -> None:
    """Trim, elect, disjoint mean, written out with Python numbers."""
    generator = torch.Generator().manual_seed(2)
    base, *models = [torch.randn(30, generator=generator, dtype=torch.float64) for _ in range(5)]
    weight = [1.0, 0.5, 2.0, 1.0]
    trimmed = []
    for model in models:
        changes = (model - base).tolist()
        limit = sorted((abs(change) for change in changes), reverse=True)[11]  # 12 of 30 stay
        trimmed.append([change if abs(change) >= limit else 0.0 for change in changes])
    expected = []
    for place in range(30):
        votes = [w * vector[place] for w, vector in zip(weight, trimmed, strict=True)]
        ballot = sum(votes) if by == "sum" else sum((vote > 0) - (vote < 0) for vote in votes)
        sign = 1 if ballot >= 0 else -1
        chosen = [(vote, w) for vote, w in zip(votes, weight, strict=True) if vote * sign > 0]
        mean = sum(vote for vote, _ in chosen) / sum(w for _, w in chosen) if chosen else 0.0
        expected.append(float(base[place]) + 0.8 * mean)
    found = ties(models, base, weight=tuple(weight), density=0.4, consensus=by, scale=0.8)  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_draw_elects_plus_and_a_zero_agrees_with_nothing() -> None:
    vectors = [torch.tensor([1.0, 0.0]), torch.tensor([-3.0, 0.0])]
    assert elected_signs(vectors, "count").tolist() == [1, 1]
    assert elected_signs(vectors, "sum").tolist() == [-1, 1]
    merged = combine(torch.zeros(2), vectors, 1.0, consensus="count", normalise=True, scale=1.0)
    assert merged.tolist() == [1.0, 0.0]


def test_weights_that_cancel_divide_by_one() -> None:
    base = torch.zeros(1)
    vectors = [torch.tensor([2.0]), torch.tensor([3.0])]
    assert combine(base, vectors, (1.0, -1.0), consensus="none", normalise=True, scale=1.0).tolist() == [-1.0]


def test_one_value_each() -> None:
    with pytest.raises(UsageError, match="'weight' has 2 values for 3 models"):
        per_model((1.0, 2.0), 3, "weight")


def test_a_task_is_taken_back() -> None:
    base, model = torch.tensor([1.0, 2.0]), torch.tensor([4.0, -2.0])
    assert torch.equal(task_arithmetic([model], base, weight=-1.0), 2 * base - model)


def test_a_one_hot_average_is_the_model_itself() -> None:
    models = [torch.randn(7) for _ in range(3)]
    assert torch.equal(linear(models, weight=(0.0, 1.0, 0.0)), models[1])
    with pytest.raises(UsageError, match="sum to zero"):
        linear(models, weight=(1.0, -1.0, 0.0))


def test_an_arc_keeps_length_and_angle() -> None:
    first, second = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    found = slerp([first, second], t=1 / 3)
    assert float(found.norm()) == pytest.approx(3.0)
    assert float(found[1] / found[0]) == pytest.approx(3**-0.5)  # 30 degrees of 90
    assert torch.equal(slerp([first, torch.zeros(2)], t=0.5), first / 2)
    with pytest.raises(UsageError, match="two models, not 3"):
        slerp([first, second, first])


@pytest.mark.parametrize("number", [2, 3, 5])
def test_model_stock_takes_what_models_share(number: int) -> None:
    """Models are a common change plus unrelated ones of equal length: the ratio is known in closed form."""
    base = torch.ones(number + 1, dtype=torch.float64)
    eye = torch.eye(number + 1, dtype=torch.float64)
    models = [base + eye[0] + eye[place] for place in range(1, number + 1)]  # cosine 1/2
    ratio = number * 0.5 / (1 + (number - 1) * 0.5)
    average = torch.stack(models).mean(0)
    torch.testing.assert_close(model_stock(models, base), ratio * average + (1 - ratio) * base)
    assert torch.equal(model_stock([base, base], base), base)
    assert torch.equal(model_stock([base + eye[0], base - eye[0]], base), base)
    with pytest.raises(UsageError, match="two models or more"):
        model_stock([base], base)
