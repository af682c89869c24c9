"""SparseGPT: zero the weights whose loss the others of their row can make up for best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, PositiveInt

from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layer_matrices import matrices_of
from steelyard.compression.layerwise import Solution, Targets, Walk, compress_layers
from steelyard.compression.sparsity_patterns import (
    Pattern,
    Share,
    Sparsity,
    check_widths,
    lowest,
    lowest_of_each,
    sparsity_of,
)
from steelyard.contracts import AppliedPart, OpenWeights, Texts
from steelyard.errors import UsageError
from steelyard.parts import part

BLOCK = 128
"""Columns among which an unstructured mask is chosen, and whose errors reach later columns together."""
STEP = 16
"""Columns that are settled one by one before the rest of their block hears of it."""


@part(papers=[39])
def sparsegpt(
    model: OpenWeights,
    calibration: Texts,
    *,
    sparsity: Share | None = None,
    pattern: Pattern = None,
    bits: Annotated[int, Field(ge=2, le=8)] | None = None,
    damping: Annotated[float, Field(gt=0)] = 0.01,
    targets: Targets = "sequential",
    skip: tuple[str, ...] = (),
    tokens: PositiveInt = 8192,
    window: PositiveInt = 256,
    seed: int = 0,
) -> OpenWeights:
    """Prune every linear layer of the blocks in one shot, the weights that stay making up for those that go.

    For a layer with inputs X and H = X X^T + d I, columns are settled from left to right. Removing weight w_j
    costs w_j^2 / [H_j^-1]_jj, H_j being H without the columns before j; the error is spread over the later columns
    of its row by row j of H_j^-1. All of these come from one Cholesky factor of H^-1. Masks are chosen as they are
    reached: among the weights of 128 columns (a share), or among every m of a row (``n:m``, exactly n of them
    zero, as in the paper), always with the updates of the columns before.

    Weights keep their type and shape: a pruned checkpoint loads anywhere, its zeros are for formats and kernels to
    make use of. Cost: about three passes of the calibration tokens, and O(out * in^2 + in^3) per matrix.

    Args:
        model: a decoder whose family says where its projections are.
        calibration: texts like those the model will read.
        sparsity: share of weights that become zero, between 0 and 1; one half unless ``pattern`` says it.
        pattern: ``n:m``, such as 2:4 or 4:8.
        bits: also round the weights that stay to a grid of 2^bits values a row (asymmetric, from its least to its
            largest weight), so that later columns make up for that error too. They stay stored as floats.
        damping: d, as a share of the mean of H's diagonal.
        targets: ``sequential`` or ``parallel`` within a block (the authors' code: parallel).
        skip: layers to leave alone: roles such as ``down``, or parts of names.
        tokens: calibration tokens, at most.
        window: tokens in one window (no more than the model's context).
        seed: draws the windows from the texts.

    Raises:
        UsageError: a pattern that does not divide a layer's width, or contradicts ``sparsity``.
        InputError: less calibration text than one window.
        CapabilityError: an architecture without family data.
        ModelError: inputs that are no numbers, or do not determine a layer's weights; names the layer.

    Source:
        SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot (2023), sections 3.2 to 3.5,
        algorithm 1. Of a block exactly the share asked for is pruned; the authors' code prunes one weight more.

    Relations:
        ``magnitude`` is its baseline, and what it comes to where inputs are uncorrelated and equally strong.

    Example:
        >>> sparse = sparsegpt(model, ["A few paragraphs of ordinary text ..."], pattern="2:4")  # doctest: +SKIP
    """
    wanted = sparsity_of("sparsegpt", sparsity, pattern)
    check_widths("sparsegpt", wanted, (m for block in matrices_of(model, model.module, skip) for m in block))
    if wanted.of and wanted.of > BLOCK:
        raise UsageError(f"part 'sparsegpt': patterns reach over at most {BLOCK} weights, not {wanted.of}")

    def method(weight: torch.Tensor, inputs: Hessian) -> Solution:
        return prune(weight, inputs, wanted, bits=bits, damping=damping)

    settings = {"sparsity": wanted.share, "pattern": wanted.pattern, "bits": bits, "damping": damping}
    walk = Walk(tokens, window, seed, targets, skip)
    return compress_layers(model, calibration, method, AppliedPart("sparsegpt", settings), walk)


def prune(
    weight: torch.Tensor, inputs: Hessian, sparsity: Sparsity, *, bits: int | None = None, damping: float = 0.01
) -> Solution:
    """Prune one matrix (out, in) for the inputs it gets; what weighs on inputs that are always 0 goes for nothing.

    Figures: ``zeros``, the share of weights that are zero now.
    """
    grid = row_grid(weight, bits) if bits else None
    living = weight.masked_fill(inputs.dead, 0.0)
    pruned = prune_columns(living, inputs.inverse_factor(damping), sparsity, grid)
    return Solution(pruned, {"zeros": float((pruned == 0).float().mean())})


def prune_columns(
    weight: torch.Tensor, factor: torch.Tensor, sparsity: Sparsity, grid: RowGrid | None = None
) -> torch.Tensor:
    """The algorithm itself: weight (out, in) and the upper Cholesky factor U (in, in) of H^-1 to new weight.

    Column j costs w_j^2 / U_jj^2, and an error e = (w_j - new) / U_jj in it is taken from later columns as e U_j.
    Errors reach the columns of the same 16 one by one, the rest of their 128 together, and what lies behind these
    together again: the same sums, in matrix products.
    """
    columns = weight.t().clone(memory_format=torch.contiguous_format)  # (in, out): columns lie in one piece
    errors = torch.empty_like(columns[:BLOCK])
    diagonal = factor.diagonal()
    of = sparsity.of or 1
    size, step = BLOCK - BLOCK % of, max(of, STEP - STEP % of)
    for start, end in _spans(0, len(columns), size):
        mask = None
        if sparsity.of is None:
            mask = lowest((columns[start:end] / diagonal[start:end, None]) ** 2, sparsity.share)
        for first, last in _spans(start, end, step):
            piece = columns[first:last]
            chosen = None if mask is None else mask[first - start : last - start]
            _settle(piece, factor[first:last, first:last], sparsity, chosen, grid, errors[first - start :])
            columns[last:end].addmm_(
                factor[first:last, last:end].t(), errors[first - start : last - start], alpha=-1
            )
        columns[end:].addmm_(factor[start:end, end:].t(), errors[: end - start], alpha=-1)
    return columns.t().contiguous()


def _settle(
    columns: torch.Tensor,
    factor: torch.Tensor,
    sparsity: Sparsity,
    mask: torch.Tensor | None,
    grid: RowGrid | None,
    errors: torch.Tensor,
) -> None:
    """Settle a few columns (n, out) one after another, in place, and note their errors in units of U_jj."""
    diagonal = factor.diagonal()
    chosen = mask if mask is not None else torch.zeros_like(columns, dtype=torch.bool)
    for j in range(len(columns)):
        if sparsity.of and sparsity.zeros and j % sparsity.of == 0:
            group = slice(j, j + sparsity.of)
            scores = (columns[group] / diagonal[group, None]) ** 2
            chosen[group] = lowest_of_each(scores.t(), sparsity.zeros, sparsity.of).t()
        new = columns[j].masked_fill(chosen[j], 0.0)
        if grid is not None:
            new = grid.round(new)
        torch.div(columns[j] - new, diagonal[j], out=errors[j])
        columns[j] = new
        columns[j + 1 :].addmm_(factor[j, j + 1 :, None], errors[j][None], alpha=-1)


class RowGrid(NamedTuple):
    """Evenly spaced values for each row of a matrix: ``scale`` * (0 ... ``largest``) - ``zero``), each (out,)."""

    scale: torch.Tensor
    zero: torch.Tensor
    largest: int

    def round(self, column: torch.Tensor) -> torch.Tensor:
        """The nearest value of each row for one column (out,); 0 is always among them."""
        steps = torch.clamp(torch.round(column / self.scale) + self.zero, 0, self.largest)
        return (steps - self.zero) * self.scale


def row_grid(weight: torch.Tensor, bits: int) -> RowGrid:
    """2^bits values for each row of (out, in), from its least to its largest weight, 0 among them.

    >>> row_grid(torch.tensor([[-1.0, 2.0]]), 2).round(torch.tensor([0.4]))
    tensor([0.])
    """
    low, high = weight.amin(1).clamp(max=0), weight.amax(1).clamp(min=0)
    largest = 2**bits - 1
    scale = (high - low) / largest
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    return RowGrid(scale, torch.round(-low / scale), largest)


def _spans(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + size, end)) for first in range(start, end, size))
