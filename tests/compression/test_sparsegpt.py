from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard import parts
from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layer_matrices import matrices_of
from steelyard.compression.magnitude import prune_smallest
from steelyard.compression.sparsegpt import BLOCK, prune, prune_columns, row_grid, sparsegpt
from steelyard.compression.sparsity_patterns import Sparsity, lowest, sparsity_of
from steelyard.errors import UsageError

SETTINGS: dict[str, Any] = {"tokens": 128, "window": 32}
HALF = Sparsity(0.5)
TWO_OF_FOUR = Sparsity(0.5, 2, 4)


def layer(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, Hessian]:
    """A matrix and correlated inputs of unequal strength, in float64."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=draw, dtype=torch.float64)
    inputs = torch.randn(4 * columns, columns, generator=draw, dtype=torch.float64) @ mix
    hessian = Hessian(columns, torch.float64)
    for batch in inputs.split(columns):
        hessian.add(batch)
    return torch.randn(rows, columns, generator=draw, dtype=torch.float64), hessian


def column_by_column(
    weight: torch.Tensor, hessian: torch.Tensor, sparsity: Sparsity, damping: float, bits: int | None = None
) -> torch.Tensor:
    """Optimal brain surgeon, one column after another, with the inverse of what is left of H at each.

    Independent of the part: no Cholesky factor, no blocks of updates; H is inverted and columns are eliminated.
    """
    w = weight.clone()
    h = hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=hessian.dtype)
    inverses = [torch.linalg.inv(h[j:, j:]) for j in range(len(h))]  # of the columns from j on
    price = torch.stack([inverse[0, 0] for inverse in inverses])
    mask = torch.zeros_like(w, dtype=torch.bool)
    low, high = weight.amin(1).clamp(max=0), weight.amax(1).clamp(min=0)
    scale = (high - low) / (2**bits - 1) if bits else None
    for j in range(w.shape[1]):
        if sparsity.of is None and j % BLOCK == 0:
            scores = w[:, j : j + BLOCK] ** 2 / price[j : j + BLOCK]
            order = scores.flatten().argsort()[: round(sparsity.share * scores.numel())]
            chosen = torch.zeros(scores.numel(), dtype=torch.bool)
            chosen[order] = True
            mask[:, j : j + BLOCK] = chosen.view(scores.shape)
        if sparsity.of is not None and j % sparsity.of == 0:
            scores = w[:, j : j + sparsity.of] ** 2 / price[j : j + sparsity.of]
            for row in range(len(w)):
                mask[row, j + scores[row].argsort()[: sparsity.zeros]] = True
        new = torch.where(mask[:, j], 0.0, w[:, j])
        if scale is not None:
            zero = torch.round(-low / scale)
            new = (torch.clamp(torch.round(new / scale) + zero, 0, 2**bits - 1) - zero) * scale  # type: ignore[operator]
        error = (w[:, j] - new) / inverses[j][0, 0]
        w[:, j:] -= error[:, None] * inverses[j][0]
        w[:, j] = new
    return w


@pytest.mark.parametrize(
    ("columns", "sparsity", "bits"),
    [
        (40, HALF, None),
        (2 * BLOCK + 24, Sparsity(0.3), None),
        (144, TWO_OF_FOUR, None),
        (64, Sparsity(0.5, 4, 8), None),
        (66, Sparsity(1 / 3, 1, 3), None),
        (64, HALF, 4),
        (48, TWO_OF_FOUR, 3),
    ],
)
def test_it_is_the_column_recursion(columns: int, sparsity: Sparsity, bits: int | None) -> None:
    weight, hessian = layer(12, columns)
    expected = column_by_column(weight, hessian.matrix(), sparsity, 0.01, bits)
    found = prune(weight, hessian, sparsity, bits=bits, damping=0.01).weight
    assert torch.equal(found == 0, expected == 0)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


def test_float32_prunes_nearly_the_same_weights() -> None:
    weight, hessian = layer(32, 96)
    single = Hessian(96)
    single.add(torch.linalg.cholesky(hessian.matrix()).t() * 96**0.5)
    exact, found = prune(weight, hessian, HALF).weight, prune(weight.float(), single, HALF).weight
    assert ((exact == 0) != (found == 0)).double().mean() < 0.01


def test_isotropic_inputs_leave_magnitude_pruning_in_blocks() -> None:
    weight = layer(8, BLOCK + 32)[0]
    blind = Hessian(weight.shape[1], torch.float64)
    blocks = [prune_smallest(block, HALF) for block in weight.split(BLOCK, dim=1)]
    assert torch.equal(prune(weight, blind, HALF).weight, torch.cat(blocks, dim=1))
    assert torch.equal(prune(weight, blind, TWO_OF_FOUR).weight, prune_smallest(weight, TWO_OF_FOUR))


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 9),
    groups=st.integers(1, 40),
    of=st.integers(2, 12),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_exactly_n_of_every_m_are_zero(rows: int, groups: int, of: int, seed: int, data: st.DataObject) -> None:
    zeros = data.draw(st.integers(1, of - 1))
    weight, hessian = layer(rows, groups * of, seed)
    found = prune(weight, hessian, Sparsity(zeros / of, zeros, of)).weight
    assert ((found == 0).view(rows, groups, of).sum(-1) == zeros).all()


def test_exactly_the_share_of_each_block_is_zero() -> None:
    weight, hessian = layer(10, BLOCK + 32)
    zero = prune(weight, hessian, Sparsity(0.7)).weight == 0
    assert (int(zero[:, :BLOCK].sum()), int(zero[:, BLOCK:].sum())) == (7 * BLOCK, 7 * 32)


def test_outputs_are_better_kept_than_by_magnitude() -> None:
    weight, hessian = layer(24, 96)
    for sparsity in (HALF, TWO_OF_FOUR):
        ours = hessian.error(weight, prune(weight, hessian, sparsity).weight)
        assert ours < hessian.error(weight, prune_smallest(weight, sparsity))


def test_what_weighs_on_dead_inputs_goes_for_nothing() -> None:
    weight, hessian = layer(6, 32)
    inputs = torch.randn(90, 32, dtype=torch.float64)
    inputs[:, 5] = 0
    hessian = Hessian(32, torch.float64)
    hessian.add(inputs)
    assert (prune(weight, hessian, HALF).weight[:, 5] == 0).all()
    assert (
        prune(weight, Hessian(32, torch.float64), Sparsity(0.01)).weight[:, 5] != 0
    ).any()  # nothing seen: none dead


def test_surviving_weights_lie_on_the_grid_of_their_row() -> None:
    weight, hessian = layer(5, 32)
    found = prune(weight, hessian, HALF, bits=2).weight
    assert all(len(row.unique()) <= 4 for row in found)
    grid = row_grid(weight, 2)
    assert torch.equal(torch.stack([grid.round(c) for c in found.t()]).t(), found)


def test_the_matrix_given_is_left_alone() -> None:
    weight, hessian = layer(6, 32)
    before = weight.clone()
    prune_columns(weight, hessian.inverse_factor(), HALF)
    assert torch.equal(weight, before)


@pytest.mark.parametrize(
    ("share", "pattern", "message"),
    [
        (1.5, None, "between 0 and 1"),
        (0.0, None, "between 0 and 1"),
        (0.3, "2:4", "makes 0.5 of the weights zero, not 0.3"),
        (None, "4:2", "0 < n < m"),
        (None, "half", "0 < n < m"),
    ],
)
def test_contradictions_are_refused(share: float | None, pattern: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        sparsity_of("sparsegpt", share, pattern)


def test_a_pattern_survives_the_command_line() -> None:
    _, given_settings = parts.parse_use("sparsegpt:sparsity=0.5,pattern=2:4")
    assert parts.validate(sparsegpt, given_settings) == {"sparsity": 0.5, "pattern": "2:4"}
    assert parts.validate(sparsegpt, {"pattern": "4:8"}) == {"pattern": "4:8"}
    with pytest.raises(UsageError, match="0 < n < m"):
        parts.validate(sparsegpt, {"pattern": "4:4"})


def test_a_pattern_must_divide_every_width(tiny: Any, texts: list[str]) -> None:
    with pytest.raises(
        UsageError, match=r"1:3 does not divide the width 32 of model\.layers\.0\.self_attn\.q_proj"
    ):
        sparsegpt(tiny, texts, pattern="1:3", **SETTINGS)


def test_every_matrix_of_a_model_is_pruned_and_says_so(tiny: Any, texts: list[str]) -> None:
    result = sparsegpt(tiny, texts, pattern="2:4", skip=("down",), **SETTINGS)
    for block in matrices_of(result, result.module):
        for matrix in block:
            groups = (matrix.read() == 0).reshape(-1, 4).sum(-1)
            assert bool((groups == 2).all()) == (matrix.role != "down"), matrix.name
    recorded = result.card.parts[-1].settings
    assert {"pattern": "2:4", "sparsity": 0.5, "skip": ["down"]}.items() <= recorded.items()


def test_lowest_counts_ties_once() -> None:
    assert int(lowest(torch.ones(3, 5), 0.4).sum()) == 6
