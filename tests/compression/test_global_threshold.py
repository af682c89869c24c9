from __future__ import annotations

import pytest
import torch

from steelyard.compression.global_threshold import (
    REMOVED,
    RowsAndColumns,
    cheapest,
    cheapest_of_blocks,
    cheapest_rows_and_columns,
    cheapest_share,
)


def random_costs(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [scale * torch.rand(shape, generator=generator) for scale, shape in enumerate(shapes, start=1)]


@pytest.mark.parametrize("count", [0, 1, 7, 26])
def test_the_cheapest_anywhere_are_taken_and_so_many(count: int) -> None:
    costs = random_costs((3, 4), (2, 7))
    masks = cheapest(costs, count)
    taken = torch.cat([cost[mask] for cost, mask in zip(costs, masks, strict=True)])
    left = torch.cat([cost[~mask] for cost, mask in zip(costs, masks, strict=True)])
    assert len(taken) == count
    if count and len(left):
        assert taken.max() < left.min()


def test_of_equal_costs_the_first_go_until_the_number_is_reached() -> None:
    masks = cheapest([torch.ones(2, 2), torch.ones(3)], 5)
    assert [mask.tolist() for mask in masks] == [[[True, True], [True, True]], [True, False, False]]


def test_a_share_is_of_all_matrices_together() -> None:
    masks = cheapest_share([torch.full((10, 4), 2.0), torch.full((5, 4), 1.0)], 0.5)
    assert [int(mask.sum()) for mask in masks] == [10, 20]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_blocks_lose_their_n_cheapest_or_nothing(share: float) -> None:
    costs = random_costs((6, 8), (4, 16))
    masks = cheapest_of_blocks(costs, 2, 4, share)
    lost, kept = [], []
    for cost, mask in zip(costs, masks, strict=True):
        for block, chosen in zip(cost.view(-1, 4), mask.view(-1, 4), strict=True):
            assert int(chosen.sum()) in (0, 2)
            cheap = block.sort().values[:2]
            (lost if chosen.any() else kept).append(float(cheap.sum()))
            if chosen.any():
                assert sorted(block[chosen].tolist()) == cheap.tolist()
    assert len(lost) == round(share * 2 * (len(lost) + len(kept)))
    assert not kept or max(lost) <= min(kept)


def removed(masks: list[RowsAndColumns]) -> int:
    return sum(int((mask.rows[:, None] | mask.columns[None, :]).sum()) for mask in masks)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_rows_and_columns_go_by_cost_up_to_the_share(share: float) -> None:
    values = random_costs((6,), (9,), (4,), (5,))
    costs = [RowsAndColumns(*values[:2]), RowsAndColumns(*values[2:])]
    total = 6 * 9 + 4 * 5
    masks = cheapest_rows_and_columns(costs, share)
    pairs = [(v, m) for cost, mask in zip(costs, masks, strict=True) for v, m in zip(cost, mask, strict=True)]
    taken = torch.cat([v[m] for v, m in pairs])
    left = torch.cat([v[~m] for v, m in pairs])
    assert removed(masks) <= share * total
    assert not len(taken) or taken.max() < left.min()
    cheapest_left = left.min()
    for cost, mask in zip(costs, masks, strict=True):  # one more would be too much
        mask.rows[(cost.rows == cheapest_left)] = True
        mask.columns[(cost.columns == cheapest_left)] = True
    assert removed(masks) > share * total


def test_what_is_gone_already_goes_first_and_counts() -> None:
    first = RowsAndColumns(torch.tensor([REMOVED, 0.0, 5.0, 5.0]), torch.tensor([9.0, 9.0]))
    second = RowsAndColumns(torch.tensor([0.5, 5.0]), torch.tensor([REMOVED, 9.0]))
    masks = cheapest_rows_and_columns([first, second], 0.5)  # 6 of 12 weights: 2 + 2 gone, 2 more, and 1 too many
    assert masks[0].rows.tolist() == [True, True, False, False]
    assert masks[1].columns.tolist() == [True, False]
    assert masks[1].rows.tolist() == [False, False]
    assert not masks[0].columns.any()
