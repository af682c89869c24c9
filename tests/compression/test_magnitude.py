from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.compression.layer_matrices import matrices_of
from steelyard.compression.magnitude import magnitude, magnitude_threshold
from steelyard.errors import UsageError


def matrices(model: Any) -> list[torch.Tensor]:
    return [matrix.read() for block in matrices_of(model, model.module) for matrix in block]


def test_the_smallest_of_each_layer_go(tiny: Any) -> None:
    result = magnitude(tiny, sparsity=0.3)
    for before, after in zip(matrices(tiny), matrices(result), strict=True):
        size = before.abs().flatten()
        cut = size.sort().values[round(0.3 * len(size))]
        assert torch.equal(after, torch.where(before.abs() < cut, 0.0, before))


def test_globally_the_smallest_of_all_go(tiny: Any) -> None:
    before = torch.cat([m.flatten() for m in matrices(tiny)])
    after = torch.cat([m.flatten() for m in matrices(magnitude(tiny, sparsity=0.3, scope="global"))])
    cut = before.abs().sort().values[round(0.3 * len(before))]
    assert torch.equal(after, torch.where(before.abs() < cut, 0.0, before))


def test_transposed_weights_and_experts_are_cut_along_their_inputs(as_open_weights: Any) -> None:
    from family_models import build

    for name in ("gpt2", "mixtral"):
        result = magnitude(as_open_weights(build(name)), pattern="1:4")
        for matrix in matrices(result):
            assert ((matrix == 0).reshape(-1, 4).sum(-1) == 1).all()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from([0.0, -0.5, 0.5, 1e-30, 3.0, -7.25, 65504.0]), min_size=1), min_size=1),
    st.floats(0.05, 0.95),
)
def test_the_threshold_counts_exactly_ties_included(values: list[list[float]], share: float) -> None:
    tensors = [torch.tensor(part) for part in values]
    sizes = torch.cat(tensors).abs()
    count = round(share * len(sizes))
    if not count:
        return
    found = magnitude_threshold(lambda: tensors, count)
    cut = sizes.sort().values[count - 1]
    assert torch.tensor(found.bits, dtype=torch.int32).view(torch.float32) == cut
    assert found.ties == count - int((sizes < cut).sum())


def test_a_pattern_and_a_global_share_exclude_each_other(tiny: Any) -> None:
    with pytest.raises(UsageError, match="leave scope=global out"):
        magnitude(tiny, pattern="2:4", scope="global")
