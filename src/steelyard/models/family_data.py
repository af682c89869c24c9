"""Architecture families as data: one row per family, nothing but names.

A path is dotted as in ``torch.nn.Module.get_submodule``; a number selects from a list and may be negative.
Paths from ``layers`` to ``head`` start at the model with its head (``LlamaForCausalLM``), the rest at one
layer. A tuple of paths means "the first that exists". To add an architecture add a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LLAMA: Mapping[str, Any] = {
    "kind": "decoder",
    "layers_path": "model.layers",
    "embeddings_path": "model.embed_tokens",
    "final_norm_path": "model.norm",
    "head_path": "lm_head",
    "attention_path": "self_attn",
    "mlp_path": "mlp",
    "projections": {
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    },
    "layer_norms": {"attention": "input_layernorm", "mlp": "post_attention_layernorm"},
    "packed_masks": True,
}


def _variant(parent: Mapping[str, Any], **changes: Any) -> Mapping[str, Any]:
    return {**parent, **changes}


_ATTENTION = {role: LLAMA["projections"][role] for role in ("q", "k", "v", "o")}
_QK_NORMS = {"q": "self_attn.q_norm", "k": "self_attn.k_norm"}
_TYPED = {"per_layer_lists": ("layer_types",)}
_GEMMA_NORMS = {
    "attention": "input_layernorm",
    "attention_out": "post_attention_layernorm",
    "mlp": "pre_feedforward_layernorm",
    "mlp_out": "post_feedforward_layernorm",
}
_MIXTURE = _variant(
    LLAMA,
    projections=_ATTENTION,
    experts_path="mlp.experts",
    router_path="mlp.gate",
)
_GPT_NAMES = {"depth": "n_layer", "width": "n_embd", "heads": "n_head", "kv_heads": "n_head"}
_GPT_NORMS = {"attention": "ln_1", "mlp": "ln_2"}
_MAMBA: Mapping[str, Any] = {
    "kind": "recurrent",
    "layers_path": "backbone.layers",
    "embeddings_path": "backbone.embeddings",
    "final_norm_path": "backbone.norm_f",
    "head_path": "lm_head",
    "attention_path": None,
    "mlp_path": None,
    "projections": {
        "in": "mixer.in_proj",
        "x": "mixer.x_proj",
        "dt": "mixer.dt_proj",
        "out": "mixer.out_proj",
    },
    "layer_norms": {"mixer": "norm"},
    "config_names": {"heads": None, "kv_heads": None},
}
_BERT: Mapping[str, Any] = {
    "kind": "encoder",
    "layers_path": "encoder.layer",
    "embeddings_path": "embeddings.word_embeddings",
    "positions_path": "embeddings.position_embeddings",
    "final_norm_path": None,
    "head_path": None,
    "attention_path": "attention",
    "mlp_path": None,
    "projections": {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "o": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    },
    "layer_norms": {"attention_out": "attention.output.LayerNorm", "mlp_out": "output.LayerNorm"},
    "config_names": {"kv_heads": "num_attention_heads"},
}

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "granite": LLAMA,
    "smollm3": _variant(LLAMA, per_layer_lists=("layer_types", "no_rope_layers")),
    "qwen2": _variant(LLAMA, **_TYPED),
    "qwen3": _variant(LLAMA, layer_norms={**LLAMA["layer_norms"], **_QK_NORMS}, **_TYPED),
    "gemma": LLAMA,
    "gemma2": _variant(LLAMA, layer_norms=_GEMMA_NORMS, **_TYPED),
    "gemma3_text": _variant(LLAMA, layer_norms={**_GEMMA_NORMS, **_QK_NORMS}, **_TYPED),
    "olmo": LLAMA,
    "olmo2": _variant(
        LLAMA,
        layer_norms={
            "attention_out": "post_attention_layernorm",
            "mlp_out": "post_feedforward_layernorm",
            **_QK_NORMS,
        },
    ),
    "cohere": _variant(LLAMA, layer_norms={"attention": "input_layernorm"}),
    "cohere2": _variant(LLAMA, layer_norms={"attention": "input_layernorm"}, **_TYPED),
    "stablelm": _variant(LLAMA, optional=("norm:mlp",)),  # absent where the residual is parallel
    "phi": _variant(
        LLAMA,
        final_norm_path="model.final_layernorm",
        projections={
            **_ATTENTION,
            "o": "self_attn.dense",
            "up": "mlp.fc1",
            "down": "mlp.fc2",
        },
        layer_norms={"attention": "input_layernorm"},
    ),
    "phi3": _variant(
        LLAMA,
        projections={
            "qkv": "self_attn.qkv_proj",
            "o": "self_attn.o_proj",
            "gate_up": "mlp.gate_up_proj",
            "down": "mlp.down_proj",
        },
    ),
    "starcoder2": _variant(
        LLAMA,
        projections={**_ATTENTION, "up": "mlp.c_fc", "down": "mlp.c_proj"},
    ),
    "olmoe": _variant(_MIXTURE, layer_norms={**LLAMA["layer_norms"], **_QK_NORMS}),
    "mixtral": _MIXTURE,
    "opt": {
        "kind": "decoder",
        "layers_path": "model.decoder.layers",
        "embeddings_path": "model.decoder.embed_tokens",
        "positions_path": "model.decoder.embed_positions",
        "final_norm_path": "model.decoder.final_layer_norm",
        "head_path": "lm_head",
        "attention_path": "self_attn",
        "mlp_path": None,
        "projections": {**_ATTENTION, "o": "self_attn.out_proj", "up": "fc1", "down": "fc2"},
        "layer_norms": {"attention": "self_attn_layer_norm", "mlp": "final_layer_norm"},
        "config_names": {"kv_heads": "num_attention_heads"},
        "packed_masks": True,
        "optional": ("final_norm",),  # the 350M checkpoint normalises after its sublayers instead
    },
    "gpt_neox": {
        "kind": "decoder",
        "layers_path": "gpt_neox.layers",
        "embeddings_path": "gpt_neox.embed_in",
        "final_norm_path": "gpt_neox.final_layer_norm",
        "head_path": ("lm_head", "embed_out"),
        "attention_path": "attention",
        "mlp_path": "mlp",
        "projections": {
            "qkv": "attention.query_key_value",
            "o": "attention.dense",
            "up": "mlp.dense_h_to_4h",
            "down": "mlp.dense_4h_to_h",
        },
        "layer_norms": {"attention": "input_layernorm", "mlp": "post_attention_layernorm"},
        "config_names": {"kv_heads": "num_attention_heads"},
        "packed_masks": True,
    },
    "gpt2": {
        "kind": "decoder",
        "layers_path": "transformer.h",
        "embeddings_path": "transformer.wte",
        "positions_path": "transformer.wpe",
        "final_norm_path": "transformer.ln_f",
        "head_path": "lm_head",
        "attention_path": "attn",
        "mlp_path": "mlp",
        "projections": {"qkv": "attn.c_attn", "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"},
        "layer_norms": _GPT_NORMS,
        "config_names": _GPT_NAMES,
        "packed_masks": True,
        "transposed": True,
        "depth_dependent": ("scale_attn_by_inverse_layer_idx",),
    },
    "gpt_neo": {
        "kind": "decoder",
        "layers_path": "transformer.h",
        "embeddings_path": "transformer.wte",
        "positions_path": "transformer.wpe",
        "final_norm_path": "transformer.ln_f",
        "head_path": "lm_head",
        "attention_path": "attn",
        "mlp_path": "mlp",
        "projections": {
            **{role: f"attn.attention.{role}_proj" for role in ("q", "k", "v")},
            "o": "attn.attention.out_proj",
            "up": "mlp.c_fc",
            "down": "mlp.c_proj",
        },
        "layer_norms": _GPT_NORMS,
        "config_names": {"depth": "num_layers", "heads": "num_heads", "kv_heads": "num_heads"},
        "per_layer_lists": ("attention_layers",),
        "run_length_lists": {"attention_types": "attention_layers"},
    },
    "bloom": {  # its ALiBi biases are computed from the padding mask: no packed masks
        "kind": "decoder",
        "layers_path": "transformer.h",
        "embeddings_path": "transformer.word_embeddings",
        "final_norm_path": "transformer.ln_f",
        "head_path": "lm_head",
        "attention_path": "self_attention",
        "mlp_path": "mlp",
        "projections": {
            "qkv": "self_attention.query_key_value",
            "o": "self_attention.dense",
            "up": "mlp.dense_h_to_4h",
            "down": "mlp.dense_4h_to_h",
        },
        "layer_norms": {"attention": "input_layernorm", "mlp": "post_attention_layernorm"},
        "config_names": {**_GPT_NAMES, "width": "hidden_size"},
    },
    "mamba": _MAMBA,
    "falcon_mamba": _MAMBA,
    "t5": {  # `layers` are the decoder's blocks; the encoder's are stack="encoder"
        "kind": "encoder-decoder",
        "layers_path": "decoder.block",
        "encoder_layers_path": "encoder.block",
        "embeddings_path": "shared",
        "final_norm_path": "decoder.final_layer_norm",
        "head_path": "lm_head",
        "attention_path": "layer.0.SelfAttention",
        "mlp_path": "layer.-1.DenseReluDense",
        "projections": {
            **{role: f"layer.0.SelfAttention.{role}" for role in ("q", "k", "v", "o")},
            **{f"cross_{role}": f"layer.1.EncDecAttention.{role}" for role in ("q", "k", "v", "o")},
            "gate": "layer.-1.DenseReluDense.wi_0",
            "up": ("layer.-1.DenseReluDense.wi_1", "layer.-1.DenseReluDense.wi"),
            "down": "layer.-1.DenseReluDense.wo",
        },
        "optional": ("gate", "cross_q", "cross_k", "cross_v", "cross_o"),
        "layer_norms": {"attention": "layer.0.layer_norm", "mlp": "layer.-1.layer_norm"},
        "config_names": {
            "depth": "num_decoder_layers",
            "encoder_depth": "num_layers",
            "width": "d_model",
            "heads": "num_heads",
            "kv_heads": "num_heads",
        },
        "first_layer_only": ("layer.0.SelfAttention", "relative_attention_bias", "has_relative_attention_bias"),
    },
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
}
