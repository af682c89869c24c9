"""Weight-only rounding to 4 or 8 bits with a group size found for each matrix from its weights alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field, PositiveInt
from torch import nn

from steelyard.contracts import AppliedPart, OpenWeights
from steelyard.errors import CapabilityError, ModelError
from steelyard.models.grouped_kernels import Grouped, group_ranges, quantize_groups
from steelyard.models.grouped_linear import GroupedExperts, GroupedLinear
from steelyard.models.int8_linear import weight_of
from steelyard.models.quantized import exchange, expert_names, linear_names
from steelyard.parts import part


@part(papers=[147])
def finequant(
    model: OpenWeights,
    *,
    bits: Literal[4, 8] = 4,
    group: PositiveInt | Literal["adaptive", "column"] = "adaptive",
    alpha: Annotated[float, Field(ge=1.0)] = 1.2,
    minimum: PositiveInt = 32,
    head: bool = True,
    skip: tuple[str, ...] = (),
) -> OpenWeights:
    """Round the weights of every linear layer and expert to 4 or 8 bits, in groups as fine as their outliers ask.

    A weight is rounded to nearest: w ~ s * round(w / s) with s = max|w| / 7 (or 127) over one output's weights in
    a group of inputs, kept in half precision. No data are needed, and the error is at most s / 2. For each matrix
    of n inputs the group size g is found as follows:

        r(g)  = mean over outputs and groups of max|w|, the range that a scale has to cover
        f     = n, halved as long as it is even and its half not less than ``minimum``: the finest groups
        g     = n: one scale for each output ("column-wise", where a matrix multiplies from the right)
        while g > f and r(g) > alpha * r(f):  g = g / 2

    Ranges fall as groups get finer, and fall fast where a few outliers stretch the groups they are in, so such
    matrices end with finer groups. Since errors are proportional to ranges, the rounding error of a matrix is on
    average about ``alpha`` times that of the finest groups at most. All experts of a layer share the finest size
    that one of them asks for.

    The result runs packed: integers are turned into floats inside the matrix products, on the CPU in registers for
    few tokens. Bits a weight: ``bits`` + 16 / g + 32 / outputs (64 / outputs with 8 bits). A head that is tied to
    the embedding becomes a packed matrix of its own beside it. Embeddings, norms and routers stay as they are.

    Args:
        model: any model with linear layers.
        bits: bits of a rounded weight.
        group: ``adaptive`` as above, or the same for all matrices: a number of inputs, or ``column`` for all of
            them. With either of these it is plain round-to-nearest, the usual baseline.
        alpha: how much wider than in the finest groups ranges may be on average, for ``adaptive``.
        minimum: the finest group, for ``adaptive``.
        head: whether the output head is rounded too.
        skip: layers to leave in floating point: names, or last or inner parts of names (``"lm_head"``,
            ``"down_proj"``, ``"model.layers.0"``).

    Raises:
        CapabilityError: the model has no linear layer left to replace.
        ModelError: weights that are not finite or too large for half-precision scales.

    Source:
        FineQuant: Unlocking Efficiency with Fine-Grained Weight-Only Quantization for LLMs, the adaptive choice of
        granularity: start with whole columns and halve while range statistics signal outliers beyond a threshold.
        That the statistic is the mean range over that of the finest groups is this implementation's choice.

    Relations:
        ``int8`` has one scale for each output, in single precision. ``sparsegpt`` and ``billm`` look at data, and
        correct the weights not yet rounded for the error of those that are.

    Example:
        >>> smaller = finequant(model)  # doctest: +SKIP
        >>> baseline = finequant(model, bits=4, group=64)  # doctest: +SKIP
    """
    module = model.module
    linears = linear_names(module, skip=skip, head=head)
    experts = expert_names(module, skip=skip)
    if not linears and not experts:
        raise CapabilityError(f"{type(module).__name__} has no linear layers that finequant could replace")
    found: dict[str, nn.Module | nn.Parameter] = {}
    for name in (*linears, *experts):
        old: Any = module.get_submodule(name) if name in linears else module.get_parameter(name)
        matrices = [weight_of(old)] if isinstance(old, nn.Module) else list(old.detach())
        try:
            size = _size(matrices, group, alpha, minimum)
            rounded = [quantize_groups(matrix, size, bits) for matrix in matrices]
        except ModelError as error:
            raise ModelError(f"finequant: {name} has {error}; leave it out with skip") from error
        found[name] = _replacement(old, rounded, bits, size)
    settings: dict[str, Any] = {"bits": bits, "group": group, "head": head, "skip": list(skip)}
    if group == "adaptive":
        settings |= {"alpha": alpha, "minimum": minimum}
    return model.evolve(exchange(module, found), AppliedPart("finequant", settings))


def adaptive_group(weight: torch.Tensor, alpha: float, minimum: int) -> int:
    """The group size of a matrix (out, in), as :func:`finequant` describes it; at most ``in``, all its columns.

    >>> clean = torch.ones(8, 64)
    >>> spiked = clean.clone()
    >>> spiked[:, 5] = 30.0
    >>> adaptive_group(clean, 1.2, 16), adaptive_group(spiked, 1.2, 16)
    (64, 16)
    """
    size = weight.shape[1]
    values = weight.detach().float()

    def mean_range(group: int) -> float:
        return float(group_ranges(values, min(group, size)).mean())

    finest = size
    while finest % 2 == 0 and finest // 2 >= minimum:
        finest //= 2
    limit = alpha * mean_range(finest)
    while size > finest and mean_range(size) > limit:
        size //= 2
    return size


def _size(matrices: list[torch.Tensor], group: int | str, alpha: float, minimum: int) -> int:
    columns = matrices[0].shape[1]
    if group == "adaptive":
        return min(adaptive_group(matrix, alpha, minimum) for matrix in matrices)
    return columns if group == "column" else min(cast(int, group), columns)


def _replacement(old: Any, rounded: list[Grouped], bits: int, group: int) -> nn.Module:
    if isinstance(old, nn.Module):
        return GroupedLinear.from_linear(old, rounded[0], bits, group)
    return GroupedExperts.from_parameter(rounded, bits, group)
