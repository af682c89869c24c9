"""What a model can do, found by trying: one forward pass over two sequences of two tokens."""

from __future__ import annotations

from typing import Any

import torch

from steelyard.contracts import Capability, Message
from steelyard.errors import SteelyardError
from steelyard.models.requests import render


def probe(module: Any, tokenizer: Any) -> frozenset[Capability]:
    """Capabilities of a module with its tokenizer.

    The two sequences differ in their second token only: a model whose logits at the first token differ too
    looks ahead, so it can neither score nor generate from left to right. An encoder-decoder is tried with the
    two sequences on the decoder's side.
    """
    found: set[Capability] = {"weights"}
    output = _try(module)
    if output is None:
        return frozenset(found)
    states = _hidden_states(output)
    if states:
        found.add("hidden")
        if all(bool(torch.isfinite(state).all()) for state in states):
            found.add("embed")
    logits = getattr(output, "logits", None)
    if _predicts(logits):
        found |= {"score", "generate", "logprobs"}
        if renders(tokenizer):
            found.add("chat")
    return frozenset(found)


def _try(module: Any) -> Any:
    device = next(module.parameters()).device
    size = int(module.get_input_embeddings().num_embeddings)
    first, second, third = size // 2, size // 3, size // 4
    ids = torch.tensor([[first, second], [first, third]], device=device)
    arguments: dict[str, Any] = {"input_ids": ids, "output_hidden_states": True, "return_dict": True}
    if getattr(module.config, "is_encoder_decoder", False):
        arguments["input_ids"] = torch.tensor([[first, second], [first, second]], device=device)
        arguments["decoder_input_ids"] = ids
    else:
        arguments["attention_mask"] = torch.ones_like(ids)
    try:
        with torch.inference_mode():
            return module(**arguments)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
        return None  # it cannot run on two tokens: nothing but its weights can be used


def _hidden_states(output: Any) -> Any:
    return getattr(output, "hidden_states", None) or getattr(output, "encoder_hidden_states", None)


def _predicts(logits: Any) -> bool:
    if logits is None or logits.dim() != 3 or logits.shape[:2] != (2, 2):
        return False
    logits = logits.float()
    if not bool(torch.isfinite(logits).all()):
        return False
    spread = max(float(logits.std()), 1e-6)
    return float((logits[0, 0] - logits[1, 0]).abs().max()) < 1e-2 * spread


def renders(tokenizer: Any) -> bool:
    """Whether the chat template takes a conversation."""
    try:
        return bool(render(tokenizer, [Message("user", "a")])[0])
    except SteelyardError:
        return False
