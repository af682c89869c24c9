from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steelyard.contracts import CapabilityError, ModelError
from steelyard.models.quantized import (
    Int8Linear,
    empty_linears,
    int8_names,
    int8_product,
    linear_names,
    quantize_rows,
    replace_linears,
)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 50), st.integers(0, 2**16))
def test_integer_product_is_exact(m: int, k: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(-127, 128, (m, k), dtype=torch.int8, generator=generator)
    weight = torch.randint(-127, 128, (n, k), dtype=torch.int8, generator=generator)
    assert torch.equal(int8_product(rows, weight).long(), rows.long() @ weight.long().T)


def test_a_kernel_that_saturates_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import steelyard.models.quantized as quantized

    rows = torch.full((2, 64), 127, dtype=torch.int8)
    monkeypatch.setattr(quantized, "_kernel_is_exact", lambda: False)
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: torch.zeros(len(a), b.shape[1], dtype=torch.int32))
    assert torch.equal(int8_product(rows, rows), torch.full((2, 2), 127 * 127 * 64, dtype=torch.int32))


def test_rounding_error_is_at_most_half_a_step() -> None:
    values = torch.randn(20, 30) * torch.logspace(-6, 6, 20).unsqueeze(1)
    values[3] = 0
    integers, scale = quantize_rows(values)
    assert integers.dtype == torch.int8
    assert int(integers.abs().max()) == 127
    assert bool(((integers * scale - values).abs() <= 0.5001 * scale).all())
    assert bool((integers[3] == 0).all())


@pytest.mark.parametrize("bias", [True, False])
def test_output_is_within_the_bound_of_float32(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 40, bias=bias)
    inputs = torch.randn(7, 3, 96)
    quantized = Int8Linear.from_linear(linear)
    output, exact = quantized(inputs).detach(), linear(inputs).detach()
    assert output.shape == exact.shape
    x, w = inputs.reshape(-1, 96), linear.weight.detach()
    half_x, half_w = x.abs().amax(1, keepdim=True) / 254, w.abs().amax(1, keepdim=True) / 254
    bound = x.abs().sum(1, keepdim=True) * half_w.T + half_x * w.abs().sum(1) + 96 * half_x * half_w.T
    assert bool(((output - exact).abs().reshape(-1, 40) <= bound * 1.01 + 1e-5).all())
    assert float((output - exact).norm() / exact.norm()) < 0.02


def test_output_equals_integer_arithmetic_done_by_hand() -> None:
    torch.manual_seed(1)
    quantized = Int8Linear.from_linear(nn.Linear(33, 17, bias=False))
    inputs = torch.randn(5, 33)
    integers, scale = quantize_rows(inputs)
    expected = (integers.long() @ quantized.integers.long().T).float() * scale * quantized.scale
    assert torch.equal(quantized(inputs), expected)
    assert quantized(inputs.bfloat16()).dtype == torch.bfloat16


@settings(max_examples=30)
@given(st.integers(1, 33), st.integers(0, 2**16))
def test_a_row_gives_the_same_bits_alone_and_in_a_batch(count: int, seed: int) -> None:
    torch.manual_seed(seed)
    quantized = Int8Linear.from_linear(nn.Linear(48, 24))
    inputs = torch.randn(count, 48)
    together = quantized(inputs)
    for index in range(count):
        assert torch.equal(quantized(inputs[index : index + 1])[0], together[index])


def test_conv1d_is_transposed() -> None:
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    layer = Conv1D(24, 16)
    nn.init.normal_(layer.weight)
    inputs = torch.randn(4, 16)
    assert float((Int8Linear.from_linear(layer)(inputs) - layer(inputs)).detach().abs().max()) < 0.4
    assert Int8Linear.from_linear(layer).weight.shape == (24, 16)


def test_weight_reads_as_the_float_weight_it_stands_for() -> None:
    linear = nn.Linear(8, 4)
    quantized = Int8Linear.from_linear(linear)
    assert float((quantized.weight - linear.weight).abs().max()) <= float(quantized.scale.max()) * 0.5001


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "mamba"])
def test_replacing_leaves_the_original_alone(engines: Any, kind: str) -> None:
    module = engines(kind).module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    names = linear_names(module)
    quantized = replace_linears(module)
    assert int8_names(quantized) == names
    assert int8_names(module) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    kept = {p.data_ptr() for p in module.parameters()} & {p.data_ptr() for p in quantized.parameters()}
    assert not kept
    assert module.get_output_embeddings() is not None
    assert not isinstance(quantized.get_output_embeddings(), Int8Linear)


def test_tied_head_gets_a_copy_of_its_own_only_when_asked(engines: Any) -> None:
    module = engines("gemma3").module
    assert module.lm_head.weight.data_ptr() == module.get_input_embeddings().weight.data_ptr()
    quantized: Any = replace_linears(module, head=True)
    assert isinstance(quantized.lm_head, Int8Linear)
    assert quantized.get_input_embeddings().weight.dtype == torch.float32
    assert quantized.config.tie_word_embeddings is False
    assert module.config.tie_word_embeddings is True
    error = (quantized.lm_head.weight - module.lm_head.weight).abs().amax(1)
    assert bool((error <= quantized.lm_head.scale * 0.5001).all())


def test_tied_head_of_an_encoder_decoder_is_refused(engines: Any) -> None:
    with pytest.raises(CapabilityError, match="head"):
        replace_linears(engines("t5").module, head=True)


def test_skipped_names_stay(engines: Any) -> None:
    module = engines("llama").module
    names = linear_names(module, skip=["down_proj", "model.layers.0.self_attn.q_proj"])
    assert not any("down_proj" in name for name in names)
    assert "model.layers.0.self_attn.q_proj" not in names
    assert "model.layers.1.self_attn.q_proj" in names


def test_state_dict_round_trip(engines: Any) -> None:
    import copy

    module = engines("llama").module
    quantized = replace_linears(module, head=True)
    empty = empty_linears(copy.deepcopy(module), int8_names(quantized))
    empty.load_state_dict(quantized.state_dict(), strict=True)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(empty(input_ids=ids).logits, quantized(input_ids=ids).logits)


def test_wrong_names_and_modules_without_linears_are_refused(engines: Any) -> None:
    import copy

    with pytest.raises(ModelError, match=r"no\.such"):
        empty_linears(copy.deepcopy(engines("llama").module), ["no.such"])
    with pytest.raises(CapabilityError, match="no linear layers"):
        replace_linears(nn.Sequential(nn.ReLU()))
