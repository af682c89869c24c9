from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from family_models import build
from steelyard import parts
from steelyard.compression.block_replay import next_token_nll
from steelyard.compression.calibration import token_windows
from steelyard.compression.int8 import int8
from steelyard.compression.llm_surgeon import llm_surgeon
from steelyard.contracts import OpenWeights
from steelyard.errors import CapabilityError, InputError, UsageError
from tiny import tiny_config

QUICK: dict[str, Any] = {"tokens": 96, "window": 32, "shots": 2}


@pytest.fixture(scope="module")
def small(as_open_weights: Callable[..., Any]) -> Any:
    from transformers import LlamaForCausalLM

    torch.manual_seed(3)
    config = tiny_config(num_hidden_layers=2, intermediate_size=48, initializer_range=0.15)
    return as_open_weights(LlamaForCausalLM(config).eval())


def matrices(model: OpenWeights) -> Iterator[torch.Tensor]:
    """Weights (out, in) of the blocks' linear layers, a bias as last column."""
    for layer in model.family.layers(model.module):
        for linear in model.family.linears(layer).values():
            weight = linear.weight.detach()
            weight = weight.T if type(linear).__name__ == "Conv1D" else weight
            bias = getattr(linear, "bias", None)
            yield weight if bias is None else torch.cat([weight, bias.detach()[:, None]], 1)


def zeros_and_all(model: OpenWeights) -> tuple[int, int]:
    found = list(matrices(model))
    return sum(int((m == 0).sum()) for m in found), sum(m.numel() for m in found)


def calibration_loss(model: Any, texts: list[str]) -> float:
    ids = token_windows(model.tokenizer, texts, window=32, tokens=96, seed=0)
    with torch.no_grad():
        return next_token_nll(model.module(input_ids=ids).logits, ids)


def test_whole_rows_and_columns_are_zero_up_to_the_share(small: Any, texts: list[str]) -> None:
    result = llm_surgeon(small, texts, sparsity=0.3, **QUICK)
    rows = columns = 0
    for matrix in matrices(result):
        live_rows, live_columns = matrix.any(1), matrix.any(0)
        assert bool((matrix[live_rows][:, live_columns] != 0).all())
        rows, columns = rows + int((~live_rows).sum()), columns + int((~live_columns).sum())
    assert rows
    assert columns
    zeros, total = zeros_and_all(result)
    assert 0.3 * total - 64 < zeros <= 0.3 * total


@pytest.mark.parametrize("shots", [1, 3])
def test_single_weights_end_exactly_at_the_share(small: Any, texts: list[str], shots: int) -> None:
    result = llm_surgeon(small, texts, sparsity=0.35, pattern="unstructured", tokens=64, window=32, shots=shots)
    zeros, total = zeros_and_all(result)
    assert zeros == round(0.35 * total)


def test_two_of_every_four_neighbours_are_zero(small: Any, texts: list[str]) -> None:
    result = llm_surgeon(small, texts, sparsity=0.5, pattern="2:4", **QUICK)
    for matrix in matrices(result):
        assert bool(((matrix.reshape(-1, 4) == 0).sum(1) == 2).all())


def test_layers_that_matter_less_give_more(small: Any, texts: list[str]) -> None:
    """One threshold for all: shares differ between matrices."""
    result = llm_surgeon(small, texts, sparsity=0.35, pattern="unstructured", tokens=64, window=32, shots=1)
    shares = [float((matrix == 0).float().mean()) for matrix in matrices(result)]
    assert max(shares) - min(shares) > 0.2


@pytest.mark.parametrize("pattern", ["structured", "unstructured"])
def test_remaining_weights_make_up_for_removed_ones(small: Any, texts: list[str], pattern: str) -> None:
    settings = QUICK | {"sparsity": 0.2, "pattern": pattern}
    updated = calibration_loss(llm_surgeon(small, texts, **settings), texts)
    alone = calibration_loss(llm_surgeon(small, texts, independent=True, **settings), texts)
    assert updated < alone


def test_without_correlations_remaining_weights_keep_their_values(small: Any, texts: list[str]) -> None:
    result = llm_surgeon(small, texts, sparsity=0.3, independent=True, **QUICK)
    for before, after in zip(matrices(small), matrices(result), strict=True):
        assert bool(((after == 0) | (after == before)).all())


def test_blocks_taken_at_once_change_nothing(small: Any, texts: list[str]) -> None:
    one = llm_surgeon(small, texts, blocks_at_once=1, **QUICK)
    all_at_once = llm_surgeon(small, texts, blocks_at_once=99, **QUICK)
    for a, b in zip(matrices(one), matrices(all_at_once), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert one.card.fingerprint == all_at_once.card.fingerprint


def test_the_seed_draws_the_windows(small: Any, texts: list[str]) -> None:
    settings = {"tokens": 64, "window": 32, "shots": 1}
    results = [llm_surgeon(small, texts, seed=seed, **settings) for seed in (0, 0, 1)]
    first, again, other = (torch.cat([m.flatten() for m in matrices(result)]) for result in results)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert results[0].card.fingerprint != results[2].card.fingerprint


@pytest.mark.parametrize("name", ["opt", "gpt2", "phi3"])
def test_other_families_biases_and_transposed_weights(
    as_open_weights: Callable[..., Any], texts: list[str], name: str
) -> None:
    model = as_open_weights(build(name, vocab_size=300))
    for parameter in model.module.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    before = {key: tensor.clone() for key, tensor in model.module.state_dict().items()}
    result = llm_surgeon(model, texts, sparsity=0.25, pattern="unstructured", tokens=64, window=32, shots=1)
    zeros, total = zeros_and_all(result)
    assert zeros == round(0.25 * total)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.module.state_dict().items())
    assert model.family.embeddings(result.module).weight is model.family.embeddings(model.module).weight


def test_half_precision_comes_back_as_it_was(as_open_weights: Callable[..., Any], texts: list[str]) -> None:
    model = as_open_weights(build("llama", vocab_size=300).to(torch.bfloat16))
    result = llm_surgeon(model, texts, sparsity=0.2, tokens=64, window=32, shots=1)
    assert {p.dtype for p in result.module.parameters()} == {torch.bfloat16}
    zeros, total = zeros_and_all(result)
    assert 0.2 * total - 48 < zeros <= 0.2 * total


def test_low_rank_additions_lower_the_loss_and_leave_zeros(small: Any, texts: list[str]) -> None:
    plain = llm_surgeon(small, texts, sparsity=0.3, **QUICK)
    corrected = llm_surgeon(small, texts, sparsity=0.3, lora_rank=2, lora_rate=0.01, **QUICK)
    assert calibration_loss(corrected, texts) < calibration_loss(plain, texts)
    zeros, total = zeros_and_all(corrected)
    assert 0.3 * total - 64 < zeros <= 0.3 * total


@pytest.mark.parametrize("pattern", ["rows", "4:2", "2:2", "0:4", "a:b", "2:"])
def test_patterns_that_are_none_are_refused(small: Any, texts: list[str], pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        llm_surgeon(small, texts, pattern=pattern, **QUICK)


def test_what_a_pattern_cannot_reach_is_refused(small: Any, texts: list[str]) -> None:
    with pytest.raises(UsageError, match=r"2:4 makes at most 0\.5"):
        llm_surgeon(small, texts, pattern="2:4", sparsity=0.6, **QUICK)
    with pytest.raises(UsageError, match="3:7 does not divide the width 32"):
        llm_surgeon(small, texts, pattern="3:7", **QUICK)


def test_a_pattern_is_read_as_yaml_gives_it() -> None:
    assert parts.validate(llm_surgeon, {"pattern": 124}) == {"pattern": "2:4"}
    assert parts.validate(llm_surgeon, {"pattern": "unstructured"}) == {"pattern": "unstructured"}
    with pytest.raises(UsageError, match="llm-surgeon"):
        parts.validate(llm_surgeon, {"pattern": "rows"})


def test_layers_left_out_keep_their_weights(small: Any, texts: list[str]) -> None:
    result = llm_surgeon(small, texts, sparsity=0.3, skip=("down", "layers.0"), **QUICK)
    for before, after in zip(small.module.model.layers, result.module.model.layers, strict=True):
        assert torch.equal(before.mlp.down_proj.weight, after.mlp.down_proj.weight)
    assert bool((result.module.model.layers[1].mlp.up_proj.weight == 0).any())


@pytest.mark.parametrize("setting", [{"sparsity": 1.0}, {"sparsity": 0}, {"damping": 0}, {"shots": 0}])
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="llm-surgeon"):
        parts.validate(llm_surgeon, setting)


def test_models_it_cannot_work_on_are_refused(
    small: Any, texts: list[str], as_open_weights: Callable[..., Any]
) -> None:
    with pytest.raises(CapabilityError, match="quantized already"):
        llm_surgeon(int8(small), texts, **QUICK)
    with pytest.raises(CapabilityError, match="expert in a fused tensor"):
        llm_surgeon(as_open_weights(build("mixtral", vocab_size=300)), texts, **QUICK)
    with pytest.raises(CapabilityError, match="loss of a next token"):
        llm_surgeon(as_open_weights(build("t5", vocab_size=300)), texts, **QUICK)


def test_too_little_text_is_refused(small: Any) -> None:
    with pytest.raises(InputError, match="only"):
        llm_surgeon(small, ["too"], **QUICK)
