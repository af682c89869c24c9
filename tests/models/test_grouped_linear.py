from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from family_models import build
from steelyard.contracts import Continuation, ModelCard
from steelyard.errors import ModelError, UsageError
from steelyard.models import grouped_kernels
from steelyard.models.checkpoint import read_checkpoint
from steelyard.models.forward import Engine
from steelyard.models.grouped_kernels import quantize_groups, table_bytes
from steelyard.models.grouped_linear import GroupedExperts, GroupedLinear, grouped_linear
from steelyard.models.quantized import (
    dense,
    empty_grouped,
    exchange,
    expert_names,
    grouped_layers,
    linear_names,
)
from steelyard.models.saving import save_checkpoint
from steelyard.models.scoring import score
from steelyard.models.weights import size_of
from tiny import tiny_tokenizer

IDS = torch.tensor([[5, 9, 20, 12, 40]])
CARD = ModelCard("tiny", "0" * 32, 1, 1, 64)


def packed(module: Any, bits: int = 4, group: int = 16, head: bool = False) -> Any:
    """All linear layers and experts of a model, rounded to nearest."""
    found: dict[str, Any] = {
        name: grouped_linear(module.get_submodule(name), bits, group) for name in linear_names(module, head=head)
    }
    for name in expert_names(module):
        rounded = [quantize_groups(matrix, group, bits) for matrix in module.get_parameter(name)]
        found[name] = GroupedExperts.from_parameter(rounded, bits, group)
    return exchange(module, found)


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(IDS).logits


@pytest.mark.parametrize("kernel", ["bag", "float"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_the_product_with_its_weight(
    monkeypatch: pytest.MonkeyPatch, kernel: str, bits: int, bias: bool
) -> None:
    if kernel == "bag" and not grouped_kernels.can_bag():
        pytest.skip("this build of torch has no embedding-bag kernel")
    monkeypatch.setattr(grouped_kernels, "bag_rows", lambda *_: 99 if kernel == "bag" else 0)
    torch.manual_seed(0)
    linear = nn.Linear(48, 21, bias=bias)
    layer = grouped_linear(linear, bits, 16)
    inputs = torch.randn(2, 3, 48)
    expected = nn.functional.linear(inputs, layer.weight, linear.bias)
    assert torch.allclose(layer(inputs), expected, atol=1e-5)
    assert layer(inputs.bfloat16()).dtype == torch.bfloat16
    assert layer(inputs[:0]).shape == (0, 3, 21)


def test_memory_is_what_the_formula_says() -> None:
    for bits, group in ((4, 16), (8, 48), (4, 20)):
        layer = grouped_linear(nn.Linear(48, 22, bias=False), bits, group)
        parameters, held = size_of(layer)
        assert held == table_bytes(22, 48, group, bits) == 48 * (22 * bits // 8 + bits) + 2 * 22 * -(-48 // group)
        assert parameters == 48 * 22
        assert layer.bits_per_weight == pytest.approx(8 * held / (48 * 22))


def test_scales_stay_in_half_precision_wherever_the_layer_goes() -> None:
    layer = grouped_linear(nn.Linear(32, 8), 4, 16)
    before = layer.scale.clone()
    for moved in (layer.to(torch.bfloat16), copy.deepcopy(layer).double()):
        assert torch.equal(moved.scale, before)
        assert moved.integers.dtype == torch.uint8


def test_gradients_pass_through_to_the_inputs() -> None:
    layer = grouped_linear(nn.Linear(8, 5), 4, 4)
    inputs = torch.randn(3, 8, requires_grad=True)
    layer(inputs).sum().backward()
    assert inputs.grad is not None
    assert torch.allclose(inputs.grad, layer.weight.sum(0).expand(3, 8), atol=1e-5)


def test_other_bits_and_groups_are_refused() -> None:
    for bits, group in ((3, 8), (4, 0)):
        with pytest.raises(UsageError, match="4 or 8 bits"):
            GroupedLinear(8, 8, bits=bits, group=group)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "olmoe", "gemma3_text", "mamba"])
def test_saved_and_read_again_it_computes_the_same(family: str, tmp_path: Path) -> None:
    """Whatever the family: packed layers, experts and a head of its own come back as they were."""
    module = build(family)
    small = packed(module, head=True)
    assert set(grouped_layers(small)) >= set(linear_names(module, head=True))
    folder = save_checkpoint(tmp_path / "packed", small, tiny_tokenizer(), CARD)
    again = read_checkpoint(folder).module
    assert type(again) is type(module)
    assert grouped_layers(again) == grouped_layers(small)
    assert all(child.scale.dtype == torch.float16 for child in again.modules() if isinstance(child, GroupedLinear))
    assert torch.equal(logits(again), logits(small))


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "olmoe"])
def test_dense_is_the_plain_architecture_with_the_same_answers(family: str, tmp_path: Path) -> None:
    module = build(family)
    small = packed(module, head=True)
    plain = dense(small)
    assert not grouped_layers(plain)
    assert {n: p.shape for n, p in plain.named_parameters()}.keys() >= dict(module.named_parameters()).keys()
    plain.save_pretrained(tmp_path)  # type: ignore[operator]
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.allclose(logits(again), logits(small), atol=1e-4)
    assert dense(plain) is plain


def test_experts_are_read_one_by_one() -> None:
    module = build("mixtral")
    small = packed(module, bits=8, group=32)
    experts = small.model.layers[0].mlp.experts
    assert isinstance(experts.gate_up_proj, GroupedExperts)
    assert len(experts.gate_up_proj) == 4
    error = (experts.gate_up_proj.weight - module.model.layers[0].mlp.experts.gate_up_proj).abs().max()
    assert 0 < float(error.detach()) <= 0.5 * float(experts.gate_up_proj.scale.max()) * 1.001
    assert torch.allclose(logits(small), logits(module), atol=0.2)
    assert size_of(small)[0] == size_of(module)[0]
    assert size_of(small)[1] < 0.5 * size_of(module)[1]


def test_wrong_layouts_are_refused() -> None:
    module = build("llama")
    with pytest.raises(ModelError, match=r"'model\.norm' is listed as grouped but is no linear layer"):
        empty_grouped(module, {"model.norm": {"bits": 4, "group": 8}})
    with pytest.raises(ModelError, match="no bits and group of 'lm_head'"):
        empty_grouped(module, {"lm_head": {"bits": 4}})


def test_scores_do_not_depend_on_batching(engines: Any) -> None:
    engine = engines("llama")
    small = Engine(packed(engine.module, head=True), engine.tokenizer, "int4", 512)
    asked = [
        Continuation("The quick brown fox " * size, choice)
        for size in (1, 2, 5)
        for choice in (" jumps", " jumps over", " the lazy dog")
    ]
    together = score(small, asked)
    for request, found in zip(asked, together, strict=True):
        assert score(small, [request])[0].logprob == pytest.approx(found.logprob, abs=1e-4)


def test_a_recorded_step_is_right_for_other_numbers_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    if not grouped_kernels.can_bag():
        pytest.skip("this build of torch has no embedding-bag kernel")
    monkeypatch.setattr(grouped_kernels, "bag_rows", lambda *_: 99)
    for group in (16, 48):
        layer = grouped_linear(nn.Linear(48, 20), 4, group)
        with torch.inference_mode():
            recorded = torch.jit.trace(layer, torch.randn(2, 1, 48), check_trace=False)
            for rows in (1, 3, 7):
                inputs = torch.randn(rows, 1, 48)
                assert torch.allclose(recorded(inputs), layer(inputs), atol=1e-5)


@pytest.mark.parametrize("when", ["weights", "record"])
def test_a_full_disk_leaves_nothing_that_loads(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether space ends within the packed weights or before the file that names their layers."""
    module = packed(build("llama"))
    folder = save_checkpoint(tmp_path / "saved", module, tiny_tokenizer(), CARD)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    if when == "weights":
        monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    else:
        monkeypatch.setattr("steelyard.models.saving.write_record", full)
    for target in (folder, tmp_path / "other"):
        with pytest.raises(ModelError, match="the disk is full"):
            save_checkpoint(target, module, tiny_tokenizer(), CARD)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["saved"]


def test_without_its_record_a_packed_checkpoint_is_refused(tmp_path: Path) -> None:
    """A half copy never loads with made-up weights."""
    folder = save_checkpoint(tmp_path / "saved", packed(build("llama")), tiny_tokenizer(), CARD)
    half = shutil.copytree(folder, tmp_path / "half")
    (half / "steelyard.json").unlink()
    with pytest.raises(ModelError, match="weights are missing"):
        read_checkpoint(half)
