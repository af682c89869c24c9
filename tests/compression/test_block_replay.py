from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from steelyard.compression.block_replay import BlockReplay, next_token_nll, share
from steelyard.compression.sleb import skip_losses, without_blocks
from steelyard.errors import ModelError

SIZES = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
GPT = {"vocab_size": 80, "n_embd": 32, "n_layer": 4, "n_head": 4, "initializer_range": 0.15}
MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
CONFIGURATIONS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, head_dim=8, sliding_window=8),
    "gemma3": lambda: transformers.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=8, layer_types=MIXED),
    "gpt2": lambda: transformers.GPT2Config(**GPT, n_positions=64, bos_token_id=1, eos_token_id=2),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        vocab_size=80,
        hidden_size=32,
        num_layers=4,
        num_heads=4,
        attention_types=[[["global", "local"], 2]],
        window_size=8,
        max_position_embeddings=64,
        initializer_range=0.15,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SIZES),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=80,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
        init_std=0.15,
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=80, hidden_size=32, n_layer=4, n_head=4, initializer_range=0.15, bos_token_id=1, eos_token_id=2
    ),
    "mixtral": lambda: transformers.MixtralConfig(**GROUPED, num_local_experts=4),
    "mamba": lambda: transformers.MambaConfig(vocab_size=80, hidden_size=32, num_hidden_layers=4, state_size=4),
}


@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_skipping_a_block_equals_the_network_without_it(family: str, as_open_weights: Any) -> None:
    """The losses of one shared walk are those of a full pass through each genuinely shallower model."""
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(CONFIGURATIONS[family]()).eval()
    model = as_open_weights(module)
    ids = torch.randint(3, 80, (2, 24))
    replay = BlockReplay(model)
    losses = skip_losses(replay, [replay.record(ids)], range(4), [1, 2])
    for block in (1, 2):
        with torch.no_grad():
            logits = without_blocks(model, [block]).module(input_ids=ids).logits
        assert losses[block] == pytest.approx(next_token_nll(logits, ids) / 46, abs=1e-5)
    assert abs(losses[1] - losses[2]) > 1e-4  # the blocks are not interchangeable, so the test can tell


def test_replay_leaves_the_model_as_it_was(tiny: Any) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.module.state_dict().items()}
    layers = list(tiny.family.layers(tiny.module))
    replay = BlockReplay(tiny)
    batch = replay.record(torch.randint(3, 250, (1, 16)))
    replay.logits(batch, replay.run(batch, batch.hidden, [0, 3]))
    assert list(tiny.family.layers(tiny.module)) == layers
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.module.state_dict().items())
    assert all(not layer._forward_pre_hooks and not layer._forward_hooks for layer in layers)


def test_share_copies_structure_but_no_tensor(tiny: Any) -> None:
    copy = share(tiny.module)
    pairs = list(zip(copy.parameters(), tiny.module.parameters(), strict=True))
    assert pairs
    assert all(a is b for a, b in pairs)
    assert copy.config is not tiny.module.config
    assert copy.model.layers is not tiny.module.model.layers


def test_blocks_with_hidden_dependencies_are_refused(tiny: Any) -> None:
    """A block whose output depends on what ran before it cannot be replayed, and that is noticed."""
    module = share(tiny.module)
    inner = module.model.layers[2].forward
    calls: list[int] = []

    def forgetful(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return inner(*args, **kwargs) * len(calls)

    module.model.layers[2].forward = forgetful
    from steelyard.contracts import AppliedPart

    replay = BlockReplay(tiny.evolve(module, AppliedPart("odd")))
    with pytest.raises(ModelError, match="cannot be tried one by one"):
        replay.record(torch.randint(3, 250, (1, 16)))


def test_next_token_nll_against_log_softmax() -> None:
    logits, ids = torch.randn(2, 5, 7), torch.randint(0, 7, (2, 5))
    expected = -sum(float(torch.log_softmax(logits[b, t], -1)[ids[b, t + 1]]) for b in range(2) for t in range(4))
    assert next_token_nll(logits, ids) == pytest.approx(expected, rel=1e-5)
