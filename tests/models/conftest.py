"""Tiny random models of several families behind one interface."""

from __future__ import annotations

from typing import Any

import pytest

from tiny import tiny_config, tiny_tokenizer

COMMON: dict[str, Any] = {"vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def tiny_module(kind: str, seed: int = 0) -> Any:
    """A random module of one family; weights are scaled up so that its answers differ between tokens."""
    scale = 2.0 if kind == "mamba" else 4.0
    import torch
    import transformers as t

    builders: dict[str, Any] = {
        "llama": lambda: t.LlamaForCausalLM(tiny_config(num_hidden_layers=3)),
        "gemma2": lambda: t.Gemma2ForCausalLM(
            t.Gemma2Config(**COMMON, **SHAPE, head_dim=8, sliding_window=16, query_pre_attn_scalar=8)
        ),
        "gemma3": lambda: t.Gemma3ForCausalLM(
            t.Gemma3TextConfig(
                **COMMON,
                **SHAPE,
                head_dim=8,
                sliding_window=16,
                query_pre_attn_scalar=8,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            )
        ),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(**COMMON, n_embd=32, n_layer=3, n_head=4, n_positions=512)),
        "opt": lambda: t.OPTForCausalLM(
            t.OPTConfig(
                **COMMON,
                hidden_size=32,
                word_embed_proj_dim=32,
                ffn_dim=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=512,
            )
        ),
        "bloom": lambda: t.BloomForCausalLM(t.BloomConfig(**COMMON, hidden_size=32, n_layer=3, n_head=4)),
        "neox": lambda: t.GPTNeoXForCausalLM(
            t.GPTNeoXConfig(**COMMON, **{k: v for k, v in SHAPE.items() if k != "num_key_value_heads"})
        ),
        "mamba": lambda: t.MambaForCausalLM(
            t.MambaConfig(**COMMON, hidden_size=32, num_hidden_layers=3, state_size=8)
        ),
        "t5": lambda: t.T5ForConditionalGeneration(
            t.T5Config(
                vocab_size=300,
                d_model=32,
                d_ff=64,
                d_kv=8,
                num_layers=2,
                num_heads=4,
                pad_token_id=0,
                eos_token_id=2,
                decoder_start_token_id=0,
            )
        ),
        "bert": lambda: t.BertModel(
            t.BertConfig(
                vocab_size=300,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=64,
            )
        ),
    }
    torch.manual_seed(seed)
    module = builders[kind]().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() >= 2 and "A_log" not in name:
                parameter.mul_(scale)
    if getattr(module, "generation_config", None) is not None:
        module.generation_config.eos_token_id = 2
        module.generation_config.pad_token_id = 0
    return module


@pytest.fixture(scope="session")
def engines() -> Any:
    """``engines(kind)``: an engine around a tiny module of that family, built once."""
    from functools import cache

    from steelyard.models.forward import Engine

    @cache
    def build(kind: str) -> Engine:
        return Engine(tiny_module(kind), tiny_tokenizer(), f"tiny-{kind}", 512)

    return build
