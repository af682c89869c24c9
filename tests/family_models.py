"""Tiny random models of every family, for tests that run over all of them."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from steelyard.models.families import FAMILIES

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
PLAIN = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
GPT = {
    "vocab_size": 64,
    "n_embd": 32,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
STATE = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 4, "state_size": 4}
MIXED = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
TYPED = {"layer_types": MIXED, "sliding_window": 4}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SMALL),
    "mistral": ("Mistral", {**SMALL, "sliding_window": 4}),
    "granite": ("Granite", SMALL),
    "smollm3": ("SmolLM3", {**SMALL, "no_rope_layers": [1, 0, 1, 1]}),
    "qwen2": ("Qwen2", {**SMALL, **TYPED, "use_sliding_window": True}),
    "qwen3": ("Qwen3", {**SMALL, "head_dim": 8}),
    "gemma": ("Gemma", {**SMALL, "head_dim": 8}),
    "gemma2": ("Gemma2", {**SMALL, **TYPED, "head_dim": 8}),
    "gemma3_text": ("Gemma3Text", {**SMALL, **TYPED, "head_dim": 8}),
    "olmo": ("Olmo", SMALL),
    "olmo2": ("Olmo2", SMALL),
    "cohere": ("Cohere", SMALL),
    "cohere2": ("Cohere2", {**SMALL, **TYPED}),
    "stablelm": ("StableLm", SMALL),
    "phi": ("Phi", SMALL),
    "phi3": ("Phi3", {**SMALL, "sliding_window": 4}),
    "starcoder2": ("Starcoder2", {**SMALL, "sliding_window": 4}),
    "olmoe": ("Olmoe", {**SMALL, "num_experts": 4, "num_experts_per_tok": 2}),
    "mixtral": ("Mixtral", {**SMALL, "num_local_experts": 4}),
    "opt": ("OPT", {**PLAIN, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gpt_neox": ("GPTNeoX", PLAIN),
    "gpt2": ("GPT2", GPT),
    "gpt_neo": (
        "GPTNeo",
        {
            **PLAIN,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 4,
        },
    ),
    "bloom": ("Bloom", {"vocab_size": 64, "hidden_size": 32, "n_layer": 4, "n_head": 4}),
    "mamba": ("Mamba", STATE),
    "falcon_mamba": ("FalconMamba", STATE),
    "t5": (
        "T5",
        {
            "vocab_size": 64,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 3,
            "num_decoder_layers": 4,
            "num_heads": 4,
            "feed_forward_proj": "gated-gelu",
            "decoder_start_token_id": 0,
        },
    ),
    "bert": ("Bert", PLAIN),
    "roberta": ("Roberta", PLAIN),
    "xlm-roberta": ("XLMRoberta", PLAIN),
}


def build(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    prefix, settings = CONFIGS[name]
    config = getattr(transformers, f"{prefix}Config")(**(settings | changes))
    auto = {
        "encoder": transformers.AutoModel,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }.get(FAMILIES[name]["kind"], transformers.AutoModelForCausalLM)
    model = auto.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the usual tiny initialisation would let layers cancel out
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
