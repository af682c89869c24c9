"""RankNet: the loss of a ranking under an order of which only the pairs count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


def ranknet_loss(
    scores: torch.Tensor, ranks: torch.Tensor, reduction: Literal["sum", "mean"] = "mean"
) -> torch.Tensor:
    """Loss of ``scores`` under ``ranks``, the places that a teacher gave: 1 is best, equals are not compared.

    L = sum over pairs with rank_i < rank_j of log(1 + exp(s_j - s_i)): each pair is a binary cross-entropy that
    the better passage is scored higher. ``mean`` divides by the number of pairs.

    Args:
        scores: float (..., n), higher is better.
        ranks: any dtype, the same shape; padding has the rank NaN or infinity.
        reduction: over all pairs.

    Returns:
        A scalar; 0 where no two passages have different ranks.

    Source:
        Is ChatGPT Good at Search? Investigating Large Language Models as Re-Ranking Agent (2023), section 4, with
        the sign and the mean of its released code; Burges et al. 2005, "Learning to rank using gradient descent".

    >>> import torch
    >>> round(float(ranknet_loss(torch.tensor([2.0, 1.0]), torch.tensor([1, 2]))), 4)
    0.3133
    """
    import torch

    places = ranks.to(scores.dtype)
    real = torch.isfinite(places)
    better = (places.unsqueeze(-1) < places.unsqueeze(-2)) & real.unsqueeze(-1) & real.unsqueeze(-2)
    behind = scores.unsqueeze(-2) - scores.unsqueeze(-1)  # [i, j] = s_j - s_i
    losses = torch.nn.functional.softplus(behind[better])
    if reduction == "sum" or not losses.numel():
        return losses.sum()
    return losses.mean()
