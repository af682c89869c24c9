"""Weights of 4 or 8 bits scaled in groups along the inputs: how they are rounded, packed and multiplied with.

A matrix (out, in) is cut along its inputs into groups of ``group`` columns (the last may be shorter), and each
row of a group has one half-precision scale: ``w[o, i] ~ scale[i // group, o] * q[o, i]``, |q| <= 7 or 127 being
whole. Their table holds one input a row, which is the layout torch's embedding bags read:

    row i = q[0, i], q[1, i], ... as unsigned numbers, and numbers with which to read them

Outputs that take more than some bytes a row are divided into blocks of equal size (the last may be filled up),
each a table of its own: rows that follow each other closely are read from memory several times faster.

With 4 bits, byte j holds q[2j, i] + 8 in its lower and q[2j + 1, i] + 8 in its upper half, followed by 1
in single precision and 1 and -8 in half precision; with 8 bits, byte j holds q[j, i] + 128, followed by 1 and -128
in single precision.

Three kernels compute ``rows @ w.T`` and agree to float rounding, so that the choice between them, by timing, bears
on speed alone:

- ``bag`` sums table rows weighted by activations, a bag for each group, and scales the sums. Numbers are unpacked
  in registers, so a weight costs half a byte of memory traffic: for single rows, on x86. With 4 bits it uses one
  thread.
- ``halves`` does the same for 4 bits by bags of bytes, of the lower and the upper halves in turn: on all threads.
- ``float`` unpacks a block of the table at a time into a buffer that stays near the processor and multiplies in
  floating point. It runs anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from typing import NamedTuple, TypeAlias

import torch
from torch import nn

from steelyard.errors import ModelError

Product: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int, int], torch.Tensor]
"""A kernel: rows, table, scale, group and bits to the product."""

BITS = (4, 8)
TAIL = 8
"""Bytes of the numbers behind a table row."""
ROW_BYTES = 192
"""Packed outputs in a table row: bags of longer rows wait for memory, those of much shorter ones for indices."""
SMALLEST = 2.0**-24
"""The smallest positive half-precision number: no scale is less."""
BLOCK_ELEMENTS = 2**18
"""Weights unpacked at a time (1 MiB of float32, which stays near the processor)."""
LEAST_BAGS = 4
TIMED_SHAPE = (1024, 1024)
TIMED_LAYERS = 16
"""Layers that take turns when kernels are timed, so that the next weights are in no cache."""
TIMED_GROUP = 64
TIMED_ROUNDS = 5


class Grouped(NamedTuple):
    """A rounded matrix: int8 ``integers`` (out, in) and float16 ``scale`` (groups, out)."""

    integers: torch.Tensor
    scale: torch.Tensor


# ---------------------------------------------------------------------------------------------- rounding


def levels(bits: int) -> int:
    """The largest magnitude of a rounded weight, 7 or 127: the range is symmetric, its lowest number unused."""
    return (1 << (bits - 1)) - 1


def quantize_groups(weight: torch.Tensor, group: int, bits: int) -> Grouped:
    """Round a matrix to nearest in groups along its inputs, with symmetric scales in half precision.

    ``scale = max |w| / levels`` over a row of a group, rounded to half precision, and upwards where rounding it
    down would clip the largest weight; so the error of a weight is at most half its scale.

    Args:
        weight: float tensor (out, in).
        group: columns that share a scale; more than there are means all.
        bits: 4 or 8.

    Raises:
        ModelError: weights that are not finite, or too large for a half-precision scale.

    >>> integers, scale = quantize_groups(torch.tensor([[7.0, -2.2, 0.5, 0.25]]), 2, 4)
    >>> integers.tolist(), scale.T.tolist()
    ([[7, -2, 7, 4]], [[1.0, 0.0714111328125]])
    """
    columns = weight.shape[1]
    group = min(group, columns)
    values = weight.detach().float()
    most = group_ranges(values, group) / levels(bits)
    scale = most.half()
    if not bool(scale.isfinite().all()):
        raise ModelError("weights that are not finite or exceed what a half-precision scale can hold")
    clipped = scale.float() * (levels(bits) + 0.49) < most * levels(bits)
    # next number up: the bits of positive floats count up with them
    scale = torch.where(clipped, (scale.view(torch.int16) + 1).view(torch.float16), scale).clamp_min(SMALLEST)
    steps = scale.float().repeat_interleave(group, dim=1)[:, :columns]
    return Grouped((values / steps).round_().to(torch.int8), scale.t().contiguous())


def group_ranges(weight: torch.Tensor, group: int) -> torch.Tensor:
    """The largest magnitude of each row in each group of ``group`` columns: (out, in) to (out, groups).

    >>> group_ranges(torch.tensor([[1.0, -4.0, 2.0]]), 2)
    tensor([[4., 2.]])
    """
    missing = -weight.shape[1] % group
    padded = nn.functional.pad(weight.abs(), (0, missing)) if missing else weight.abs()
    return padded.view(len(weight), -1, group).amax(-1)


# ----------------------------------------------------------------------------------------------- packing


class TableShape(NamedTuple):
    """``blocks`` of outputs, each with a row of ``width`` bytes for each of ``columns`` inputs."""

    blocks: int
    columns: int
    width: int

    def outputs(self, bits: int) -> int:
        """Outputs of a block, the last of which may be made up."""
        return (self.width - TAIL) * 8 // bits


def table_shape(rows: int, columns: int, bits: int) -> TableShape:
    """The shape of the table of a matrix (rows, columns): as few blocks as rows of up to :data:`ROW_BYTES` make.

    >>> table_shape(576, 576, 4), table_shape(1536, 576, 8)
    (TableShape(blocks=2, columns=576, width=152), TableShape(blocks=8, columns=576, width=200))
    """
    packed = -(-rows * bits // 8)
    blocks = -(-packed // ROW_BYTES)
    return TableShape(blocks, columns, -(-packed // blocks) + TAIL)


def table_bytes(rows: int, columns: int, group: int, bits: int) -> int:
    """Bytes of a packed matrix (rows, columns) with its scales.

    >>> table_bytes(1536, 576, 64, 4) * 8 / (1536 * 576)  # 4 bits, 16 / group and 64 / outputs of a block
    4.416666666666667
    """
    shape = table_shape(rows, columns, bits)
    return shape.blocks * columns * shape.width + 2 * rows * -(-columns // group)


def pack_table(integers: torch.Tensor, bits: int) -> torch.Tensor:
    """The table of int8 ``integers`` (out, in): uint8 of :func:`table_shape`, as the module describes it."""
    rows, columns = integers.shape
    shape = table_shape(rows, columns, bits)
    outputs = shape.outputs(bits)
    padded = nn.functional.pad(integers, (0, 0, 0, shape.blocks * outputs - rows))
    numbers = padded.view(shape.blocks, outputs, columns).transpose(1, 2)
    if bits == 4:
        halves = (numbers + 8).view(torch.uint8)
        packed = halves[..., 0::2] | (halves[..., 1::2] << 4)
        reading = torch.cat([torch.ones(1).view(torch.uint8), torch.tensor([1.0, -8.0]).half().view(torch.uint8)])
    else:
        packed = numbers.contiguous().view(torch.uint8) ^ 128
        reading = torch.tensor([1.0, -128.0]).view(torch.uint8)
    tail = reading.to(packed.device).expand(shape.blocks, columns, -1)
    return torch.cat([packed, tail], dim=-1)


def unpack_table(table: torch.Tensor, rows: int, bits: int) -> torch.Tensor:
    """The int8 integers (out, in) of a table; the inverse of :func:`pack_table`."""
    packed = table[..., :-TAIL]
    places = [packed] if bits == 8 else [packed & 15, packed >> 4]
    numbers = torch.stack(places, -1).flatten(-2).short().sub(_middle(bits)).to(torch.int8)
    return numbers.transpose(1, 2).reshape(-1, table.shape[1])[:rows]


def unpack_weight(table: torch.Tensor, scale: torch.Tensor, group: int, bits: int) -> torch.Tensor:
    """The matrix a table stands for: float32 (out, in), exactly, as an integer times a scale has 18 bits."""
    steps = scale.float().repeat_interleave(group, dim=0)[: table.shape[1]]
    return unpack_table(table, scale.shape[1], bits).float() * steps.t()


def _middle(bits: int) -> int:
    return 1 << (bits - 1)


# ---------------------------------------------------------------------------------------------- products


def float_product(
    rows: torch.Tensor, table: torch.Tensor, scale: torch.Tensor, group: int, bits: int
) -> torch.Tensor:
    """``rows @ w.T`` for floats (m, in), unpacking a part of the table at a time: (m, out)."""
    outputs = (table.shape[2] - TAIL) * 8 // bits
    floats = scale.to(rows.dtype)
    scales = [floats[:, first : first + outputs] for first in range(0, scale.shape[1], outputs)]
    return torch.cat(
        [_block_product(rows, block, of, group, bits) for block, of in zip(table, scales, strict=True)], dim=1
    )


def _block_product(
    rows: torch.Tensor, table: torch.Tensor, scale: torch.Tensor, group: int, bits: int
) -> torch.Tensor:
    """The product with one block of outputs (in, width), whose scales are (groups, outputs)."""
    columns, outputs = len(table), scale.shape[1]
    every = 2 if bits == 4 else 1
    scales = [scale[:, place::every] for place in range(every)]
    sums = [rows.new_zeros(len(rows), part.shape[1]) for part in scales]
    for start, stop in _pieces(columns, group, max(1, BLOCK_ELEMENTS * every // outputs)):
        numbers = table[start:stop, :-TAIL]
        places = [numbers & 15, numbers >> 4] if bits == 4 else [numbers]
        of = slice(start // group, -(-stop // group))
        for part, packed, total in zip(scales, places, sums, strict=True):
            if not part.shape[1]:  # no odd outputs
                continue
            block = packed[:, : part.shape[1]].to(rows.dtype).sub_(_middle(bits))
            block.view(of.stop - of.start, -1, part.shape[1]).mul_(part[of].unsqueeze(1))
            total.addmm_(rows[:, start:stop], block)
    return sums[0] if every == 1 else _interleaved(sums, outputs)


def _interleaved(halves: list[torch.Tensor], outputs: int) -> torch.Tensor:
    """Columns of two tensors in turns: those of even and of odd outputs."""
    even, odd = halves
    odd = nn.functional.pad(odd, (0, even.shape[1] - odd.shape[1]))
    return torch.stack((even, odd), -1).flatten(-2)[:, :outputs]


def _pieces(columns: int, group: int, most: int) -> Iterator[tuple[int, int]]:
    """Runs of up to about ``most`` columns that hold whole groups, or lie within one.

    >>> list(_pieces(10, 4, 9)), list(_pieces(6, 6, 4))
    ([(0, 8), (8, 10)], [(0, 4), (4, 6)])
    """
    if group <= most:
        step = most - most % group
        whole = columns - columns % group
        yield from ((start, min(start + step, whole)) for start in range(0, whole, step))
        if whole < columns:
            yield whole, columns
        return
    for first in range(0, columns, group):
        last = min(first + group, columns)
        yield from ((start, min(start + most, last)) for start in range(first, last, most))


def bag_product(
    rows: torch.Tensor, table: torch.Tensor, scale: torch.Tensor, group: int, bits: int
) -> torch.Tensor:
    """``rows @ w.T`` for float32 (m, in) by torch's quantized embedding bags: float32 (m, out)."""
    bags = _bags(rows, table.shape[0], group)
    if bits == 4:
        sums = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(
            table.flatten(0, 1), bags.indices, bags.offsets, False, 0, False, bags.weights, None, False
        )[:, : -2 * (TAIL - 4)]
    else:
        sums = _byte_bags(table, bags)
    return _scaled(sums.reshape(rows.shape[0], table.shape[0], bags.number, sums.shape[1]), scale)


def halves_product(
    rows: torch.Tensor, table: torch.Tensor, scale: torch.Tensor, group: int, bits: int
) -> torch.Tensor:
    """As :func:`bag_product` for 4 bits: bags of bytes, once with the lower and once with the upper halves alone.

    Halves are read as unsigned numbers, upper ones 16 times too large, and put right in the sums.
    """
    bags = _bags(rows, table.shape[0], group)
    lower, upper = (_byte_bags(table & mask, bags) for mask in _masks(table.shape[2]))
    sums = torch.stack((lower, upper.mul_(1 / 16)), -1).flatten(-2)
    missing = bags.number * bags.size - table.shape[1]
    padded = nn.functional.pad(rows, (0, missing)) if missing else rows
    middle = padded.reshape(rows.shape[0], 1, bags.number, bags.size).sum(-1, keepdim=True).mul_(_middle(4))
    return _scaled(sums.view(rows.shape[0], table.shape[0], bags.number, sums.shape[1]).sub_(middle), scale)


class _Bags(NamedTuple):
    """``number`` bags of ``size`` table rows for each row of activations and block, for embedding bags."""

    indices: torch.Tensor
    offsets: torch.Tensor | None
    weights: torch.Tensor
    number: int
    size: int


def _bags(rows: torch.Tensor, blocks: int, group: int) -> _Bags:
    """The bags of some rows of activations: one for each group, but several where there is one group only.

    Sizes that depend on the number of rows, if there are two or more, are computed by operations, so that what is
    recorded with two rows is right for any number.
    """
    count, columns = rows.shape[0], rows.shape[1]
    # threads divide bags among them
    size = columns // LEAST_BAGS if group >= columns and columns % LEAST_BAGS == 0 else min(group, columns)
    bags = -(-columns // size)
    weights = rows.unsqueeze(1).expand(-1, blocks, -1).reshape(-1).contiguous()
    indices = _counted(blocks * columns)
    if columns % size == 0:
        indices = indices.view(blocks * bags, size)
        return _Bags(indices if count == 1 else indices.repeat(count, 1), None, weights, bags, size)
    starts = (torch.arange(count * blocks) * columns).unsqueeze(1) + torch.arange(0, columns, size)
    return _Bags(indices.repeat(count), starts.reshape(-1), weights, bags, size)


def _byte_bags(table: torch.Tensor, bags: _Bags) -> torch.Tensor:
    sums: torch.Tensor = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
        table.flatten(0, 1), bags.indices, bags.offsets, False, 0, False, bags.weights, None, False
    )
    return sums


def _scaled(sums: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Sums (m, blocks, bags, outputs of a block) to products (m, out)."""
    blocks, outputs = sums.shape[1], sums.shape[3]
    missing = blocks * outputs - scale.shape[1]
    padded = nn.functional.pad(scale, (0, missing)) if missing else scale
    steps = padded.view(-1, blocks, outputs).transpose(0, 1)
    product = sums.sum(2).mul_(steps[:, 0]) if len(scale) == 1 else sums.mul_(steps).sum(2)
    return product.flatten(1)[:, : scale.shape[1]]


@cache
def _counted(columns: int) -> torch.Tensor:
    return torch.arange(columns)


@cache
def _masks(width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What keeps the lower, or upper, halves of a table row, and of the numbers behind them the factor 1."""
    lower, upper = (torch.full((width,), half, dtype=torch.uint8) for half in (0x0F, 0xF0))
    for mask in (lower, upper):
        mask[-TAIL:-4] = 255
        mask[-4:] = 0
    return lower, upper


@cache
def is_right(product: Product, bits: int) -> bool:
    """Whether a kernel of embedding bags is there on this CPU, and right."""
    rows = torch.linspace(-3.0, 5.0, 2 * 70).view(2, 70)
    weight = torch.linspace(-1.0, 1.0, 21 * 70).view(21, 70).sin()
    integers, scale = quantize_groups(weight, 32, bits)
    table = pack_table(integers, bits)
    try:
        found = product(rows, table, scale, 32, bits)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    exact = rows.double() @ unpack_weight(table, scale, 32, bits).double().t()
    return torch.allclose(found.double(), exact, rtol=1e-5, atol=1e-4)


# ------------------------------------------------------------------------------------------------ choice


class Choice(NamedTuple):
    """The kernel for up to ``rows`` rows of activations; for more it is :func:`float_product`."""

    few: Product
    rows: int


@cache
def fastest(device: str, bits: int) -> Choice:
    """The kernels for tables on a kind of device (``"cpu"``, ``"cuda"``), found by timing them once a process.

    The time of embedding bags grows with each row of activations; that of ``float`` is that of unpacking, as long
    as rows are few. So bags are used for as many rows as fit into its time.
    """
    candidates = [bag_product, halves_product] if bits == 4 else [bag_product]
    known = [product for product in candidates if device == "cpu" and is_right(product, bits)]
    if not known:
        return Choice(float_product, 0)
    integers, scale = quantize_groups(torch.ones(TIMED_SHAPE), TIMED_GROUP, bits)
    turn = cycle([pack_table(integers, bits) for _ in range(TIMED_LAYERS)])
    row = torch.ones(1, TIMED_SHAPE[1])

    def seconds(product: Product) -> float:
        started = time.perf_counter()
        product(row, next(turn), scale, TIMED_GROUP, bits)
        return time.perf_counter() - started

    kernels = (*known, float_product)
    rounds = [[seconds(product) for product in kernels] for _ in range(TIMED_ROUNDS + 1)][1:]
    *bags, unpacking = (min(times) for times in zip(*rounds, strict=True))
    best = min(range(len(known)), key=lambda number: bags[number])
    return Choice(known[best], int(unpacking / bags[best]))
