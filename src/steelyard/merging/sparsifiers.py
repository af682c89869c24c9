"""Which entries of a task vector to keep: by magnitude, by chance, by chance and rank, or without outliers.

A mask is a boolean of the vector's shape. Methods that draw one take probabilities and a generator apart, so that
what is drawn can be fixed in a test.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, TypeAlias

from steelyard.errors import UsageError

if TYPE_CHECKING:
    import torch

Rescale: TypeAlias = Literal["expectation", "norm", "none"]
"""What is done to the entries kept: divided by the probability of being kept, which leaves the expectation of
every
entry as it was; scaled so that their L1 norm is the whole vector's; or nothing."""


def largest(vector: torch.Tensor, density: float) -> torch.Tensor:
    """The share ``density`` of entries with the largest magnitude, at least one; of equals, the first ones.

    >>> import torch
    >>> largest(torch.tensor([0.1, -3.0, 2.0, 0.0]), 0.5).tolist()
    [False, True, True, False]
    """
    return without_outliers(vector, density, 0.0)


def without_outliers(vector: torch.Tensor, density: float, outliers: float) -> torch.Tensor:
    """The share ``density`` of entries with the largest magnitude after the very largest, a share ``outliers``.

    Where both shares do not fit, fewer outliers go. At least one entry stays.

    >>> import torch
    >>> without_outliers(torch.tensor([0.1, -3.0, 2.0, 0.0]), 0.5, 0.25).tolist()
    [True, False, True, False]
    """
    magnitudes = vector.abs().flatten()
    size = len(magnitudes)
    kept = size if density >= 1 else max(1, int(density * size))
    gone = min(int(outliers * size), size - kept)
    return (_top(magnitudes, gone + kept) & ~_top(magnitudes, gone)).reshape(vector.shape)


def _top(values: torch.Tensor, number: int) -> torch.Tensor:
    """Where the largest ``number`` of values are, by selection rather than sorting; of equals, the first ones."""
    import torch

    if number == 0 or number == len(values):
        return torch.full_like(values, bool(number), dtype=torch.bool)
    limit = torch.kthvalue(values, len(values) - number + 1).values
    mask = values > limit
    equal = (values == limit).nonzero().flatten()
    mask[equal[: number - int(mask.sum())]] = True
    return mask


def rank_probabilities(vector: torch.Tensor, density: float, epsilon: float) -> torch.Tensor:
    """The probability of each entry to be kept, from density - epsilon for the smallest magnitude of its row to
    density + epsilon for the largest, evenly by rank; a vector is one row.

    >>> import torch
    >>> rank_probabilities(torch.tensor([5.0, -1.0, 3.0]), 0.5, 0.25).tolist()
    [0.75, 0.25, 0.5]
    """
    if density - epsilon <= 0 or density + epsilon >= 1:
        raise UsageError(
            f"density {density:g} and epsilon {epsilon:g}: density - epsilon and density + epsilon must lie "
            "between 0 and 1; lower epsilon"
        )
    width = vector.shape[-1] if vector.dim() else 1
    ranks = vector.abs().reshape(-1, width).argsort(dim=-1, stable=True).argsort(dim=-1).to(vector.dtype)
    share = ranks / (width - 1) if width > 1 else ranks + 0.5
    return (density - epsilon + 2 * epsilon * share).reshape(vector.shape)


def drawn(probabilities: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A mask in which each entry is kept with its own probability."""
    import torch

    return torch.bernoulli(probabilities, generator=generator).bool()


def masked(
    vector: torch.Tensor,
    mask: torch.Tensor,
    rescale: Rescale = "none",
    probabilities: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """The vector with zeros outside the mask, rescaled; ``probabilities`` are those the mask was drawn with.

    >>> import torch
    >>> masked(torch.tensor([1.0, 3.0]), torch.tensor([False, True]), "norm").tolist()
    [0.0, 4.0]
    """
    kept = vector * mask
    if rescale == "expectation":
        return kept / probabilities
    if rescale == "norm":
        before, after = vector.abs().sum(), kept.abs().sum()
        return kept if min(before, after) < 1e-7 else kept * (before / after)
    return kept


def generator_of(seed: int, name: str) -> torch.Generator:
    """Random numbers for one tensor of one merge: they depend on seed and name alone, not on the order of work."""
    import torch

    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
