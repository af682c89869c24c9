"""Embedding: texts to unit vectors, and the hidden states behind them.

Texts are tokenised in one call, equal ones are computed once, and the rest is batched by length so that little is
padded; only final hidden states are computed, never logits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from steelyard.contracts import TextRole
from steelyard.errors import CapabilityError, InputError, ModelError, UsageError
from steelyard.models.forward import Engine
from steelyard.models.length_batches import PASS_TOKENS, length_batches
from steelyard.models.pooling import MODES, Pooling
from steelyard.models.requests import encode_text, prefix_token

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Row = tuple[int, ...]

log = logging.getLogger(__name__)

MEAN = Pooling("mean")
"""How a vector is made where the checkpoint states nothing."""
GPU_PASS_TOKENS = 1024
"""What one more forward pass costs on a GPU, in tokens: a guess, as :data:`PASS_TOKENS` was measured on a CPU."""


def embed(
    engine: Engine, texts: Sequence[str], pooling: Pooling = MEAN, role: TextRole = "document"
) -> NDArray[np.float32]:
    """Unit vectors of texts: float32 (n, d).

    A text gets the prefix of its role. What is longer than the limit is cut on the right, which is logged. The
    vector is the pooled final hidden state, behind the checkpoint's dense layers where it has some, and always of
    unit length: cosine similarity is the inner product. Results do not depend on batching.

    Raises:
        UsageError: An unknown pooling mode.
        InputError: Something that is not text.
        ModelError: A vector that is not finite.

    Source: "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", section 3 (pooling).
    """
    if pooling.mode not in MODES:
        raise UsageError(f"unknown pooling {pooling.mode!r}; one of {', '.join(MODES)}")
    if not texts:
        return np.zeros((0, _width(engine, pooling)), dtype=np.float32)
    rows = token_rows(engine, texts, pooling, role)
    distinct = list(dict.fromkeys(rows))
    skipped = 0 if pooling.include_prompt else _prefix_tokens(engine, pooling, role)
    vectors: dict[Row, NDArray[np.float32]] = {}
    for batch in _batches(engine, distinct):
        states, mask = final_states(engine, [distinct[i] for i in batch])
        with torch.inference_mode():
            pooled = pool(states, _without_prefix(mask, skipped), pooling.mode)
            for dense in pooling.dense:
                pooled = dense.apply(pooled)
            unit = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        vectors.update((distinct[i], vector) for i, vector in zip(batch, unit, strict=True))
    found = np.stack([vectors[row] for row in rows]).astype(np.float32, copy=False)
    _check_finite(engine, [bool(np.isfinite(vector).all()) for vector in found])
    return found


def embed_tokens(
    engine: Engine, texts: Sequence[str], pooling: Pooling = MEAN, role: TextRole = "document"
) -> list[NDArray[np.float32]]:
    """The unit vector of every token of a text, for late interaction: per text float32 (tokens, width).

    Tokens are those the model reads: special ones and the prefix of the role are among them. Cutting, batching and
    errors are as in :func:`embed`; dense layers behind the pooling are not applied.

    Source: "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
    section 3.2 (a normalised vector a token).
    """
    rows = token_rows(engine, texts, pooling, role) if texts else []
    distinct = list(dict.fromkeys(rows))
    vectors: dict[Row, NDArray[np.float32]] = {}
    for batch in _batches(engine, distinct):
        states, _ = final_states(engine, [distinct[i] for i in batch])
        unit = torch.nn.functional.normalize(states.float(), dim=-1).cpu().numpy()
        vectors.update((distinct[i], unit[place, : len(distinct[i])].copy()) for place, i in enumerate(batch))
    _check_finite(engine, [bool(np.isfinite(vectors[row]).all()) for row in rows])
    return [vectors[row] for row in rows]


def pool(states: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    """Pool hidden states (n, tokens, width) over the tokens that count (mask (n, tokens), at least one a row)."""
    states = states.float()
    if how in ("last", "eos"):
        positions = torch.arange(mask.shape[1], device=mask.device)
        return states[torch.arange(len(states), device=states.device), (mask * positions).argmax(1)]
    if how == "cls":
        return states[torch.arange(len(states), device=states.device), mask.argmax(1)]
    if how == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    weights = mask.float()
    return torch.bmm(weights.unsqueeze(1), states).squeeze(1) / weights.sum(1, keepdim=True)


def final_states(engine: Engine, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Final hidden states (n, tokens, width) of right-padded rows and the mask (n, tokens) of real tokens."""
    output, mask = _run(engine, rows, hidden=False)
    states = getattr(output, "last_hidden_state", None)
    if states is None:
        raise CapabilityError(f"{engine.name} shows no final hidden states (capability 'embed')")
    return states, mask


def token_rows(engine: Engine, texts: Sequence[str], pooling: Pooling, role: TextRole) -> list[Row]:
    """What the model reads for each text: its tokens behind the role's prefix, within the limit."""
    prefix = pooling.prefix(role)
    limits = [limit for limit in (pooling.max_length, engine.context_length) if limit]
    limit = min(limits, default=None)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{engine.name}: text {number} is {type(text).__name__}, not text")
    read = [f"{prefix}{text}".lower() if pooling.lower_case else f"{prefix}{text}" for text in texts]
    rows = _tokenised(engine, read, None)
    long = [number for number, row in enumerate(rows) if limit is not None and len(row) > limit]
    if long and limit is not None:
        most = max(len(rows[number]) for number in long)
        log.warning(
            "%s: %d of %d texts (up to %d tokens) are embedded by their first %d tokens",
            engine.name,
            len(long),
            len(texts),
            most,
            limit,
        )
        for number, row in zip(long, _tokenised(engine, [read[number] for number in long], limit), strict=True):
            rows[number] = row
    if pooling.mode == "eos":
        rows = [_ended(engine, row, limit) for row in rows]
    return [row or (prefix_token(engine.tokenizer, engine.name),) for row in rows]


def hidden(engine: Engine, texts: Sequence[str], layers: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
    """Hidden states per text: float32 (layers, tokens, width).

    Layer 0 is the embeddings, layer i the output of block i, the last one after the final normalisation;
    negative numbers count from the end. Raises :class:`InputError` for a text longer than the context.
    """
    first = [prefix_token(engine.tokenizer, engine.name)] if "" in texts else []
    tokens = [encode_text(engine.tokenizer, text, True) or first for text in texts]
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
    if not bool(mask.all()):  # without padding no mask is needed, and attention without one is faster
        arguments["attention_mask"] = mask
    if engine.cache_argument is not None and not engine.encoder_decoder:
        arguments["use_cache"] = False
    with engine.lock, torch.inference_mode():
        return body(input_ids=ids, return_dict=True, **arguments), mask


def _batches(engine: Engine, rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    pass_tokens = PASS_TOKENS if engine.device.type == "cpu" else GPU_PASS_TOKENS
    yield from length_batches([len(row) for row in rows], engine.batch_tokens, pass_tokens)


def _tokenised(engine: Engine, texts: Sequence[str], limit: int | None) -> list[Row]:
    cut = {} if limit is None else {"truncation": True, "max_length": limit}
    try:
        encoded = engine.tokenizer(
            list(texts), return_attention_mask=False, return_token_type_ids=False, verbose=False, **cut
        )
    except (TypeError, UnicodeEncodeError) as error:
        raise InputError(f"{engine.name}: a text is not valid Unicode ({error}); mend it") from error
    return [tuple(row) for row in encoded["input_ids"]]


def _ended(engine: Engine, row: Row, limit: int | None) -> Row:
    """A row that ends with an end-of-sequence token, within the limit."""
    end = engine.tokenizer.eos_token_id
    if end is None:
        raise UsageError(f"{engine.name}: pooling 'eos' needs an end-of-sequence token, its tokenizer has none")
    if row and row[-1] == end:
        return row
    return (*row[: None if limit is None else limit - 1], end)


def _prefix_tokens(engine: Engine, pooling: Pooling, role: TextRole) -> int:
    """How many tokens the prefix of a role takes, without the special token that ends a text."""
    prefix = pooling.prefix(role)
    if not prefix:
        return 0
    row = _tokenised(engine, [prefix], None)[0]
    return len(row) - int(bool(row) and row[-1] in engine.tokenizer.all_special_ids)


def _without_prefix(mask: torch.Tensor, skipped: int) -> torch.Tensor:
    """The mask without its first ``skipped`` tokens; a row that holds no more than those keeps its last token."""
    if not skipped:
        return mask
    positions = torch.arange(mask.shape[1], device=mask.device)
    return mask * (positions >= (mask.sum(1, keepdim=True) - 1).clamp(max=skipped)).long()


def _width(engine: Engine, pooling: Pooling) -> int:
    if pooling.dense:
        return int(pooling.dense[-1].weight.shape[0])
    return int(engine.module.get_input_embeddings().embedding_dim)


def _check_finite(engine: Engine, finite: Sequence[bool]) -> None:
    if not all(finite):
        place = list(finite).index(False)
        raise ModelError(f"{engine.name}: the vector of text {place} is not finite; load the model in float32")
