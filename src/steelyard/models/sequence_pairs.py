"""Scoring with an encoder-decoder: the context goes to the encoder, the continuation to the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch

from steelyard.errors import ModelError
from steelyard.models.forward import Engine, Positions
from steelyard.models.readout import Asked, Reading, Readout
from steelyard.models.requests import Window


def decoder_start(engine: Engine) -> int:
    """The token a decoder starts from."""
    for source in (getattr(engine.module, "generation_config", None), engine.module.config):
        for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
            token = getattr(source, name, None)
            if token is not None:
                return int(token)
    raise ModelError(f"{engine.name}: its configuration names no token for the decoder to start from")


def encode_contexts(engine: Engine, contexts: Sequence[Sequence[int]]) -> tuple[Any, torch.Tensor]:
    """Encoder states (rows, tokens, width) of padded contexts, and the mask (rows, tokens) of real tokens."""
    ids = engine.tensor(contexts)
    lengths = torch.tensor([len(c) for c in contexts], device=ids.device)
    mask = (torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)).long()
    with engine.lock, torch.inference_mode():
        states = engine.module.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True)
    return states.last_hidden_state, mask


def read_pairs(
    engine: Engine, work: Mapping[tuple[int, int], Window], ask: Asked
) -> dict[tuple[int, int], Reading]:
    """Run windows; each distinct context is encoded once."""
    items = sorted(work.items(), key=lambda item: (len(item[1].context), item[1].context))
    contexts = [list(group) for _, group in groupby(items, key=lambda item: item[1].context)]
    readings: dict[tuple[int, int], Reading] = {}
    while contexts:
        batch = [contexts.pop()]
        widest = len(batch[0][0][1].context)
        while contexts and (len(batch) + 1) * widest <= engine.batch_tokens:
            batch.append(contexts.pop())
        states, mask = encode_contexts(engine, [group[0][1].context for group in batch])
        rows = [(index, key, window) for index, group in enumerate(batch) for key, window in group]
        rows.sort(key=lambda row: len(row[2].target))
        while rows:
            count = max(1, min(engine.logit_rows, engine.batch_tokens) // len(rows[-1][2].target))
            chunk, rows = rows[-count:], rows[:-count]
            readings.update(_read_chunk(engine, chunk, states, mask, ask))
    return readings


def _read_chunk(
    engine: Engine,
    chunk: Sequence[tuple[int, tuple[int, int], Window]],
    states: Any,
    mask: torch.Tensor,
    ask: Asked,
) -> dict[tuple[int, int], Reading]:
    from transformers.modeling_outputs import BaseModelOutput

    start = decoder_start(engine)
    ids = engine.tensor([(start, *window.target[:-1]) for _, _, window in chunk])
    pairs = [(r, p) for r, (_, _, window) in enumerate(chunk) for p in range(len(window.target))]
    index = torch.tensor(pairs, dtype=torch.long, device=ids.device)
    rows = torch.tensor([row for row, _, _ in chunk], device=ids.device)
    with torch.inference_mode():
        encoded = BaseModelOutput(last_hidden_state=states[rows])
    logits = engine.forward(
        ids, Positions(index[:, 0], index[:, 1]), encoder_outputs=encoded, attention_mask=mask[rows]
    ).logits
    tokens = np.array([token for _, _, window in chunk for token in window.target])
    readout = Readout(engine.tokenizer, len(tokens), ask)
    with torch.inference_mode():
        places = np.arange(len(tokens))
        readout.read(lambda part: logits[part], places, places, tokens, engine.vocabulary)
    readings, at = {}, 0
    for _, key, window in chunk:
        readings[key] = readout.reading(at, at + len(window.target))
        at += len(window.target)
    return readings
