"""How many tokens one forward pass may hold under a limit on memory.

What is planned is the weights and one pack, the tokens of one forward pass; the interpreter and its libraries,
about 300 MB, come on top. A pack of n tokens, of which r are read, holds at most

    width * (n * (8 h + 3 q + 5 k) + n * max(3 i, q) + 2 n k L)      states, one block's inner values, caches
    + masks * n * n * (width + 1)                                    attention masks
    + heads * n * n * (width + 4)                                    attention weights, where they are formed
    + copies * r * V * 4                                             logits

bytes: h, q, k, i are the widths of hidden states, queries, keys and the inner layer, L the blocks, V the
vocabulary, ``width`` the bytes of a float. The constants count what transformers' modules hold at once (the
residual, its normalised form, rotated queries and keys with what they are made from, gate, product and
activation) and were checked against measured peaks.

    plan = plan_tokens(module, memory_bytes("900MB"), weights=540_000_000)
    pack_bytes(shape_of(module), plan)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steelyard.errors import UsageError
from steelyard.models.forward import LOGIT_ELEMENTS

MOST_TOKENS = 4096
"""Larger packs are no faster."""
LEAST_TOKENS = 64
"""With less, reading the weights for every pack costs more than computing it."""


@dataclass(frozen=True, slots=True)
class PackShape:
    """The widths of a module, as far as they bear on the memory of a forward pass; ``width`` is in bytes."""

    hidden: int
    queries: int
    keys: int
    inner: int
    layers: int
    heads: int
    vocabulary: int
    width: int = 4
    masks: int = 1
    forms_weights: bool = False


def shape_of(module: Any) -> PackShape:
    """Read the shape from a module's configuration; what an architecture does not tell is taken generously."""
    config = module.config.get_text_config() if hasattr(module.config, "get_text_config") else module.config

    def first(*names: str, default: int) -> int:
        values = (getattr(config, name, None) for name in names)
        return int(next((v for v in values if isinstance(v, int) and v > 0), default))

    hidden = first("hidden_size", "n_embd", "d_model", default=1024)
    heads = first("num_attention_heads", "n_head", "num_heads", default=max(1, hidden // 64))
    head = first("head_dim", "d_kv", default=max(1, hidden // heads))
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    dtype = getattr(module, "dtype", None)
    return PackShape(
        hidden=hidden,
        queries=heads * head,
        keys=first("num_key_value_heads", "num_kv_heads", default=heads) * head,
        inner=first("intermediate_size", "n_inner", "ffn_dim", "d_ff", default=4 * hidden),
        layers=first("num_hidden_layers", "n_layer", "num_layers", default=12),
        heads=heads,
        vocabulary=first("vocab_size", default=50_000),
        width=int(getattr(dtype, "itemsize", 4)),
        masks=len(set(kinds)),
        forms_weights=getattr(config, "_attn_implementation", "eager") not in ("sdpa", "flash_attention_2"),
    )


def pack_bytes(shape: PackShape, tokens: int) -> int:
    """Most bytes that a forward pass over ``tokens`` tokens holds beside the weights, by the formula above."""
    n, s = tokens, shape
    states = n * (8 * s.hidden + 3 * s.queries + 5 * s.keys) + n * max(3 * s.inner, s.queries)
    caches = 2 * n * s.keys * s.layers
    masks = s.masks * n * n * (s.width + 1)
    weights = s.heads * n * n * (s.width + 4) if s.forms_weights else 0
    read = min(n, max(64, LOGIT_ELEMENTS // s.vocabulary))
    copies = 2 if s.width == 4 else 3
    return s.width * (states + caches) + masks + weights + copies * read * s.vocabulary * 4


def tokens_within(shape: PackShape, memory: int) -> int:
    """The most tokens, up to :data:`MOST_TOKENS`, whose pack fits into ``memory`` bytes; 0 if none does.

    >>> shape = PackShape(64, 64, 64, 256, 2, 4, 1000)
    >>> n = tokens_within(shape, 5_000_000)
    >>> pack_bytes(shape, n) <= 5_000_000 < pack_bytes(shape, n + 1)
    True
    """
    low, high = 0, MOST_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        if pack_bytes(shape, middle) <= memory:
            low = middle
        else:
            high = middle - 1
    return low


def plan_tokens(module: Any, memory: int, *, weights: int, name: str = "the model") -> int:
    """How many tokens a pack may have, so that weights and one pack stay within ``memory`` bytes.

    Raises:
        UsageError: the weights alone, or the weights and a pack of :data:`LEAST_TOKENS` tokens, do not fit.
    """
    if weights >= memory:
        raise UsageError(
            f"{name}: its weights take {weights / 1e6:.0f} MB, more than the limit of {memory / 1e6:.0f} MB; "
            "raise --memory, or use a smaller model or the part int8"
        )
    shape = shape_of(module)
    tokens = tokens_within(shape, memory - weights)
    if tokens < LEAST_TOKENS:
        least = weights + pack_bytes(shape, LEAST_TOKENS)
        raise UsageError(
            f"{name}: its weights ({weights / 1e6:.0f} MB) leave too little of {memory / 1e6:.0f} MB for a "
            f"forward pass; give --memory at least {-(-least // 10**6)}MB"
        )
    return tokens
