"""Costs and updates against a dense Optimal Brain Surgeon that builds the whole curvature matrix."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from steelyard.compression.optimal_brain_surgeon import (
    column_costs,
    curvature_left,
    damped,
    element_costs,
    remove_elements,
    remove_rows_and_columns,
    row_costs,
    row_groups,
)
from steelyard.errors import ModelError

ROWS, COLUMNS = 5, 7


class Layer(NamedTuple):
    weight: torch.Tensor
    outputs: torch.Tensor
    inputs: torch.Tensor


def positive_definite(size: int, generator: torch.Generator) -> torch.Tensor:
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.T / size + 0.1 * torch.eye(size, dtype=torch.float64)


@pytest.fixture(params=range(3))
def layer(request: pytest.FixtureRequest) -> Layer:
    generator = torch.Generator().manual_seed(request.param)
    weight = torch.randn(ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    return Layer(weight, positive_definite(ROWS, generator), positive_definite(COLUMNS, generator))


def dense(layer: Layer, removed: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Least rise of 1/2 d'Fd with ``removed`` weights forced to zero, and the weights there: F is built whole."""
    curvature = torch.kron(layer.outputs, layer.inputs)
    gone = removed.flatten()
    weight = layer.weight.flatten()
    inverse = torch.linalg.inv(curvature)
    multipliers = torch.linalg.solve(inverse[gone][:, gone], weight[gone])
    return float(weight[gone] @ multipliers / 2), (weight - inverse[:, gone] @ multipliers).view_as(layer.weight)


def rise(layer: Layer, updated: torch.Tensor) -> float:
    change = (updated - layer.weight).flatten()
    return float(change @ torch.kron(layer.outputs, layer.inputs) @ change / 2)


def mask_of(rows: list[int], columns: list[int]) -> torch.Tensor:
    mask = torch.zeros(ROWS, COLUMNS, dtype=torch.bool)
    mask[rows] = True
    mask[:, columns] = True
    return mask


def test_single_weights_cost_what_the_dense_solution_costs(layer: Layer) -> None:
    costs = element_costs(layer.weight, curvature_left(layer.outputs), curvature_left(layer.inputs))
    for i in range(ROWS):
        for j in range(COLUMNS):
            one = torch.zeros(ROWS, COLUMNS, dtype=torch.bool)
            one[i, j] = True
            assert float(costs[i, j]) == pytest.approx(dense(layer, one)[0], rel=1e-9)


def test_rows_and_columns_cost_what_the_dense_solution_costs(layer: Layer) -> None:
    rows = row_costs(layer.weight, layer.inputs, curvature_left(layer.outputs))
    columns = column_costs(layer.weight, layer.outputs, curvature_left(layer.inputs))
    for i in range(ROWS):
        assert float(rows[i]) == pytest.approx(dense(layer, mask_of([i], []))[0], rel=1e-9)
    for j in range(COLUMNS):
        assert float(columns[j]) == pytest.approx(dense(layer, mask_of([], [j]))[0], rel=1e-9)


@pytest.mark.parametrize(
    ("rows", "columns"), [([2], []), ([], [0, 6]), ([1, 4], [2, 3, 5]), ([], []), ([0, 1, 2, 3, 4], [1])]
)
def test_rows_and_columns_are_removed_jointly_as_the_dense_solution_does(
    layer: Layer, rows: list[int], columns: list[int]
) -> None:
    mask = mask_of(rows, columns)
    row_mask, column_mask = torch.zeros(ROWS, dtype=torch.bool), torch.zeros(COLUMNS, dtype=torch.bool)
    row_mask[rows], column_mask[columns] = True, True
    updated = remove_rows_and_columns(layer.weight, layer.outputs, layer.inputs, row_mask, column_mask)
    cost, expected = dense(layer, mask)
    assert torch.allclose(updated, expected, atol=1e-9)
    assert rise(layer, updated) == pytest.approx(cost, rel=1e-8, abs=1e-12)
    assert not updated[mask].any()


def test_many_single_weights_are_removed_jointly_as_the_dense_solution_does(layer: Layer) -> None:
    removed = torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(9)) < 0.4
    updated = remove_elements(layer.weight, layer.outputs, layer.inputs, removed)
    cost, expected = dense(layer, removed)
    assert torch.allclose(updated, expected, atol=1e-9)
    assert rise(layer, updated) == pytest.approx(cost, rel=1e-8)
    assert not updated[removed].any()


def test_groups_of_rows_follow_each_other_on_updated_weights(layer: Layer) -> None:
    removed = torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(9)) < 0.4
    expected = layer.weight
    for row in range(ROWS):
        one = torch.zeros_like(removed)
        one[row] = removed[row]
        expected = dense(layer._replace(weight=expected), one)[1]
    grouped = remove_elements(layer.weight, layer.outputs, layer.inputs, removed, joint=1)
    assert torch.allclose(grouped, expected.masked_fill(removed, 0.0), atol=1e-9)
    plain = layer.weight.masked_fill(removed, 0.0)
    assert dense(layer, removed)[0] < rise(layer, grouped) < rise(layer, plain)


def test_groups_hold_whole_rows_up_to_the_limit() -> None:
    def bounds(counts: list[int], limit: int) -> list[tuple[int, int]]:
        return [(rows.start, rows.stop) for rows in row_groups(counts, limit)]

    assert bounds([3, 3, 3, 3], 6) == [(0, 2), (2, 4)]
    assert bounds([0, 9, 0, 2], 4) == [(0, 2), (2, 4)]
    assert bounds([1, 1, 1], 0) == [(0, 3)]
    assert bounds([0, 0], 3) == []


def test_damping_adds_a_share_of_the_mean_diagonal_and_keeps_zero_invertible() -> None:
    factor = torch.diag(torch.tensor([1.0, 3.0]))
    assert torch.allclose(damped(factor, 0.5), torch.diag(torch.tensor([2.0, 4.0], dtype=torch.float64)))
    nothing = curvature_left(damped(torch.zeros(3, 3), 0.01))
    assert bool((nothing > 0).all())
    assert float(nothing.max()) < 1e-20


def test_curvature_that_is_singular_is_refused() -> None:
    with pytest.raises(ModelError, match="raise damping"):
        curvature_left(torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
