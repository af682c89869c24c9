"""The average of models, drawn towards their base as far as their angle tells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from steelyard.errors import UsageError
from steelyard.parts import part

if TYPE_CHECKING:
    import torch


@part()
def model_stock(tensors: Sequence[torch.Tensor], base: torch.Tensor, *, filter_wise: bool = False) -> torch.Tensor:
    """Interpolate between a base and the average of models finetuned from it, by the angle between these.

    With cos(theta) the mean cosine between the changes x_i - base of any two of N models,

        t = N cos(theta) / (1 + (N - 1) cos(theta)),   merged = t * mean_i x_i + (1 - t) * base

    Changes that point the same way (cos = 1) give the average, unrelated ones (cos = 0) the base. No weight is to
    be chosen. Where the denominator vanishes the changes cancel, and the base is taken.

    Args:
        tensors: one tensor of each model, all of one shape.
        base: that of the model they were finetuned from.
        filter_wise: one angle for every row (along the last dimension) instead of one for the tensor.

    Raises:
        UsageError: fewer than two models.

    Source:
        Model Stock: All we need is just a few fine-tuned models, section 4: the interpolation ratio for N models.
        For more than two the paper assumes that all angles are equal; their mean cosine is taken, as in mergekit.

    Relations:
        ``linear`` takes the average as it is; ``task-arithmetic`` scales it by a number to be chosen.

    Example:
        >>> import torch
        >>> model_stock([torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])], torch.zeros(2)).shape
        torch.Size([2])
    """
    import torch

    if len(tensors) < 2:
        raise UsageError("part 'model-stock' needs a base and two models or more")
    width = base.shape[-1] if filter_wise and base.dim() else base.numel()
    changes = [(tensor - base).reshape(-1, width) for tensor in tensors]
    cosines = []
    for one, other in combinations(changes, 2):
        lengths = torch.linalg.vector_norm(one, dim=1) * torch.linalg.vector_norm(other, dim=1)
        cosines.append(((one * other).sum(1) / lengths.clamp(min=torch.finfo(base.dtype).tiny)).clamp(-1, 1))
    cosine = torch.stack(cosines).mean(0)
    number = len(tensors)
    denominator = 1 + (number - 1) * cosine
    safe = denominator.abs() > 1e-6
    ratio = torch.where(safe, number * cosine / torch.where(safe, denominator, 1.0), 0.0).unsqueeze(1)
    mean = torch.stack(changes).mean(0)
    return base + (ratio * mean).reshape(base.shape)
