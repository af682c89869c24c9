"""Task vectors without their smallest and their very largest entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from steelyard.merging.sparsifiers import masked, without_outliers
from steelyard.merging.task_vectors import Consensus, Densities, Number, Weights, combine, with_densities
from steelyard.parts import part

if TYPE_CHECKING:
    import torch


@part(also=["breadcrumbs-ties"])
def breadcrumbs(
    tensors: Sequence[torch.Tensor],
    base: torch.Tensor,
    *,
    weight: Weights = 1.0,
    density: Densities = 0.1,
    outliers: Annotated[float, Field(ge=0, lt=1)] = 0.01,
    consensus: Consensus = "none",
    normalise: bool = False,
    scale: Number = 1.0,
) -> torch.Tensor:
    """Drop the smallest and the very largest changes of each model, and add up the rest.

    Per tensor, the share ``outliers`` with the largest magnitude goes, and of the others the share ``density``
    with the largest magnitude stays: merged = base + scale * sum_i w_i m_i (x_i - base).

    Args:
        tensors: one tensor of each model, all of one shape.
        base: that of the model they were finetuned from.
        weight: one weight for all, or one for each model.
        density: share of entries to keep, one for all or one for each model.
        outliers: share of the largest entries to drop; fewer where it does not fit beside ``density``.
        consensus: "none" is the paper's; "sum" or "count" elect signs as in ``ties`` (breadcrumbs-ties).
        normalise: divide by the weights that went in.
        scale: factor on the whole change (the paper's alpha).

    Raises:
        UsageError: not one weight or density for each model.

    Source:
        Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks, section 3. The paper gives the two
        thresholds as percentiles beta and gamma of a layer: outliers = 1 - gamma, density = gamma - beta.

    Relations:
        ``ties`` keeps the very largest changes.

    Example:
        >>> import torch
        >>> breadcrumbs([torch.tensor([9.0, 0.1, 2.0, 1.0])], torch.zeros(4), density=0.5, outliers=0.25).tolist()
        [0.0, 0.0, 2.0, 1.0]
    """
    vectors = [
        masked(vector, without_outliers(vector, share, outliers))
        for vector, share in with_densities(tensors, base, density)
    ]
    return combine(base, vectors, weight, consensus=consensus, normalise=normalise, scale=scale)
