"""Task vectors thinned out by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.merging.sparsifiers import Rescale, drawn, generator_of, masked
from steelyard.merging.task_vectors import Consensus, Densities, Number, Weights, combine, with_densities
from steelyard.parts import part

if TYPE_CHECKING:
    import torch


@part(also=["dare-ties", "dare-linear"])
def dare(
    tensors: Sequence[torch.Tensor],
    base: torch.Tensor,
    name: str,
    *,
    weight: Weights = 1.0,
    density: Densities = 0.5,
    consensus: Consensus = "sum",
    rescale: Rescale = "expectation",
    normalise: bool = False,
    scale: Number = 1.0,
    seed: int = 0,
) -> torch.Tensor:
    """Drop changes at random and rescale the rest, so that models get less in each other's way.

    Each entry of x_i - base is kept with probability ``density`` and then divided by it, which leaves its
    expectation as it was. What is left is added up, after an election of signs unless ``consensus`` is "none".

    Args:
        tensors: one tensor of each model, all of one shape.
        base: that of the model they were finetuned from.
        name: the tensor's name: what is drawn depends on it and the seed, not on the order of work.
        weight: one weight for all, or one for each model.
        density: probability of being kept, one for all or one for each model.
        consensus: "none" (also called dare-linear), or how signs are elected as in ``ties`` (dare-ties).
        rescale: "expectation" is the paper's; "norm" keeps the L1 norm of the tensor instead, as mergekit does.
        normalise: divide by the weights that went in.
        scale: factor on the whole change.
        seed: of what is dropped.

    Raises:
        UsageError: not one weight or density for each model.

    Source:
        Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch, section 3:
        drop and rescale, before merging by task arithmetic or TIES.

    Relations:
        ``ties`` keeps the largest instead; ``della`` lets the probability depend on the rank.

    Example:
        >>> import torch
        >>> dare([torch.ones(4)], torch.zeros(4), "w", density=0.5, seed=1).unique().tolist()
        [0.0, 2.0]
    """
    generator = generator_of(seed, name)
    vectors = []
    for vector, share in with_densities(tensors, base, density):
        mask = drawn(vector.new_full(vector.shape, share), generator)
        vectors.append(masked(vector, mask, rescale, share))
    return combine(base, vectors, weight, consensus=consensus, normalise=normalise, scale=scale)
