from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from steelyard.compression.block_replay import share
from steelyard.compression.int8 import int8
from steelyard.compression.sizes import flops_per_token, sizes_of
from steelyard.compression.sleb import sleb
from steelyard.contracts import AppliedPart
from steelyard.models.loading import load_model
from tiny import tiny_config, tiny_llama

WIDTH, INNER, VOCABULARY, LAYERS, KEYS = 32, 64, 300, 4, 16
LINEARS = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * INNER


def payload(folder: Path) -> int:
    """Bytes of the tensors in a folder's safetensors files, read from their headers."""
    total = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        total += sum(b - a for a, b in (entry["data_offsets"] for key, entry in header.items() if key[:2] != "__"))
    return total


@pytest.fixture
def model(tiny_folder: Path) -> Any:
    return load_model(str(tiny_folder))


def test_a_dense_model_is_counted_by_hand(model: Any) -> None:
    sizes = sizes_of(model)
    expected = LAYERS * (LINEARS + 2 * WIDTH) + WIDTH + 2 * VOCABULARY * WIDTH
    assert sizes.parameters == expected == model.card.parameters
    assert sizes.stored_bytes == 4 * expected
    assert sizes.bits_per_weight == 32
    assert sizes.flops_per_token == 2 * (LAYERS * LINEARS + VOCABULARY * WIDTH)
    assert sizes.computed_layers == 0


def test_zeros_are_counted(model: Any) -> None:
    module = share(model.module)
    weight = module.get_submodule("model.layers.0.mlp.up_proj").weight.detach().clone()
    weight[:, ::2] = 0
    module.get_submodule("model.layers.0.mlp.up_proj").weight = torch.nn.Parameter(weight)
    sizes = sizes_of(model.evolve(module, AppliedPart("zeros")))
    assert sizes_of(model).nonzero - sizes.nonzero == INNER * WIDTH // 2
    assert sizes.sparsity == pytest.approx(1 - sizes.nonzero / sizes.parameters)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("part", [lambda m: m, int8, lambda m: sleb(m, blocks=(1,))])
def test_sizes_recompute_from_the_saved_folder(part: Any, tied: bool, tmp_path: Path) -> None:
    model = load_model(str(tiny_llama(tmp_path / "given", tie_word_embeddings=tied)))
    result = part(model)
    folder = result.save(tmp_path / "saved")
    assert sizes_of(load_model(str(folder))) == sizes_of(result)
    assert sizes_of(result).stored_bytes == payload(folder)


def test_integers_count_as_the_weights_they_stand_for(model: Any) -> None:
    dense, small = sizes_of(model), sizes_of(int8(model))
    assert small.parameters == dense.parameters
    assert small.flops_per_token == dense.flops_per_token
    assert small.bits_per_weight < 20
    assert small.computed_layers == 7 * LAYERS + 1
    assert small.nonzero <= dense.nonzero


def test_a_tied_head_counts_once_and_is_multiplied(tmp_path: Path) -> None:
    tied: Any = load_model(str(tiny_llama(tmp_path, tie_word_embeddings=True)))
    assert sizes_of(tied).parameters == LAYERS * (LINEARS + 2 * WIDTH) + WIDTH + VOCABULARY * WIDTH
    assert sizes_of(tied).flops_per_token == 2 * (LAYERS * LINEARS + VOCABULARY * WIDTH)


def test_of_experts_those_count_that_a_token_meets() -> None:
    shape = {name: getattr(tiny_config(), name) for name in ("hidden_size", "intermediate_size", "vocab_size")}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 1}
    module = MixtralForCausalLM(
        MixtralConfig(**shape, **heads, num_local_experts=4, num_experts_per_tok=2, head_dim=8)
    )
    attention = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS
    met = attention + 4 * WIDTH + 2 * 3 * WIDTH * INNER + VOCABULARY * WIDTH
    # the router may be no linear layer of its own; then its few weights are not counted
    assert flops_per_token(module) in (2.0 * met, 2.0 * (met - 4 * WIDTH))
    assert flops_per_token(LlamaForCausalLM(tiny_config())) == 2 * (LAYERS * LINEARS + VOCABULARY * WIDTH)
