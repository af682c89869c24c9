from __future__ import annotations

from typing import Any

import pytest
import torch

from steelyard.compression.int8 import int8
from steelyard.contracts import Continuation
from steelyard.errors import CapabilityError
from steelyard.models.int8_linear import Int8Linear
from steelyard.models.quantized import int8_names


def test_every_linear_layer_and_the_head_are_replaced(tiny: Any) -> None:
    names = int8_names(int8(tiny).module)
    assert "lm_head" in names
    assert len(names) == 1 + 6 * 7
    assert not int8_names(tiny.module)


def test_head_and_named_layers_can_stay(tiny: Any) -> None:
    model = int8(tiny, head=False, skip=("down_proj", "model.layers.0.self_attn.q_proj"))
    names = int8_names(model.module)
    assert "lm_head" not in names
    assert len(names) == 6 * 6 - 1
    assert model.card.parts[-1].settings == {
        "head": False,
        "skip": ["down_proj", "model.layers.0.self_attn.q_proj"],
        "digits": 3,
    }


def test_a_layer_equals_the_formula(tiny: Any) -> None:
    """One layer against absmax quantization written out, per row of the weight and per token."""
    linear = tiny.module.model.layers[0].mlp.up_proj
    layer = int8(tiny, digits=1).module.model.layers[0].mlp.up_proj
    assert isinstance(layer, Int8Linear)
    x = torch.randn(5, 32)

    def rounded(rows: torch.Tensor) -> torch.Tensor:
        step = rows.abs().amax(1, keepdim=True) / 127
        return torch.round(rows / step) * step

    expected = rounded(x) @ rounded(linear.weight.detach()).T
    assert torch.allclose(layer(x), expected, atol=1e-4)
    precise = int8(tiny).module.model.layers[0].mlp.up_proj
    assert torch.allclose(precise(x), x @ rounded(linear.weight.detach()).T, atol=1e-5)


def test_scores_stay_close_and_memory_falls(tiny: Any, texts: list[str]) -> None:
    model = int8(tiny)
    requests = [Continuation("", text) for text in texts]
    before = sum(score.logprob for score in tiny.score(requests))
    after = sum(score.logprob for score in model.score(requests))
    assert after == pytest.approx(before, rel=0.02)
    assert after != before
    assert model.card.memory_bytes < 0.5 * tiny.card.memory_bytes
    assert model.card.parameters >= tiny.card.parameters
    assert model.card.fingerprint != tiny.card.fingerprint


def test_twice_is_refused(tiny: Any) -> None:
    with pytest.raises(CapabilityError, match="no linear layers"):
        int8(int8(tiny))
