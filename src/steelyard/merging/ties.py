"""Task vectors trimmed and freed from quarrels about signs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from steelyard.merging.sparsifiers import largest, masked
from steelyard.merging.task_vectors import Densities, Number, Weights, combine, with_densities
from steelyard.parts import part

if TYPE_CHECKING:
    import torch


@part()
def ties(
    tensors: Sequence[torch.Tensor],
    base: torch.Tensor,
    *,
    weight: Weights = 1.0,
    density: Densities = 0.2,
    consensus: Literal["sum", "count"] = "sum",
    normalise: bool = True,
    scale: Number = 1.0,
) -> torch.Tensor:
    """Keep the largest changes of each model, elect a sign for every weight, and average those that agree.

    1. Trim: of each task vector x_i - base the share ``density`` with the largest magnitude stays.
    2. Elect: the sign of a weight is that of the weighted sum over models (or of a count of signs).
    3. Disjoint merge: the weighted mean over the models whose change has that sign; zeros do not count.

    merged = base + scale * that mean.

    Args:
        tensors: one tensor of each model, all of one shape.
        base: that of the model they were finetuned from.
        weight: one weight for all, or one for each model.
        density: share of entries to keep, one for all or one for each model; 0.2 is the paper's.
        consensus: how signs are elected.
        normalise: mean rather than sum.
        scale: factor on the whole change (the paper's lambda).

    Raises:
        UsageError: not one weight or density for each model.

    Source:
        TIES-Merging: Resolving Interference When Merging Models, section 4 and Algorithm 1. Entries are ranked
        within their tensor, as in mergekit and peft, so that memory stays at one tensor of each model; the
        authors' code ranks those of all tensors together.

    Relations:
        ``task-arithmetic`` neither trims nor elects; ``dare`` and ``della`` drop by chance instead of trimming;
        ``breadcrumbs`` drops the largest changes too.

    Example:
        >>> import torch
        >>> models = [torch.tensor([4.0, 0.1]), torch.tensor([-1.0, 3.0]), torch.tensor([2.0, 1.0])]
        >>> ties(models, torch.zeros(2), density=0.5).tolist()  # of the first weight 4 and 2 agree
        [3.0, 3.0]
    """
    vectors = [masked(vector, largest(vector, share)) for vector, share in with_densities(tensors, base, density)]
    return combine(base, vectors, weight, consensus=consensus, normalise=normalise, scale=scale)
