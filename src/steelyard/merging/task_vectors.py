"""Task vectors, what finetuning added to a base model, and the ways of making one of several.

merged = base + scale * consensus(weight_i * sparsified(tensor_i - base))

Every method of this kind is a sparsifier (:mod:`steelyard.merging.sparsifiers`), a consensus and two switches;
this module has the rest. All functions are pure and work on one named tensor of each model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from steelyard.errors import UsageError

if TYPE_CHECKING:
    import torch

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Weights: TypeAlias = Number | tuple[Number, ...]
"""One weight for all models, or one for each in order."""
Densities: TypeAlias = Share | tuple[Share, ...]
Consensus: TypeAlias = Literal["none", "sum", "count"]


def per_model(values: float | Sequence[float], models: int, setting: str) -> list[float]:
    """A setting's value for each of ``models`` models.

    >>> per_model(0.5, 2, "density"), per_model((1.0, 0.5), 2, "weight")
    ([0.5, 0.5], [1.0, 0.5])
    """
    if isinstance(values, int | float):
        return [float(values)] * models
    if len(values) != models:
        raise UsageError(
            f"setting {setting!r} has {len(values)} values for {models} models; give one, or one each"
        )
    return [float(value) for value in values]


def task_vectors(tensors: Sequence[torch.Tensor], base: torch.Tensor) -> list[torch.Tensor]:
    """What each model's tensor has beyond the base's; all of one shape."""
    return [tensor - base for tensor in tensors]


def agreeing(weighted: torch.Tensor, by: Literal["sum", "count"]) -> torch.Tensor:
    """Which entries have the elected sign: a boolean of the shape (models, ...) of the weighted task vectors.

    The sign of an entry is elected over models by the sign of their ``sum``, so that large changes count for more,
    or by a ``count`` of signs. A draw elects plus. An entry of zero agrees with nothing.

    >>> import torch
    >>> agreeing(torch.tensor([[3.0, 1.0], [-1.0, 2.0], [-1.0, 0.0]]), "sum").int().tolist()
    [[1, 1], [0, 1], [0, 0]]
    """
    signs = weighted.sign()
    votes = weighted.sum(0) if by == "sum" else signs.sum(0)
    return signs == (votes >= 0) * 2 - 1


def combine(
    base: torch.Tensor,
    vectors: Sequence[torch.Tensor],
    weight: float | Sequence[float],
    *,
    consensus: Consensus,
    normalise: bool,
    scale: float,
) -> torch.Tensor:
    """The merged tensor: ``base`` plus ``scale`` times the weighted sum of what the consensus leaves.

    With ``normalise`` the sum is divided by the weights that went into it, entry by entry: a mean over the models
    that agree. Weights that cancel (below 1e-8) divide by one.
    """
    import torch

    stacked = torch.stack(list(vectors))
    weights = torch.tensor(per_model(weight, len(vectors), "weight"), dtype=stacked.dtype, device=stacked.device)
    weights = weights.reshape(-1, *[1] * (stacked.dim() - 1))
    weighted = stacked * weights
    if consensus == "none":
        mixed, divisor = weighted.sum(0), weights.sum(0)
    else:
        kept = agreeing(weighted, consensus)
        mixed, divisor = (weighted * kept).sum(0), (weights * kept).sum(0)
    if normalise:
        mixed = mixed / torch.where(divisor.abs() < 1e-8, torch.ones_like(divisor), divisor)
    return base + scale * mixed
