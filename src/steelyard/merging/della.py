"""Task vectors thinned out by chance, small changes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from steelyard.merging.sparsifiers import Rescale, drawn, generator_of, masked, rank_probabilities
from steelyard.merging.task_vectors import Consensus, Densities, Number, Weights, combine, with_densities
from steelyard.parts import part

if TYPE_CHECKING:
    import torch


@part(also=["della-ties", "della-linear"])
def della(
    tensors: Sequence[torch.Tensor],
    base: torch.Tensor,
    name: str,
    *,
    weight: Weights = 1.0,
    density: Densities = 0.5,
    epsilon: Annotated[float, Field(ge=0, lt=0.5)] = 0.15,
    consensus: Consensus = "sum",
    rescale: Rescale = "expectation",
    normalise: bool = True,
    scale: Number = 1.0,
    seed: int = 0,
) -> torch.Tensor:
    """Drop changes at random, small ones more often than large ones, then elect signs and average.

    1. Drop (MAGPRUNE): within its row an entry of x_i - base is kept with a probability that grows evenly with the
       rank of its magnitude, from density - epsilon to density + epsilon, and divided by that probability.
    2. Elect a sign for every weight and
    3. fuse the changes that have it, as in ``ties``; with ``consensus`` "none" all are added up.

    Args:
        tensors: one tensor of each model, all of one shape.
        base: that of the model they were finetuned from.
        name: the tensor's name: what is drawn depends on it and the seed, not on the order of work.
        weight: one weight for all, or one for each model.
        density: mean probability of being kept, one for all or one for each model.
        epsilon: half the range of the probabilities; 0 is ``dare``.
        consensus: "none" (also called della-linear), or how signs are elected.
        rescale: "expectation" is the paper's; "norm" keeps the L1 norm of the tensor instead, as mergekit does.
        normalise: mean rather than sum.
        scale: factor on the whole change (the paper's lambda).
        seed: of what is dropped.

    Raises:
        UsageError: probabilities outside 0 to 1, or not one weight or density for each model.

    Source:
        DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling, section 3.

    Relations:
        ``dare`` drops all entries with one probability; ``ties`` draws nothing.

    Example:
        >>> import torch
        >>> della([torch.ones(8)], torch.zeros(8), "w", density=0.5, epsilon=0.0).unique().tolist()
        [0.0, 2.0]
    """
    generator = generator_of(seed, name)
    vectors = []
    for vector, share in with_densities(tensors, base, density):
        if share < 1:
            probabilities = rank_probabilities(vector, share, epsilon)
            vector = masked(vector, drawn(probabilities, generator), rescale, probabilities)
        vectors.append(vector)
    return combine(base, vectors, weight, consensus=consensus, normalise=normalise, scale=scale)
