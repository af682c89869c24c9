"""Weighted averages of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.errors import UsageError
from steelyard.merging.task_vectors import Weights, per_model
from steelyard.parts import part

if TYPE_CHECKING:
    import torch


@part(also=["soup"])
def linear(tensors: Sequence[torch.Tensor], *, weight: Weights = 1.0, normalise: bool = True) -> torch.Tensor:
    """Average the weights of models: a "soup".

    merged = sum_i w_i x_i / sum_i w_i, or without the division where ``normalise`` is off.

    Args:
        tensors: one tensor of each model, all of one shape.
        weight: one weight for all, or one for each model.
        normalise: divide by the sum of the weights.

    Raises:
        UsageError: weights that sum to zero, or not one for each model.

    Source:
        Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference
        time, section 2 (uniform soup, for equal weights).

    Relations:
        ``slerp`` goes from one model to another along an arc instead of a line; ``task-arithmetic`` adds what
        models have beyond a base; ``model-stock`` chooses the weight of the average by its angle.

    Example:
        >>> import torch
        >>> linear([torch.tensor([1.0]), torch.tensor([5.0])], weight=(3.0, 1.0)).tolist()
        [2.0]
    """
    weights = per_model(weight, len(tensors), "weight")
    total = sum(weights)
    if normalise and abs(total) < 1e-8:
        raise UsageError("part 'linear': the weights sum to zero; give others, or normalise=false")
    divisor = total if normalise else 1.0
    merged = tensors[0] * (weights[0] / divisor)
    for tensor, value in zip(tensors[1:], weights[1:], strict=True):
        merged += tensor * (value / divisor)
    return merged
