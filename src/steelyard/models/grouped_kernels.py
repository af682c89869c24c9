"""Weights of 4 or 8 bits scaled in groups along the inputs: how they are rounded, packed and multiplied with.

A matrix (out, in) is cut along its inputs into groups of ``group`` columns (the last may be shorter), and each
row of a group has one half-precision scale: ``w[o, i] ~ scale[i // group, o] * q[o, i]``, |q| <= 7 or 127 being
whole. Their table holds one input a row, which is the layout torch's embedding bags read:

    row i of the table = q[0, i], q[1, i], ... as unsigned numbers, and two floats with which to read them

With 4 bits, byte j holds q[2j, i] + 8 in its lower and q[2j + 1, i] + 8 in its upper half, followed by the
half-precision numbers 1 and -8; with 8 bits, byte j holds q[j, i] + 128, followed by the single-precision numbers
1 and -128.

Two kernels compute ``rows @ w.T`` and agree to float rounding:

- ``bag`` sums table rows weighted by activations, a bag for each group, and scales the sums. The numbers are
  unpacked in registers, so a weight costs half a byte of memory traffic: fastest for single rows, on x86.
- ``float`` unpacks a block of the table at a time into a buffer that stays near the processor and multiplies in
  floating point. It runs anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from typing import NamedTuple

import torch

from steelyard.errors import ModelError

BITS = (4, 8)
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
    padded = torch.nn.functional.pad(weight.abs(), (0, missing)) if missing else weight.abs()
    return padded.view(len(weight), -1, group).amax(-1)


# ----------------------------------------------------------------------------------------------- packing


def table_width(rows: int, bits: int) -> int:
    """Bytes of a table row for a matrix of ``rows`` rows: its numbers, and two floats to read them with.

    >>> table_width(100, 4), table_width(101, 4), table_width(100, 8)
    (54, 55, 108)
    """
    return -(-rows * bits // 8) + (4 if bits == 4 else 8)


def table_bytes(rows: int, columns: int, group: int, bits: int) -> int:
    """Bytes of a packed matrix (rows, columns) with its scales.

    >>> table_bytes(1536, 576, 64, 4) * 8 / (1536 * 576)  # bits a weight: 4, 16 / group, and 32 / rows
    4.270833333333333
    """
    return columns * table_width(rows, bits) + 2 * rows * -(-columns // group)


def pack_table(integers: torch.Tensor, bits: int) -> torch.Tensor:
    """The table of int8 ``integers`` (out, in): uint8 (in, :func:`table_width`), as the module describes it."""
    rows, columns = integers.shape
    numbers = (integers.t() + (8 if bits == 4 else 0)).contiguous()
    if bits == 4:
        numbers = torch.nn.functional.pad(numbers, (0, rows % 2)).view(torch.uint8)
        packed = numbers[:, 0::2] | (numbers[:, 1::2] << 4)
        reading = torch.tensor([1.0, -8.0], dtype=torch.float16)
    else:
        packed = numbers.view(torch.uint8) ^ 128
        reading = torch.tensor([1.0, -128.0], dtype=torch.float32)
    tail = reading.view(torch.uint8).to(packed.device).expand(columns, -1)
    return torch.cat([packed, tail], dim=1)


def unpack_table(table: torch.Tensor, rows: int, bits: int) -> torch.Tensor:
    """The int8 integers (out, in) of a table; the inverse of :func:`pack_table`."""
    return torch.stack(_places(table, bits), -1).flatten(-2)[:, :rows].sub(_middle(bits)).to(torch.int8).t()


def unpack_weight(table: torch.Tensor, scale: torch.Tensor, group: int, bits: int) -> torch.Tensor:
    """The matrix a table stands for: float32 (out, in), exactly, as an integer times a scale has 18 bits."""
    steps = scale.float().repeat_interleave(group, dim=0)[: len(table)]
    return unpack_table(table, scale.shape[1], bits).float() * steps.t()


def _places(table: torch.Tensor, bits: int) -> list[torch.Tensor]:
    """The numbers of a table as they are packed, int16: those of even and of odd outputs, or of all."""
    if bits == 8:
        return [table[:, :-8].short()]
    packed = table[:, :-4]
    return [(packed & 15).short(), (packed >> 4).short()]


def _middle(bits: int) -> int:
    return 1 << (bits - 1)


# ---------------------------------------------------------------------------------------------- products


def float_product(
    rows: torch.Tensor, table: torch.Tensor, scale: torch.Tensor, group: int, bits: int
) -> torch.Tensor:
    """``rows @ w.T`` for floats (m, in), unpacking a block of the table at a time: (m, out)."""
    columns, outputs = len(table), scale.shape[1]
    every = 2 if bits == 4 else 1
    scales = [scale[:, place::every].to(rows.dtype) for place in range(every)]
    sums = [rows.new_zeros(len(rows), part.shape[1]) for part in scales]
    for start, stop in _pieces(columns, group, max(1, BLOCK_ELEMENTS * every // outputs)):
        numbers = table[start:stop, : -(-outputs // every)]
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
    odd = torch.nn.functional.pad(odd, (0, even.shape[1] - odd.shape[1]))
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
    """``rows @ w.T`` for float32 (m, in) by torch's quantized embedding bags: float32 (m, out).

    Sizes that depend on m > 1 are computed by operations, so that a call recorded with two rows is right for more.
    """
    columns, outputs = table.shape[0], scale.shape[1]
    whole = group >= columns
    # threads divide bags among them, so a row of activations has several even where all inputs share a scale
    bag = columns // LEAST_BAGS if whole and columns % LEAST_BAGS == 0 else min(group, columns)
    bags = -(-columns // bag)
    count = rows.shape[0]
    indices, offsets = _counted(columns), None
    if columns % bag == 0:
        indices = indices.view(bags, bag)
        indices = indices if count == 1 else indices.repeat(count, 1)
    else:
        indices = indices.repeat(count)
        starts = (torch.arange(count) * columns).unsqueeze(1) + torch.arange(0, columns, bag)
        offsets = starts.reshape(-1)
    weights = rows.reshape(-1)
    if bits == 4:
        sums = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(
            table, indices, offsets, False, 0, False, weights, None, False
        )
    else:
        sums = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            table, indices, offsets, False, 0, False, weights, None, False
        )
    sums = sums.view(count, bags, sums.shape[1])[..., :outputs]
    product: torch.Tensor = sums.sum(1).mul_(scale[0]) if whole else sums.mul_(scale).sum(1)
    return product


@cache
def _counted(columns: int) -> torch.Tensor:
    return torch.arange(columns)


@cache
def can_bag() -> bool:
    """Whether the embedding-bag kernels are there on this CPU and right."""
    rows = torch.linspace(-3.0, 5.0, 2 * 70).view(2, 70)
    for bits in BITS:
        weight = torch.linspace(-1.0, 1.0, 21 * 70).view(21, 70).sin()
        integers, scale = quantize_groups(weight, 32, bits)
        table = pack_table(integers, bits)
        try:
            found = bag_product(rows, table, scale, 32, bits)
        except (RuntimeError, AttributeError, NotImplementedError):
            return False
        exact = rows.double() @ unpack_weight(table, scale, 32, bits).double().t()
        if not torch.allclose(found.double(), exact, rtol=1e-5, atol=1e-4):
            return False
    return True


# ------------------------------------------------------------------------------------------------ choice


@cache
def bag_rows(device: str, bits: int) -> int:
    """Up to how many rows of activations ``bag`` is faster than ``float`` here, timed once a process; 0 for none.

    The time of ``bag`` grows with each row, that of ``float`` is that of unpacking as long as there are few.
    """
    if device != "cpu" or not can_bag():
        return 0
    weight = torch.ones(TIMED_SHAPE)
    integers, scale = quantize_groups(weight, TIMED_GROUP, bits)
    turn = cycle([pack_table(integers, bits) for _ in range(TIMED_LAYERS)])
    row = torch.ones(1, TIMED_SHAPE[1])

    def seconds(product: object) -> float:
        started = time.perf_counter()
        product(row, next(turn), scale, TIMED_GROUP, bits)  # type: ignore[operator]
        return time.perf_counter() - started

    times = [(seconds(bag_product), seconds(float_product)) for _ in range(TIMED_ROUNDS + 1)][1:]
    return int(min(slow for _, slow in times) / min(fast for fast, _ in times))
