"""What to remove from several matrices under one threshold: the cheapest removals anywhere, up to a share of all.

Costs of different matrices are compared as they are, so a layer that matters little gives much and one that
matters much gives nothing. Numbers are exact: of equal costs the first in order go until the number is reached.

Source: The LLM Surgeon, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from steelyard.compression.sparsity_patterns import lowest_of_each

REMOVED = -1.0
"""The cost of what is already gone: below every real cost, so that it stays gone."""


class RowsAndColumns(NamedTuple):
    """Something for each row (r,) and each column (c,) of one matrix: costs, or whether they go."""

    rows: torch.Tensor
    columns: torch.Tensor


def cheapest(costs: Sequence[torch.Tensor], count: int) -> list[torch.Tensor]:
    """Masks, shaped as ``costs``, of the ``count`` least of all their entries.

    >>> cheapest([torch.tensor([3.0, 1.0]), torch.tensor([[2.0], [2.0]])], 2)
    [tensor([False,  True]), tensor([[ True],
            [False]])]
    """
    flat = torch.cat([cost.flatten() for cost in costs])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    if count:
        threshold = flat.kthvalue(count).values
        chosen = flat < threshold
        ties = (flat == threshold).nonzero()[:, 0]
        chosen[ties[: count - int(chosen.sum())]] = True
    parts = torch.split(chosen, [cost.numel() for cost in costs])
    return [part.view(cost.shape) for part, cost in zip(parts, costs, strict=True)]


def cheapest_share(costs: Sequence[torch.Tensor], share: float) -> list[torch.Tensor]:
    """The cheapest entries, ``share`` of all, rounded to a whole number."""
    return cheapest(costs, round(share * sum(cost.numel() for cost in costs)))


def cheapest_of_blocks(costs: Sequence[torch.Tensor], n: int, m: int, share: float) -> list[torch.Tensor]:
    """Masks of the ``n`` cheapest in whole blocks of ``m`` neighbours in a row, ``share`` of all entries in total.

    Each of ``costs`` is (r, c) with c a multiple of m; a block costs the sum of its n cheapest, and the cheapest
    blocks anywhere lose these n. At ``share`` n / m every block does.
    """
    lowest = [lowest_of_each(cost, n, m) for cost in costs]
    sums = [(cost * mask).reshape(-1, m).sum(1) for cost, mask in zip(costs, lowest, strict=True)]
    chosen = cheapest_share(sums, share * m / n)
    return [
        (mask.reshape(-1, m) & blocks[:, None]).view(mask.shape)
        for mask, blocks in zip(lowest, chosen, strict=True)
    ]


def cheapest_rows_and_columns(costs: Sequence[RowsAndColumns], share: float) -> list[RowsAndColumns]:
    """Masks of the rows and columns that go, so that at most ``share`` of all weights do.

    Rows and columns of all matrices are taken by cost, cheapest first, until the next would remove too much. A
    weight in a removed row and a removed column counts once.
    """
    shapes = [(len(cost.rows), len(cost.columns)) for cost in costs]
    flat = torch.cat([torch.cat(list(cost)) for cost in costs])
    owners = [(matrix, place) for matrix, (r, c) in enumerate(shapes) for place in range(r + c)]
    masks = [RowsAndColumns(*(torch.zeros_like(values, dtype=torch.bool) for values in cost)) for cost in costs]
    left = [[r, c] for r, c in shapes]  # rows and columns still there
    budget = int(share * sum(r * c for r, c in shapes))
    for index in flat.argsort(stable=True).tolist():
        matrix, place = owners[index]
        rows = shapes[matrix][0]
        is_row = place < rows
        budget -= left[matrix][1 if is_row else 0]
        if budget < 0:
            break
        left[matrix][0 if is_row else 1] -= 1
        mask = masks[matrix].rows if is_row else masks[matrix].columns
        mask[place if is_row else place - rows] = True
    return masks
