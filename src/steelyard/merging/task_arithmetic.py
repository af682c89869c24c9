"""Adding what models have beyond their base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.merging.task_vectors import Number, Weights, combine, task_vectors
from steelyard.parts import part

if TYPE_CHECKING:
    import torch


@part()
def task_arithmetic(
    tensors: Sequence[torch.Tensor],
    base: torch.Tensor,
    *,
    weight: Weights = 1.0,
    normalise: bool = False,
    scale: Number = 1.0,
) -> torch.Tensor:
    """Add to a base what finetuned models have beyond it; a negative weight takes an ability away.

    merged = base + scale * sum_i w_i (x_i - base), the sum divided by sum_i w_i with ``normalise``.

    Args:
        tensors: one tensor of each model, all of one shape.
        base: that of the model they were finetuned from.
        weight: one weight for all, or one for each model.
        normalise: divide by the sum of the weights.
        scale: factor on the whole change.

    Raises:
        UsageError: not one weight for each model.

    Source:
        Editing Models with Task Arithmetic, section 2: task vectors, their addition and negation.

    Relations:
        ``ties``, ``dare``, ``della`` and ``breadcrumbs`` thin the task vectors out first.

    Example:
        >>> import torch
        >>> task_arithmetic([torch.tensor([3.0]), torch.tensor([2.0])], torch.tensor([1.0])).tolist()
        [4.0]
    """
    vectors = task_vectors(tensors, base)
    return combine(base, vectors, weight, consensus="none", normalise=normalise, scale=scale)
