from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import ModelError
from steelyard.models import grouped_kernels
from steelyard.models.grouped_kernels import (
    bag_product,
    bag_rows,
    can_bag,
    float_product,
    group_ranges,
    levels,
    pack_table,
    quantize_groups,
    table_bytes,
    unpack_table,
    unpack_weight,
)

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 80), st.sampled_from([4, 8]))


def random_matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Rows of very different size, with one large weight."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    weight *= 10.0 ** torch.randint(-8, 4, (rows, 1), generator=generator)
    weight[0, columns // 2] *= 50
    return weight


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(0, 2**16))
def test_the_error_of_a_weight_is_at_most_half_its_scale(size: tuple[int, int, int, int], seed: int) -> None:
    rows, columns, group, bits = size
    weight = random_matrix(rows, columns, seed)
    integers, scale = quantize_groups(weight, group, bits)
    assert scale.dtype == torch.float16
    assert int(integers.abs().max()) <= levels(bits)
    steps = scale.double().repeat_interleave(min(group, columns), dim=0)[:columns].t()
    assert bool(((integers * steps - weight.double()).abs() <= 0.5 * steps * (1 + 1e-6)).all())


def test_scales_are_the_largest_over_the_levels() -> None:
    weight = torch.randn(5, 24)
    _, scale = quantize_groups(weight, 8, 4)
    expected = weight.abs().view(5, 3, 8).amax(-1) / 7
    assert torch.allclose(scale.t().float(), expected, rtol=2**-10)
    assert torch.equal(group_ranges(weight, 7)[:, -1], weight[:, 21:].abs().amax(1))


def test_zeros_and_minute_weights_have_a_scale() -> None:
    weight = torch.tensor([[0.0, 0.0], [1e-12, -1e-12], [3.3e-7, -3.3e-7]])
    integers, scale = quantize_groups(weight, 2, 4)
    assert bool((scale > 0).all())
    assert integers[:2].abs().sum() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e6])
def test_weights_without_a_scale_are_refused(bad: float) -> None:
    with pytest.raises(ModelError, match="not finite or exceed"):
        quantize_groups(torch.tensor([[1.0, bad]]), 2, 4)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(0, 2**16))
def test_packing_is_undone_by_unpacking(size: tuple[int, int, int, int], seed: int) -> None:
    rows, columns, group, bits = size
    integers, scale = quantize_groups(random_matrix(rows, columns, seed), group, bits)
    table = pack_table(integers, bits)
    assert torch.equal(unpack_table(table, rows, bits), integers)
    held = table.numel() + scale.numel() * scale.element_size()
    assert held == table_bytes(rows, columns, min(group, columns), bits)
    exact = integers.double() * scale.double().repeat_interleave(min(group, columns), dim=0)[:columns].t()
    assert torch.equal(unpack_weight(table, scale, min(group, columns), bits).double(), exact)


def test_the_layout_is_the_documented_one() -> None:
    four = pack_table(torch.tensor([[-7], [7], [0]], dtype=torch.int8), 4)
    assert four[0, :2].tolist() == [1 | 15 << 4, 8]
    assert four[0, 2:].view(torch.float16).tolist() == [1.0, -8.0]
    eight = pack_table(torch.tensor([[-127], [127]], dtype=torch.int8), 8)
    assert eight[0, :2].tolist() == [1, 255]
    assert eight[0, 2:].clone().view(torch.float32).tolist() == [1.0, -128.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), SIZES, st.integers(0, 2**16))
def test_both_kernels_compute_one_function(m: int, size: tuple[int, int, int, int], seed: int) -> None:
    outputs, columns, group, bits = size
    group = min(group, columns)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, columns, generator=generator)
    rows = torch.randn(m, columns, generator=generator)
    rows[:, 0] *= 300  # one large activation, as language models have them
    integers, scale = quantize_groups(weight, group, bits)
    table = pack_table(integers, bits)
    dense = unpack_weight(table, scale, group, bits).double()
    exact = rows.double() @ dense.t()
    # sums are taken of unsigned numbers, up to twice as large as the levels
    step = scale.double().amax(0) * 2 ** (bits + 1)
    bound = 2e-6 * rows.double().abs().sum(1, keepdim=True) * step
    products = [float_product(rows, table, scale, group, bits)]
    if can_bag():
        products.append(bag_product(rows, table, scale, group, bits))
    for product in products:
        assert product.shape == (m, outputs)
        assert bool(((product - exact).abs() <= bound).all())


@pytest.mark.parametrize("group", [8, 30, 64])
@pytest.mark.parametrize("bits", [4, 8])
def test_tables_larger_than_a_block_are_taken_in_pieces(
    monkeypatch: pytest.MonkeyPatch, group: int, bits: int
) -> None:
    monkeypatch.setattr(grouped_kernels, "BLOCK_ELEMENTS", 200)
    weight, rows = torch.randn(19, 64), torch.randn(5, 64)
    integers, scale = quantize_groups(weight, group, bits)
    table = pack_table(integers, bits)
    expected = rows @ unpack_weight(table, scale, group, bits).t()
    assert torch.allclose(float_product(rows, table, scale, group, bits), expected, atol=1e-4)


def test_the_choice_is_zero_where_the_kernel_is_not() -> None:
    assert bag_rows("cuda", 4) == 0
    assert bag_rows("cpu", 4) >= 0
