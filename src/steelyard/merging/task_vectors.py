"""Task vectors, what finetuning added to a base model, and the ways of making one of several.

merged = base + scale * consensus(weight_i * sparsified(tensor_i - base))

Every method of this kind is a sparsifier (:mod:`steelyard.merging.sparsifiers`), a consensus and two switches;
this module has the rest. All functions are pure and work on one named tensor of each model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def with_densities(
    tensors: Sequence[torch.Tensor], base: torch.Tensor, density: float | Sequence[float]
) -> Iterator[tuple[torch.Tensor, float]]:
    """Each model's task vector and the share of it to keep; UsageError for not one density for each model."""
    densities = per_model(density, len(tensors), "density")
    return zip(task_vectors(tensors, base), densities, strict=True)


def elected_signs(weighted: Sequence[torch.Tensor], by: Literal["sum", "count"]) -> torch.Tensor:
    """The sign of each entry that models elect, 1 or -1.

    ``weighted`` are their weighted task vectors. An entry is decided by the sign of their ``sum``, so that large
    changes count for more, or by a ``count`` of signs. A draw elects plus.

    >>> import torch
    >>> vectors = [torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 0.0]), torch.tensor([-1.0, -2.0])]
    >>> elected_signs(vectors, "sum").tolist()
    [1, -1]
    """
    import torch

    votes = torch.zeros_like(weighted[0])
    for vector in weighted:
        votes += vector if by == "sum" else vector.sign()
    return (votes >= 0) * 2 - 1


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

    With a consensus an entry counts where it has the elected sign; zeros have none. With ``normalise`` the sum is
    divided by the weights that went into it, entry by entry: a mean over the models that agree. Weights that
    cancel (below 1e-8) divide by one.
    """
    import torch

    weights = per_model(weight, len(vectors), "weight")
    weighted = [vector * value for vector, value in zip(vectors, weights, strict=True)]
    signs = None if consensus == "none" else elected_signs(weighted, consensus)
    mixed, divisor = torch.zeros_like(base), torch.zeros_like(base)
    for vector, value in zip(weighted, weights, strict=True):
        kept = torch.ones_like(vector) if signs is None else (vector.sign() == signs).to(vector)
        mixed += vector * kept
        divisor += value * kept
    if normalise:
        mixed = mixed / torch.where(divisor.abs() < 1e-8, torch.ones_like(divisor), divisor)
    return base + scale * mixed
