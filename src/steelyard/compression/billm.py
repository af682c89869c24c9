"""BiLLM: linear layers in little more than one bit a weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layerwise import LayerRecord, Solution, Targets, Walk, compress_layers
from steelyard.contracts import AppliedPart, OpenWeights, Texts
from steelyard.parts import part

SPLITS = 81
"""Candidates for the break-point: quantiles of the magnitudes, from 10% to 90%."""
SCALE_BITS = 16


@part(papers=[280])
def billm(
    model: OpenWeights,
    calibration: Texts,
    *,
    block: PositiveInt = 128,
    salient: NonNegativeInt = 50,
    damping: Annotated[float, Field(gt=0)] = 0.01,
    exact: bool = False,
    plain: bool = False,
    tokens: PositiveInt = 8192,
    window: PositiveInt = 256,
    seed: int = 0,
    targets: Targets = "sequential",
    skip: tuple[str, ...] = (),
) -> OpenWeights:
    """Binarise every linear layer of the blocks: one bit a weight, two for the few columns that matter most.

    A weight matrix W (out, in) is taken ``block`` columns at a time; U is the upper Cholesky factor of the inverse
    of the damped Hessian of its inputs. In each block

    1. columns are ranked by their summed sensitivity w^2 / U_jj^2; how many of the first are salient (``salient``
       at most) is searched: that count whose two groups, each as sign times mean, are closest to the block;
    2. salient columns are binarised twice: a_1 sign(w), then a_2 sign(w - a_1 sign(w)), where a is the mean
       magnitude in each row. The second pass never adds to the error;
    3. of the others, weights up to a break-point p and those beyond are binarised by themselves, each group with a
       scale a row; p is the best of 81 quantiles of their magnitudes;
    4. the error, divided by U's diagonal, is made up for in the columns to come: W -= (W - B) / diag(U) U.

    So a row of a block has at most eight values. Counted as in the paper a weight takes 1 + r bits, r being the
    share of salient columns; marking the groups takes another 1 + 1 / ``block`` bits, and four scales of 16 bits a
    row and block 64 / ``block`` more (:func:`average_bits`). The numbers stay stored as floats, so that the
    checkpoint loads anywhere; they are for packed formats to make use of.

    Args:
        model: a decoder whose family says where its projections are.
        calibration: texts like those the model will read.
        block: columns binarised together.
        salient: most columns of a block that get a second bit; 0 leaves that out.
        damping: share of the Hessian's mean diagonal that is added to it.
        exact: divide a block's error by the block's own part of U instead of its diagonal: what comes after then
            makes up for the whole block as well as it can, which the paper does not do.
        plain: the naive baseline: sign times mean in each row of a block, and nothing else.
        tokens: calibration tokens, at most.
        window: tokens in one window (no more than the model's context).
        seed: draws the windows from the texts.
        targets: whether the layers of a block are solved one after the other or all at once.
        skip: layers to leave alone: roles (``"down"``), or last or inner parts of names.

    Raises:
        InputError: calibration texts shorter than a window.
        CapabilityError: an architecture without family data.
        ModelError: inputs that are no numbers, or that do not determine a layer's weights.

    Source:
        BiLLM: Pushing the Limit of Post-Training Quantization for LLMs (ICML 2024), section 3, algorithms 1 and 2.
        The sensitivity is that of algorithm 2 and of the authors' code; the formula in the text has [H^-1]_jj^2
        under the fraction. Otherwise the code differs from the paper, which is followed here: it searches salient
        columns and break-point on the sensitivities instead of the weights, and binarises around the mean of each
        row. The candidates for the break-point are those of the code.

    Relations:
        ``sparsegpt`` removes weights with the same compensation; ``int8`` rounds to 255 levels and needs no texts.

    Example:
        >>> one_bit = billm(model, ["A few pages of ordinary text ..."])  # doctest: +SKIP
        >>> average_bits(layer_log(one_bit.card.parts[-1])).weight  # doctest: +SKIP
        1.07
    """
    settings = {"block": block, "salient": salient, "damping": damping, "exact": exact, "plain": plain}

    def method(weight: torch.Tensor, inputs: Hessian) -> Solution:
        if plain:
            found = plainly_binarised(weight, block)
        else:
            factor = inputs.inverse_factor(damping)
            found = binarised(weight, factor, block=block, salient=salient, exact=exact)
        return Solution(found.weight, {"weights": weight.numel(), "salient": found.salient.float().mean().item()})

    walk = Walk(tokens=tokens, window=window, seed=seed, targets=targets, skip=skip)
    return compress_layers(model, calibration, method, AppliedPart("billm", settings), walk)


class Binarised(NamedTuple):
    """A binarised matrix (out, in), and which columns (in,) and weights (out, in) are in which group.

    ``salient`` columns have two bits; ``far`` are the other weights beyond their block's break-point.
    """

    weight: torch.Tensor
    salient: torch.Tensor
    far: torch.Tensor


class Bits(NamedTuple):
    """Bits a weight: of the weights as the paper counts them, of marking the groups, and of the scales."""

    weight: float
    marks: float
    scales: float


def average_bits(log: Iterable[LayerRecord], block: int = 128) -> Bits:
    """Mean bits of the weights that a walk binarised: 1 + r, 1 + 1 / block, and four scales a row and block.

    Source: the paper's section 3.4, N_param and N_storing; the paper does not count scales.
    """
    figures = [record.figures for record in log]
    whole = sum(each["weights"] for each in figures)
    share = sum(each["weights"] * each["salient"] for each in figures) / whole
    return Bits(1 + share, 1 + 1 / block, 4 * SCALE_BITS / block)


def binarised(
    weight: torch.Tensor, factor: torch.Tensor, *, block: int = 128, salient: int = 50, exact: bool = False
) -> Binarised:
    """Binarise ``weight`` (out, in) block by block, the columns to come making up for each block's error.

    ``factor`` (in, in) is the upper triangular U with U^T U = H^-1. Of a block's error E = W - B the later columns
    take E / diag(U) U, or with ``exact`` E U_b^-1 U, U_b being the block's own part of U: of all changes to them
    the one that leaves the least error of the outputs.
    """
    rest = weight.clone()
    done = torch.zeros_like(weight)
    columns = torch.zeros(weight.shape[1], dtype=torch.bool, device=weight.device)
    far = torch.zeros_like(weight, dtype=torch.bool)
    for start in range(0, weight.shape[1], block):
        here = slice(start, min(start + block, weight.shape[1]))
        diagonal = factor.diagonal()[here]
        found = binarised_block(rest[:, here], diagonal, salient)
        done[:, here], columns[here], far[:, here] = found
        error = rest[:, here] - found.weight
        if exact:
            error = torch.linalg.solve_triangular(factor[here, here], error, upper=True, left=False)
        else:
            error = error / diagonal
        rest[:, here.stop :] -= error @ factor[here, here.stop :]
    return Binarised(done, columns, far)


def plainly_binarised(weight: torch.Tensor, block: int = 128) -> Binarised:
    """The naive baseline: sign times mean in each row of a block of columns."""
    none = torch.zeros_like(weight, dtype=torch.bool)
    pieces = torch.split(weight, block, dim=1)
    signs = [sign_mean(piece, torch.ones_like(piece, dtype=torch.bool)) for piece in pieces]
    return Binarised(torch.cat(signs, dim=1), none[0], none)


def binarised_block(weight: torch.Tensor, diagonal: torch.Tensor, salient: int) -> Binarised:
    """One block (out, n) of columns, whose entries of U's diagonal are ``diagonal`` (n,)."""
    columns = salient_columns(weight, diagonal, salient)
    others = (~columns).expand_as(weight)
    far = others & (weight.abs() > break_point(weight[:, ~columns]))
    new = residual_sign_mean(weight, columns.expand_as(weight))
    new = new + sign_mean(weight, far) + sign_mean(weight, others & ~far)
    return Binarised(new, columns, far)


def salient_columns(weight: torch.Tensor, diagonal: torch.Tensor, most: int) -> torch.Tensor:
    """Which columns of (out, n) are salient: bool (n,), at most ``most``, and never all of them.

    Columns are ranked by sum_i w_ij^2 / U_jj^2; of the first 1, 2, ... the count is taken at which the first and
    the others, each group as sign times mean a row, have the least squared error together. Of equals, the lowest.
    """
    width = weight.shape[1]
    chosen = torch.zeros(width, dtype=torch.bool, device=weight.device)
    most = min(most, width - 1)
    if most < 1:
        return chosen
    order = torch.argsort((weight.square() / diagonal.square()).sum(0), descending=True, stable=True)
    magnitudes = weight.abs()[:, order].double().cumsum(1)
    counts = torch.arange(1, most + 1, device=weight.device)
    first = magnitudes[:, :most]
    # |w - a sign(w)|^2 with a the mean magnitude is sum w^2 - (sum |w|)^2 / n, so the squares of all stay aside
    explained = first.square() / counts + (magnitudes[:, -1:] - first).square() / (width - counts)
    chosen[order[: int(explained.sum(0).argmax()) + 1]] = True
    return chosen


def break_point(weight: torch.Tensor, candidates: int = SPLITS) -> torch.Tensor:
    """The magnitude p that best splits (out, n) into |w| <= p and |w| > p, each as sign times mean a row.

    Candidates are quantiles from 10% to 90% of all magnitudes. Of equals, the lowest.
    """
    magnitudes = weight.abs().double()
    ordered = magnitudes.flatten().sort().values
    levels = torch.linspace(0.1, 0.9, candidates, dtype=torch.float64, device=weight.device)
    points = ordered[(levels * (len(ordered) - 1)).round().long()]
    # a weight lies in the lower group of every point from its place on
    places = torch.bucketize(magnitudes, points)
    counts, sums = (
        torch.zeros(len(weight), candidates + 1, dtype=torch.float64, device=weight.device)
        .scatter_add_(1, places, values)
        .cumsum(1)
        for values in (torch.ones_like(magnitudes), magnitudes)
    )
    below, above = sums[:, :-1], sums[:, -1:] - sums[:, :-1]
    explained = below.square() / counts[:, :-1].clamp(min=1)
    explained += above.square() / (counts[:, -1:] - counts[:, :-1]).clamp(min=1)
    return points[explained.sum(0).argmax()].to(weight.dtype)


def sign_mean(weight: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """Sign times mean magnitude, a row at a time, of the weights (out, n) in ``group``; 0 for the others.

    The nearest such matrix: of all a sign(w) the one with a = mean |w| has the least squared error. The sign of 0
    is taken as 1, so that there are two values and no third.

    >>> w = torch.tensor([[1.0, -3.0, 5.0]])
    >>> sign_mean(w, torch.tensor([[True, True, False]]))
    tensor([[ 2., -2.,  0.]])
    """
    scale = (weight.abs() * group).sum(1, keepdim=True) / group.sum(1, keepdim=True).clamp(min=1)
    return torch.where(weight < 0, -scale, scale) * group


def residual_sign_mean(weight: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """:func:`sign_mean`, and on top of it that of what it leaves: four values a row, and never a larger error."""
    first = sign_mean(weight, group)
    return first + sign_mean(weight - first, group)
