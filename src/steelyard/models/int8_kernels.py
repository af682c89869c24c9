"""Products of float activations with 8-bit integer weights, and which of the ways to compute them is fastest here.

All kernels compute one function, ``activations @ integers.T``, and agree to float rounding, so that the choice
between them bears on speed and memory only:

- ``float`` turns the integers into floats, a block at a time into a buffer that stays in the processor's cache,
  and multiplies in floating point. Weights come from memory at a byte each. It runs anywhere.
- ``integer`` writes each activation as 8-bit digits and multiplies exact integers: fastest on processors with
  dot-product instructions (VNNI, tensor cores), far slower than ``float`` without.
- ``half`` multiplies float activations with a packed half-precision copy of the integers, which holds them
  exactly: fastest for a few rows on x86 without VNNI, for two more bytes a weight.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import cycle
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import nn

Kernel: TypeAlias = Literal["float", "integer", "half"]

LEVELS = 127
"""Largest magnitude: -128 is not used, so that the range is symmetric."""
BASE = 254
LEADING = 127.49
"""What the largest value of a row is scaled to: its leading digit is 127, and no digit exceeds that."""
TINY = 1e-30
BLOCK_ELEMENTS = 2**18
"""Weights turned into floats at a time for a few rows (1 MiB of float32, which stays near the processor); four
times as many for more, whose products last longer."""
FEW_ROWS = 24
"""Inputs of up to this many rows (steps of generation) have their kernel chosen apart from longer ones."""
TIMED_ROWS = (4, 32)
TIMED_SHAPE = (1024, 1024)
TIMED_LAYERS = 16
"""Layers that take turns when kernels are timed, 16 MiB in all: as in use, the next weights are in no cache."""
HOPELESS = 5.0
"""A kernel that is this many times slower than ``float`` at first sight is not timed again."""


class Choice(NamedTuple):
    """The kernels for up to :data:`FEW_ROWS` rows and for more."""

    few: Kernel
    many: Kernel


# ------------------------------------------------------------------------------------------- activations


def quantize_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to 8-bit integers: ``values ~ integers * scale``.

    Args:
        values: float tensor of shape (rows, columns).

    Returns:
        int8 integers (rows, columns) and float32 scales (rows, 1), ``scale = max |value| / 127``; the error of
        a value is at most half its row's scale.

    >>> integers, scale = quantize_rows(torch.tensor([[1.0, -0.5, 0.0]]))
    >>> integers.tolist(), round(float(scale), 4)
    ([[127, -64, 0]], 0.0079)
    """
    largest = _largest(values)
    return (values.float() * (LEVELS / largest)).round_().to(torch.int8), largest / LEVELS


def digits_of_rows(values: torch.Tensor, digits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Write each value as ``digits`` 8-bit digits: ``values ~ scale * sum_i digit_i * 254**(digits - 1 - i)``.

    Returns int8 digits (digits * rows, columns), the leading ones of all rows first, and float32 scales
    (rows, 1).
    """
    if digits == 1:
        return quantize_rows(values)
    largest = _largest(values)
    rows = len(values)
    found = torch.empty(digits * rows, values.shape[1], dtype=torch.int8, device=values.device)
    rest = values.float() * (LEADING / largest)
    for index in range(digits):
        digit = rest.round()
        found[index * rows : (index + 1) * rows] = digit
        if index + 1 < digits:
            rest = (rest - digit).mul_(BASE)
    return found, largest / (LEADING * BASE ** (digits - 1))


def rounded_rows(values: torch.Tensor, digits: int) -> torch.Tensor:
    """The values that ``digits`` 8-bit digits stand for, in the type they came in; three keep them as they are."""
    if digits >= 3:
        return values
    written, scale = digits_of_rows(values, digits)
    places = written.view(digits, *values.shape).float()
    whole = places[0] if digits == 1 else places[0] * BASE + places[1]
    return (whole * scale).to(values.dtype)


def _largest(values: torch.Tensor) -> torch.Tensor:
    return values.abs().amax(-1, keepdim=True).float().clamp_min_(TINY)


# ---------------------------------------------------------------------------------------------- products


def float_product(rows: torch.Tensor, integers: torch.Tensor) -> torch.Tensor:
    """``rows @ integers.T`` in floating point: (m, k) and int8 (n, k) to (m, n) of the type of ``rows``.

    Small integers are exact in every floating-point type, so only the products are rounded, as in a float layer.
    """
    n, k = integers.shape
    if torch.is_grad_enabled() and rows.requires_grad:
        return nn.functional.linear(rows, integers.to(rows.dtype))
    few = len(rows) <= FEW_ROWS
    size = min(n, max(1, BLOCK_ELEMENTS * (1 if few else 4) // k))
    buffer = torch.empty(size, k, dtype=rows.dtype, device=rows.device)
    shape = (n, len(rows)) if few else (len(rows), n)
    output = torch.empty(shape, dtype=rows.dtype, device=rows.device)
    for start in range(0, n, size):
        block = integers[start : start + size]
        floats = buffer[: len(block)].copy_(block)
        if few:  # matrix libraries are quicker with the long side first
            torch.mm(floats, rows.t(), out=output[start : start + len(block)])
        else:
            torch.mm(rows, floats.t(), out=output[:, start : start + len(block)])
    return output.t().contiguous() if few else output


def digit_product(rows: torch.Tensor, integers: torch.Tensor, digits: int) -> torch.Tensor:
    """``rows @ integers.T`` by exact integer products of 8-bit digits: (m, k), int8 (n, k) to float32 (m, n)."""
    written, scale = digits_of_rows(rows, digits)
    products = int8_product(written, integers).float()
    output = products[: len(rows)]
    for start in range(len(rows), len(products), len(rows)):  # two steps, as a fused one rounds otherwise
        output = output.mul_(BASE)
        output = output.add_(products[start : start + len(rows)])
    return output.mul_(scale)


def int8_product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Exact ``rows @ weight.T`` of int8 tensors (m, k) and (n, k): int32 (m, n).

    Operands are padded with zeros where a kernel wants it: on CUDA more than 16 rows and sizes divisible by 8,
    on the CPU more than one column (torch 2.13 reads beyond its operands there).
    """
    m, k = rows.shape
    n = weight.shape[0]
    cuda = rows.device.type == "cuda"
    more_m, more_k, more_n = (max(17 - m, 0), -k % 8, -n % 8) if cuda else (0, int(k == 1), 0)
    if not cuda and not _kernel_is_exact():
        return (rows.double() @ weight.double().t()).to(torch.int32)
    if more_m or more_k:
        rows = nn.functional.pad(rows, (0, more_k, 0, more_m))
    if more_k or more_n:
        weight = nn.functional.pad(weight, (0, more_k, 0, more_n))
    return torch._int_mm(rows, weight.t())[:m, :n]


@cache
def _kernel_is_exact() -> bool:
    """Whether integer products are exact on this CPU: without VNNI, some kernels saturate at 16 bits."""
    rows = torch.full((5, 64), LEVELS, dtype=torch.int8)
    weight = torch.full((16, 64), LEVELS, dtype=torch.int8)
    weight[1::2] = -LEVELS
    return torch.equal(torch._int_mm(rows, weight.t()).double(), rows.double() @ weight.double().t())


def pack_half(integers: torch.Tensor) -> Any:
    """A packed half-precision copy of int8 weights (n, k), which holds them exactly: two bytes a weight."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, message=".*(deprecated|quantiz).*")
        return torch.ops.quantized.linear_prepack_fp16(integers.float(), None)


def half_product(rows: torch.Tensor, packed: Any) -> torch.Tensor:
    """``rows @ integers.T`` with the copy that :func:`pack_half` made: float32 (m, k) to float32 (m, n)."""
    product: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, packed)
    return product


@cache
def can_pack() -> bool:
    """Whether the half-precision kernel is there on this CPU and right: it needs an x86 build of torch."""
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return False
    integers = (torch.arange(20 * 70).view(20, 70) % (2 * LEVELS + 1) - LEVELS).to(torch.int8)
    rows = torch.linspace(-3.0, 5.0, 3 * 70).view(3, 70)
    try:
        found = half_product(rows, pack_half(integers))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(found.double(), rows.double() @ integers.double().t(), rtol=1e-5, atol=1e-2)


# ------------------------------------------------------------------------------------------------ choice


@cache
def fastest(device: str, digits: int, packed: bool) -> Choice:
    """The kernels for layers on a kind of device (``"cpu"``, ``"cuda"``), found by timing them once a process.

    ``packed`` says whether the layers may hold a half-precision copy of their weights.
    """
    few, many = (choose(_timers(device, digits, packed, rows)) for rows in TIMED_ROWS)
    return Choice(few, many)


def choose(
    timers: Mapping[Kernel, Callable[[], object]],
    clock: Callable[[], float] = time.perf_counter,
    rounds: int = 5,
) -> Kernel:
    """The kernel of least time: all run in turns, and the best run of each counts.

    One that is :data:`HOPELESS` beside ``float`` in its first run is left out of the turns.
    """

    def seconds(kernel: Kernel) -> float:
        started = clock()
        timers[kernel]()
        return clock() - started

    if len(timers) == 1:
        return next(iter(timers))
    timers["float"]()  # the first run of all also starts threads
    best = {kernel: seconds(kernel) for kernel in timers}
    for _ in range(rounds):
        for kernel in [kernel for kernel in best if best[kernel] <= HOPELESS * best["float"]]:
            best[kernel] = min(best[kernel], seconds(kernel))
    return min(best, key=lambda kernel: best[kernel])


def _timers(device: str, digits: int, packed: bool, rows: int) -> Mapping[Kernel, Callable[[], object]]:
    """What to time: every kernel that exists for the device, on layers that fit into no cache together."""
    layers = [torch.ones(TIMED_SHAPE, dtype=torch.int8, device=device) for _ in range(TIMED_LAYERS)]
    inputs = torch.ones(rows, TIMED_SHAPE[1], device=device)

    def timer(
        product: Callable[[torch.Tensor, Any], torch.Tensor], weights: Sequence[Any]
    ) -> Callable[[], object]:
        turn = cycle(weights)
        return lambda: product(inputs, next(turn))[0, 0].item()  # waits for a GPU

    found: dict[Kernel, Callable[[], object]] = {"float": timer(float_product, layers)}
    if device == "cuda" or (device == "cpu" and _kernel_is_exact()):
        found["integer"] = timer(lambda rows, integers: digit_product(rows, integers, digits), layers)
    if packed and device == "cpu" and can_pack():
        found["half"] = timer(half_product, [pack_half(integers) for integers in layers])
    return found
