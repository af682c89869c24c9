"""Embedding: texts to unit vectors, and the hidden states behind them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from steelyard.errors import CapabilityError, InputError, ModelError, UsageError
from steelyard.models.checkpoint_files import Pooling
from steelyard.models.forward import Engine
from steelyard.models.requests import encode_text, prefix_token

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MEAN = Pooling("mean", True)
"""How a vector is made where the checkpoint states nothing."""
POOLINGS = ("mean", "cls", "max", "last")


def embed(engine: Engine, texts: Sequence[str], pooling: Pooling = MEAN) -> NDArray[np.float32]:
    """Unit vectors of texts: float32 (n, d). Texts longer than the limit are cut on the right, which is logged.

    The vector is the pooled final hidden state, always of unit length: cosine similarity is the inner product.
    Source: "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", section 3 (pooling).
    """
    if pooling.mode not in POOLINGS:
        raise UsageError(f"unknown pooling {pooling.mode!r}; one of {', '.join(POOLINGS)}")
    limits = [limit for limit in (pooling.max_length, engine.context_length) if limit]
    tokens = [_encode(engine, text, min(limits, default=None)) for text in texts]
    vectors: dict[int, NDArray[np.float32]] = {}
    for batch in _batches(engine, tokens):
        states, mask = final_states(engine, [tokens[i] for i in batch])
        pooled = torch.nn.functional.normalize(pool(states, mask, pooling.mode), dim=-1).cpu().numpy()
        vectors.update(zip(batch, pooled, strict=True))
    if not tokens:
        return np.zeros((0, int(engine.module.get_input_embeddings().embedding_dim)), dtype=np.float32)
    found = np.stack([vectors[i] for i in range(len(tokens))]).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise ModelError(f"{engine.name}: the vector of text {bad[0]} is not finite; load the model in float32")
    return found


def pool(states: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    """Pool hidden states (n, tokens, width) over real tokens (mask (n, tokens), padding on the right)."""
    states = states.float()
    if how == "cls":
        return states[:, 0]
    if how == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    if how == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    weights = mask.unsqueeze(-1).float()
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def final_states(engine: Engine, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Final hidden states (n, tokens, width) of right-padded rows and the mask (n, tokens) of real tokens."""
    output, mask = _run(engine, rows, hidden=False)
    states = getattr(output, "last_hidden_state", None)
    if states is None:
        raise CapabilityError(f"{engine.name} shows no final hidden states (capability 'embed')")
    return states, mask


def hidden(engine: Engine, texts: Sequence[str], layers: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
    """Hidden states per text: float32 (layers, tokens, width).

    Layer 0 is the embeddings, layer i the output of block i, the last one after the final normalisation;
    negative numbers count from the end. Raises :class:`InputError` for a text longer than the context.
    """
    tokens = [_encode(engine, text, None) for text in texts]
    limit = engine.context_length
    for index, row in enumerate(tokens):
        if limit is not None and len(row) > limit:
            raise InputError(
                f"{engine.name}: text {index} has {len(row)} tokens, its context is {limit}; shorten it"
            )
    found: dict[int, NDArray[np.float32]] = {}
    for batch in _batches(engine, tokens):
        output, _ = _run(engine, [tokens[i] for i in batch], hidden=True)
        states = getattr(output, "hidden_states", None)
        if states is None:
            raise CapabilityError(f"{engine.name} shows no hidden states (capability 'hidden')")
        chosen = range(len(states)) if layers is None else layers
        if any(not -len(states) <= layer < len(states) for layer in chosen):
            raise UsageError(f"{engine.name} has hidden states 0 to {len(states) - 1}, not {list(chosen)}")
        stacked = torch.stack([states[layer] for layer in chosen]).float().cpu().numpy()
        for place, index in enumerate(batch):
            found[index] = stacked[:, place, : len(tokens[index])].copy()
    return [found[i] for i in range(len(tokens))]


def _run(engine: Engine, rows: Sequence[Sequence[int]], *, hidden: bool) -> tuple[Any, torch.Tensor]:
    ids = engine.tensor(rows)
    lengths = torch.tensor([len(row) for row in rows], device=ids.device)
    mask = (torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)).long()
    body = engine.module.get_encoder() if engine.encoder_decoder else engine.module.base_model
    arguments: dict[str, Any] = {"output_hidden_states": True} if hidden else {}
    if engine.cache_argument is not None and not engine.encoder_decoder:
        arguments["use_cache"] = False
    with engine.lock, torch.inference_mode():
        return body(input_ids=ids, attention_mask=mask, return_dict=True, **arguments), mask


def _encode(engine: Engine, text: str, limit: int | None) -> list[int]:
    tokens = encode_text(engine.tokenizer, text, True) or [prefix_token(engine.tokenizer, engine.name)]
    if limit is None or len(tokens) <= limit:
        return tokens
    log.warning("%s: a text of %d tokens is embedded by its first %d", engine.name, len(tokens), limit)
    cut = engine.tokenizer(text, truncation=True, max_length=limit)["input_ids"]
    return list(cut)


def _batches(engine: Engine, rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]), reverse=True)
    while order:
        count = max(1, engine.batch_tokens // len(rows[order[0]]))
        yield order[:count]
        order = order[count:]
