from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steelyard.contracts import AppliedPart, Continuation
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models import int8_kernels
from steelyard.models.forward import Engine
from steelyard.models.int8_kernels import Choice, digits_of_rows
from steelyard.models.int8_linear import Int8Linear
from steelyard.models.quantized import empty_linears, int8_names, linear_names, replace_linears
from steelyard.models.scoring import score


@pytest.mark.parametrize("bias", [True, False])
def test_one_digit_is_within_the_bound_of_float32(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 40, bias=bias)
    inputs = torch.randn(7, 3, 96)
    quantized = Int8Linear.from_linear(linear, digits=1)
    output, exact = quantized(inputs).detach(), linear(inputs).detach()
    assert output.shape == exact.shape
    x, w = inputs.reshape(-1, 96), linear.weight.detach()
    half_x, half_w = x.abs().amax(1, keepdim=True) / 254, w.abs().amax(1, keepdim=True) / 254
    bound = x.abs().sum(1, keepdim=True) * half_w.T + half_x * w.abs().sum(1) + 96 * half_x * half_w.T
    assert bool(((output - exact).abs().reshape(-1, 40) <= bound * 1.01 + 1e-5).all())
    assert float((output - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize(("digits", "error"), [(2, 1e-4), (3, 1e-6)])
def test_more_digits_approach_the_product_with_the_rounded_weight(digits: int, error: float) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 40)
    inputs = torch.randn(21, 96)
    inputs[:, 5] *= 300  # one large activation, as language models have them
    quantized = Int8Linear.from_linear(linear, digits=digits)
    exact = nn.functional.linear(inputs.double(), quantized.weight.double(), linear.bias.detach().double())
    assert float((quantized(inputs).double() - exact).detach().norm() / exact.norm()) < error


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_output_equals_integer_arithmetic_done_by_hand(digits: int) -> None:
    torch.manual_seed(1)
    quantized = Int8Linear.from_linear(nn.Linear(33, 17, bias=False), digits)
    inputs = torch.randn(5, 33)
    integers, scale = digits_of_rows(inputs, digits)
    parts = (integers.long() @ quantized.integers.long().T).view(digits, 5, 17)
    whole = sum(parts[i] * 254 ** (digits - 1 - i) for i in range(digits))
    assert quantized(inputs) == pytest.approx(whole.double() * scale * quantized.scale, rel=1e-6, abs=1e-6)
    assert quantized(inputs.bfloat16()).dtype == torch.bfloat16


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(0, 2**16))
def test_a_row_gives_the_same_alone_and_in_a_batch(count: int, digits: int, seed: int) -> None:
    torch.manual_seed(seed)
    quantized = Int8Linear.from_linear(nn.Linear(47, 23), digits, packed=True)
    inputs = torch.randn(count, 47)
    inputs[:, 5] *= 300
    together = quantized(inputs).detach()
    for index in range(count):
        alone = quantized(inputs[index : index + 1])[0].detach()
        assert torch.allclose(alone, together[index], rtol=1e-5, atol=1e-5 * float(together[index].abs().max()))


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that may hold a packed copy use it for a few rows, whatever the timing says."""
    if not int8_kernels.can_pack():
        pytest.skip("this build of torch has no half-precision kernel")
    monkeypatch.setattr(
        int8_kernels, "fastest", lambda device, digits, packed: Choice("half" if packed else "float", "float")
    )


@pytest.mark.usefixtures("half")
def test_packed_copy_is_counted_and_left_out_of_copies() -> None:
    import copy
    import pickle

    from steelyard.models.weights import size_of

    plain, packed = (Int8Linear.from_linear(nn.Linear(40, 30), packed=packed) for packed in (False, True))
    assert size_of(packed)[1] - size_of(plain)[1] == 2 * 40 * 30
    inputs = torch.randn(3, 40)
    before = packed(inputs)
    assert packed._copy is not None
    assert set(packed.state_dict()) == {"integers", "scale", "bias"}
    for twin in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert twin._copy is None
        assert torch.equal(twin(inputs), before)


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("change", ["load", "move"])
def test_packed_copy_follows_the_weights(change: str) -> None:
    packed = Int8Linear.from_linear(nn.Linear(40, 30), packed=True)
    other = Int8Linear.from_linear(nn.Linear(40, 30))
    inputs = torch.randn(3, 40)
    packed(inputs)
    if change == "load":
        packed.load_state_dict(other.state_dict())
        assert torch.allclose(packed(inputs), other(inputs), atol=1e-5)
    else:
        packed.to("cpu")
        assert packed._copy is None


def test_gradients_pass_through_to_the_inputs() -> None:
    quantized = Int8Linear.from_linear(nn.Linear(8, 5), packed=True)
    inputs = torch.randn(3, 8, requires_grad=True)
    quantized(inputs).sum().backward()
    assert inputs.grad is not None
    assert torch.allclose(inputs.grad, quantized.weight.sum(0).expand(3, 8), atol=1e-5)


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


@pytest.mark.parametrize(("digits", "packed"), [(1, False), (3, False), (3, True)])
def test_state_dict_round_trip(engines: Any, digits: int, packed: bool) -> None:
    import copy

    module = engines("llama").module
    quantized: Any = replace_linears(module, head=True, digits=digits, packed=packed)
    unread = copy.deepcopy(module)
    unread.config = copy.deepcopy(quantized.config)
    empty = empty_linears(unread, int8_names(quantized))
    assert {(m.digits, m.packed) for m in empty.modules() if isinstance(m, Int8Linear)} == {(digits, packed)}
    empty.load_state_dict(quantized.state_dict(), strict=True)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(empty(input_ids=ids).logits, quantized(input_ids=ids).logits)


def test_wrong_names_and_modules_without_linears_are_refused(engines: Any) -> None:
    import copy

    with pytest.raises(ModelError, match=r"no\.such"):
        empty_linears(copy.deepcopy(engines("llama").module), ["no.such"])
    with pytest.raises(UsageError, match="digits"):
        replace_linears(engines("llama").module, digits=4)
    with pytest.raises(CapabilityError, match="no linear layers"):
        replace_linears(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize(("head", "packed"), [(False, False), (True, False), (True, True)])
@pytest.mark.usefixtures("half")
def test_scores_of_an_int8_model_do_not_depend_on_batching(engines: Any, head: bool, packed: bool) -> None:
    engine = engines("llama")
    module = replace_linears(engine.module, head=head, packed=packed)
    quantized = Engine(module, engine.tokenizer, "int8", 512)
    asked = [
        Continuation("The quick brown fox " * size, choice)
        for size in (1, 2, 5)
        for choice in (" jumps", " jumps over", " the lazy dog")
    ]
    together = score(quantized, asked)
    for request, found in zip(asked, together, strict=True):
        assert score(quantized, [request])[0].logprob == pytest.approx(found.logprob, abs=1e-4)


@pytest.mark.real_model
def test_smollm2_in_int8_scores_alike_in_any_batch(smollm2: Any) -> None:
    quantized = smollm2.evolve(replace_linears(smollm2.module, head=True), AppliedPart("int8", {"head": True}))
    context = "Which of these things keeps you warm when you travel to the mountains in winter?\nAnswer:"
    asked = [Continuation(context, c) for c in (" a warm coat", " an umbrella", " a box of chocolates", " skis")]
    together = quantized.score(asked)
    alone = [quantized.score([request])[0] for request in asked]
    exact = smollm2.score(asked)
    for found, single, reference in zip(together, alone, exact, strict=True):
        assert single.logprob == pytest.approx(found.logprob, abs=1e-3)
        assert found.logprob == pytest.approx(reference.logprob, abs=1.5)
    assert quantized.card.memory_bytes < 0.5 * smollm2.card.memory_bytes
