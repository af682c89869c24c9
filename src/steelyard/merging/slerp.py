"""Interpolation of two models along an arc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.errors import UsageError
from steelyard.merging.task_vectors import Number
from steelyard.parts import part

if TYPE_CHECKING:
    import torch

COLINEAR = 0.9995
"""From this cosine on the arc is as good as a line, and dividing by the sine of its angle would lose precision."""


@part()
def slerp(tensors: Sequence[torch.Tensor], *, t: Number = 0.5) -> torch.Tensor:
    """Go from one model to another along the arc between their weights, tensor by tensor.

    With theta the angle between the two tensors as vectors,

        merged = sin((1 - t) theta) / sin(theta) * x_1 + sin(t theta) / sin(theta) * x_2

    which keeps the length of vectors of equal length, where an average shortens them. Tensors that point almost
    the same way, or the opposite one (|cos theta| > 0.9995), and tensors of zeros are interpolated on the line.

    Args:
        tensors: one tensor of each of two models.
        t: 0 is the first model, 1 the second.

    Raises:
        UsageError: other than two models.

    Source:
        Animating Rotation with Quaternion Curves (Shoemake 1985), section 3.3, applied to flattened tensors as
        merging tools do.

    Relations:
        ``linear`` takes any number of models and the straight line.

    Example:
        >>> import torch
        >>> round(float(slerp([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])])[0]), 4)
        0.7071
    """
    import torch

    if len(tensors) != 2:
        raise UsageError(f"part 'slerp' merges two models, not {len(tensors)}; linear takes more")
    first, second = tensors
    lengths = torch.linalg.vector_norm(first.double()) * torch.linalg.vector_norm(second.double())
    cosine = (first.double() * second.double()).sum() / lengths
    if not abs(cosine) <= COLINEAR:  # also where it is not a number: a tensor of zeros
        return (1 - t) * first + t * second
    angle = torch.arccos(cosine)
    shares = torch.sin((1 - t) * angle) / torch.sin(angle), torch.sin(t * angle) / torch.sin(angle)
    return float(shares[0]) * first + float(shares[1]) * second
