"""Magnitude pruning: zero the smallest weights, whatever they are multiplied with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch

from steelyard.compression.block_replay import share
from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layer_matrices import matrices_of, write_matrices
from steelyard.compression.layerwise import Solution, solve_weights
from steelyard.compression.sparsity_patterns import (
    Pattern,
    Share,
    Sparsity,
    check_widths,
    lowest,
    lowest_of_each,
    sparsity_of,
)
from steelyard.contracts import AppliedPart, OpenWeights
from steelyard.errors import UsageError
from steelyard.parts import part


@part()
def magnitude(
    model: OpenWeights,
    *,
    sparsity: Share | None = None,
    pattern: Pattern = None,
    scope: Literal["layer", "global"] = "layer",
    skip: tuple[str, ...] = (),
) -> OpenWeights:
    """Set the weights of least |w| in the linear layers of the blocks to zero; no data is looked at.

    Args:
        model: a model whose family says where its projections are.
        sparsity: share of weights that become zero, between 0 and 1; one half unless ``pattern`` says it.
        pattern: ``n:m``: exactly n of every m consecutive weights of a row become zero.
        scope: whether the share is taken of each matrix or of all together, where matrices of small weights lose
            more.
        skip: layers to leave alone: roles such as ``down``, or parts of names.

    Raises:
        UsageError: a pattern that does not divide a layer's width, or contradicts ``sparsity`` or ``scope``.
        CapabilityError: an architecture without family data.

    Source:
        To prune, or not to prune: exploring the efficacy of pruning for model compression (2017), section 3, in
        one shot and without training.

    Relations:
        ``sparsegpt`` weighs weights by their inputs and lets those that stay make up for the loss; this is its
        baseline.

    Example:
        >>> sparse = magnitude(model, pattern="2:4")  # doctest: +SKIP
    """
    wanted = sparsity_of("magnitude", sparsity, pattern)
    if wanted.of and scope == "global":
        raise UsageError("part 'magnitude': a pattern holds in every layer; leave scope=global out")
    check_widths("magnitude", wanted, (m for block in matrices_of(model, model.module, skip) for m in block))
    settings = {"sparsity": wanted.share, "pattern": wanted.pattern, "scope": scope, "skip": list(skip)}
    applied = AppliedPart("magnitude", settings)
    if scope == "global":
        return _prune_globally(model, wanted.share, skip, applied)

    def method(weight: torch.Tensor, _inputs: Hessian) -> Solution:
        return Solution(prune_smallest(weight, wanted))

    return solve_weights(model, method, applied, skip)


def prune_smallest(weight: torch.Tensor, sparsity: Sparsity) -> torch.Tensor:
    """A matrix (out, in) with its smallest weights set to zero.

    >>> prune_smallest(torch.tensor([[3.0, -1.0, 2.0, 4.0]]), Sparsity(0.5, 1, 2)).tolist()
    [[3.0, 0.0, 0.0, 4.0]]
    """
    size = weight.abs()
    if sparsity.of and sparsity.zeros:
        return weight.masked_fill(lowest_of_each(size, sparsity.zeros, sparsity.of), 0.0)
    return weight.masked_fill(lowest(size, sparsity.share), 0.0)


class Threshold(NamedTuple):
    """Magnitudes whose float32 reads as an integer under ``bits`` go, and ``ties`` of those equal to it."""

    bits: int
    ties: int


def magnitude_threshold(weights: Callable[[], Iterable[torch.Tensor]], count: int) -> Threshold:
    """Where the ``count`` smallest magnitudes of many tensors end, exactly, without holding them together.

    Non-negative floats are ordered as the integers their bits spell: one pass counts the upper 16 bits, a second
    the lower ones in the bin that the count falls into. ``weights`` gives the same tensors each time it is called.

    >>> magnitude_threshold(lambda: [torch.tensor([0.5, -2.0]), torch.tensor([1.0])], 2).ties
    1
    """
    upper, before = _bin_of((_bits(weight) >> 16 for weight in weights()), count)
    inside = (bits[bits >> 16 == upper] & 0xFFFF for bits in map(_bits, weights()))
    lower, less = _bin_of(inside, count - before)
    return Threshold((upper << 16) + lower, count - before - less)


def _bits(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().abs().float().contiguous().view(torch.int32)


def _bin_of(numbers: Iterable[torch.Tensor], count: int) -> tuple[int, int]:
    """The value among 0 ... 65535 that the ``count``-th smallest of all numbers has, and how many are smaller."""
    counts = torch.zeros(1 << 16, dtype=torch.int64)
    for tensor in numbers:
        counts += torch.bincount(tensor.flatten(), minlength=1 << 16).cpu()
    totals = counts.cumsum(0)
    value = int(torch.searchsorted(totals, count))
    return value, int(totals[value] - counts[value])


def _prune_globally(
    model: OpenWeights, share_of_all: float, skip: Sequence[str], applied: AppliedPart
) -> OpenWeights:
    module = share(model.module)
    blocks = matrices_of(model, module, skip)

    def weights() -> Iterator[torch.Tensor]:
        return (matrix.read() for block in blocks for matrix in block)

    threshold, ties = magnitude_threshold(weights, round(share_of_all * sum(w.numel() for w in weights())))
    for block in blocks:
        solved = []
        for matrix in block:
            bits = _bits(matrix.read())
            mask, equal = bits < threshold, (bits == threshold).nonzero()[:ties]
            mask[equal[:, 0], equal[:, 1]] = True
            ties -= len(equal)
            solved.append((matrix, matrix.read().masked_fill(mask, 0.0)))
        write_matrices(solved)
    return model.evolve(module, applied)
