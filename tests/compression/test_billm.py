from __future__ import annotations

from typing import Any

import pytest
import torch

from steelyard.compression.billm import (
    average_bits,
    billm,
    binarised,
    binarised_block,
    break_point,
    plainly_binarised,
    residual_sign_mean,
    salient_columns,
    sign_mean,
)
from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layerwise import LayerRecord, layer_log
from steelyard.errors import InputError


def bell(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def correlated(width: int, rows: int = 400, seed: int = 1) -> Hessian:
    inputs = bell(rows, width, seed) @ bell(width, width, seed + 1) + 0.3 * bell(rows, width, seed + 2)
    hessian = Hessian(width)
    hessian.add(inputs)
    return hessian


def squared(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).double().square().sum())


def test_no_scale_is_better_than_the_mean_and_there_are_two_values() -> None:
    weight = bell(4, 33)
    group = bell(4, 33, seed=9) > -0.5
    found = sign_mean(weight, group)
    best = squared(found, weight * group)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert squared(found * factor, weight * group) > best
    for row, inside in zip(found, group, strict=True):
        assert len(row[inside].abs().unique()) == 1
        assert not row[~inside].any()


@pytest.mark.parametrize("seed", range(5))
def test_the_second_pass_never_adds_to_the_error(seed: int) -> None:
    weight, group = bell(6, 40, seed), bell(6, 40, seed + 50) > 0
    once, twice = sign_mean(weight, group), residual_sign_mean(weight, group)
    assert squared(twice, weight * group) <= squared(once, weight * group)
    assert all(len(row[inside].unique()) <= 4 for row, inside in zip(twice, group, strict=True))


def test_the_break_point_is_the_best_of_the_grid() -> None:
    weight = bell(8, 50) * torch.linspace(0.5, 2, 8)[:, None]
    magnitudes = weight.abs().flatten().sort().values
    levels = torch.linspace(0.1, 0.9, 81, dtype=torch.float64)
    grid = magnitudes[(levels * (len(magnitudes) - 1)).round().long()]

    def error(point: torch.Tensor) -> float:
        far = weight.abs() > point
        return squared(sign_mean(weight, far) + sign_mean(weight, ~far), weight)

    found = break_point(weight)
    assert found in grid
    assert error(found) == pytest.approx(min(error(point) for point in grid), rel=1e-6)
    whole = torch.ones_like(weight, dtype=torch.bool)
    assert error(found) < squared(sign_mean(weight, whole), weight)


def test_the_count_of_salient_columns_is_the_best_of_all() -> None:
    weight, diagonal = bell(8, 40), torch.rand(40, generator=torch.Generator().manual_seed(3)) + 0.5
    weight[:, [4, 17, 30]] *= 6
    ranked = torch.argsort((weight**2 / diagonal**2).sum(0), descending=True)

    def error(count: int) -> float:
        columns = torch.zeros(40, dtype=torch.bool)
        columns[ranked[:count]] = True
        first = columns.expand_as(weight)
        return squared(sign_mean(weight, first) + sign_mean(weight, ~first), weight)

    found = salient_columns(weight, diagonal, 20)
    best = min(range(1, 21), key=error)
    assert int(found.sum()) == best
    assert set(found.nonzero().flatten().tolist()) == set(ranked[:best].tolist())
    assert found[[4, 17, 30]].all()


def test_columns_are_ranked_by_what_their_removal_would_cost() -> None:
    weight, diagonal = torch.ones(2, 3), torch.tensor([1.0, 0.1, 1.0])
    assert salient_columns(weight, diagonal, 1).tolist() == [False, True, False]


@pytest.mark.parametrize("width", [1, 2, 70])
def test_rows_of_a_block_have_the_expected_values(width: int) -> None:
    weight = bell(5, width)
    found = binarised(weight, correlated(width).inverse_factor(), block=32, salient=8)
    assert torch.isfinite(found.weight).all()
    for start in range(0, width, 32):
        piece, columns = found.weight[:, start : start + 32], found.salient[start : start + 32]
        far = found.far[:, start : start + 32]
        assert columns.sum() <= 8
        for row in range(5):
            assert len(piece[row, columns].unique()) <= 4
            assert len(piece[row, ~columns & far[row]].abs().unique()) <= 1
            assert len(piece[row, ~columns & ~far[row]].abs().unique()) <= 1


def test_later_columns_make_up_for_the_error_as_the_algorithm_says() -> None:
    """The loop of the paper's algorithm 1, column by column in float64."""
    width, block = 48, 16
    weight, hessian = bell(6, width).double(), correlated(width)
    h = hessian.matrix().double()
    h = h + 0.01 * h.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    factor = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    rest, done = weight.clone(), torch.zeros_like(weight)
    for start in range(0, width, block):
        stop = start + block
        done[:, start:stop] = binarised_block(rest[:, start:stop], factor.diagonal()[start:stop], 8).weight
        for column in range(start, stop):
            error = (rest[:, column] - done[:, column]) / factor[column, column]
            rest[:, stop:] -= error[:, None] * factor[column, stop:]
    found = binarised(weight, factor, block=block, salient=8)
    assert torch.allclose(found.weight, done, atol=1e-9)


def test_exact_compensation_is_the_best_there_is() -> None:
    """With the first block settled, least squares on the inputs says what the later columns should be."""
    weight, hessian = bell(6, 32).double(), correlated(32)
    h = hessian.matrix().double()
    factor = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    settled = binarised_block(weight[:, :16], factor.diagonal()[:16], 4)
    lost = weight[:, :16] - settled.weight
    best = weight[:, 16:] + lost @ h[:16, 16:] @ torch.linalg.inv(h[16:, 16:])
    found = binarised(weight, factor, block=16, salient=4, exact=True)
    assert torch.allclose(found.weight[:, :16], settled.weight)
    assert torch.allclose(found.weight[:, 16:], binarised_block(best, factor.diagonal()[16:], 4).weight, atol=1e-6)


def test_it_gets_outputs_less_wrong_than_sign_times_mean() -> None:
    weight, hessian = bell(24, 96), correlated(96)
    found = binarised(weight, hessian.inverse_factor(), block=32, salient=10)
    plain = plainly_binarised(weight, 32)
    assert hessian.error(weight, found.weight) < 0.7 * hessian.error(weight, plain.weight)
    assert not plain.salient.any()


def test_bits_are_counted_as_in_the_paper() -> None:
    figures = [{"weights": 100.0, "salient": 0.0}, {"weights": 300.0, "salient": 0.12}]
    log = [LayerRecord("x", 0, "q", 1, 0.0, 0.0, each) for each in figures]
    assert average_bits(log) == (pytest.approx(1.09), 1 + 1 / 128, 0.5)


def test_a_model_is_binarised_block_by_block(tiny: Any, texts: list[str]) -> None:
    result = billm(tiny, texts, block=16, salient=3, tokens=96, window=32)
    log = layer_log(result.card.parts[-1])
    assert len(log) == 6 * 7
    assert all(record.figures["salient"] <= 3 / 16 for record in log)
    assert 1 < average_bits(log, 16).weight < 1.2
    weight = result.module.get_submodule("model.layers.2.mlp.down_proj").weight
    assert all(len(row.unique()) <= 8 for piece in weight.split(16, dim=1) for row in piece)
    untouched = tiny.module.get_submodule("model.layers.2.mlp.down_proj").weight
    assert len(untouched[0].unique()) > 8
    with pytest.raises(InputError):
        billm(tiny, [" "])
