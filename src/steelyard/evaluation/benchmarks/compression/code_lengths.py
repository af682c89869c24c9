"""Code lengths of documents under a language model: what an arithmetic coder would need, in bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import Continuation, LanguageModel
from steelyard.errors import CapabilityError, UsageError
from steelyard.evaluation.benchmarks.compression.dated_documents import Document
from steelyard.models.requests import Window, encode_text, prefix_token

_AT_ONCE = 256  # windows planned together


def code_lengths(
    model: LanguageModel, documents: Sequence[Document], *, context: int | None = None, stride: int | None = None
) -> NDArray[np.float64]:
    """-log2 p of every document: float64 (documents,), in bits; first tokens are paid for.

    Args:
        model: with ``context`` or for bytes, one with weights in this process; else anything that scores.
        documents: what to code.
        context: most tokens that a token is predicted from, the beginning-of-sequence token included; by default
            the model's own length, in its own rolling windows.
        stride: so many tokens are predicted together, from ``context - stride`` tokens before them; by default
            ``context``, which cuts a document into chunks that know nothing of each other.
    """
    plain = context is None and all(isinstance(d.content, str) for d in documents)
    if plain:
        scores = model.score([Continuation("", str(document.content)) for document in documents])
        return np.array([-score.logprob for score in scores]) / math.log(2)
    engine = weights_of(model, "a chosen context" if context is not None else "a document of bytes").engine
    length = context or engine.context_length
    if length is None:
        raise UsageError(f"compression-evaluation: {model.card.name} has no context length of its own; choose one")
    if engine.context_length is not None and length > engine.context_length:
        raise UsageError(
            f"compression-evaluation: context {length} exceeds the {engine.context_length} of {model.card.name}"
        )
    prefix = prefix_token(engine.tokenizer, engine.name)
    work = {
        (i, j): window
        for i, document in enumerate(documents)
        for j, window in enumerate(
            coding_windows(tokens_of(engine.tokenizer, document.content, engine.name), prefix, length, stride)
        )
    }
    return _read(engine, work, len(documents))


def _read(engine: Any, work: dict[tuple[int, int], Window], count: int) -> NDArray[np.float64]:
    from steelyard.models.packing import Walk
    from steelyard.models.readout import Asked
    from steelyard.models.scoring import read_windows

    bits = np.zeros(count)
    keys = list(work)
    for start in range(0, len(keys), _AT_ONCE):
        part = {key: work[key] for key in keys[start : start + _AT_ONCE]}
        for (document, _), reading in read_windows(Walk(engine), part, Asked(0, False)).items():
            bits[document] -= math.fsum(reading.logprobs) / math.log(2)
    return bits


def coding_windows(tokens: Sequence[int], prefix: int, context: int, stride: int | None = None) -> list[Window]:
    """Cut a document into runs of the model, each of at most ``context`` inputs; every token is predicted once.

    >>> [w.target for w in coding_windows([1, 2, 3, 4, 5], 0, 4, 2)]
    [(1, 2, 3, 4), (5,)]
    >>> coding_windows([1, 2, 3, 4, 5], 0, 4, 2)[1].context, coding_windows([1, 2, 3, 4, 5], 0, 4)[1].context
    ((3, 4), (0,))
    """
    stride = stride or context
    if not 0 < stride <= context:
        raise UsageError(f"compression-evaluation: stride {stride} must lie between 1 and the context, {context}")
    tokens = tuple(tokens)
    windows = [Window((prefix,), tokens[:context])]
    for start in range(context, len(tokens), stride):
        before = tokens[start - (context - stride) : start]
        windows.append(Window(before or (prefix,), tokens[start : start + stride]))
    return windows


def tokens_of(tokenizer: Any, content: str | bytes, name: str) -> list[int]:
    """The tokens that spell ``content``: the tokenizer's own for text, one a byte for bytes."""
    if isinstance(content, str):
        return encode_text(tokenizer, content, False)
    table = byte_tokens(tokenizer, name)
    return [table[byte] for byte in content]


def byte_tokens(tokenizer: Any, name: str) -> list[int]:
    """The token of each of the 256 bytes; raises :class:`CapabilityError` where a vocabulary has none.

    Byte-level vocabularies spell bytes with printable characters (GPT-2), others as ``<0x00>`` (byte fallback).
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    vocabulary = tokenizer.get_vocab()
    for spelling in (letters, {byte: f"<0x{byte:02X}>" for byte in range(256)}):
        found = [vocabulary.get(spelling[byte]) for byte in range(256)]
        if all(token is not None for token in found):
            return [int(token) for token in found]
    raise CapabilityError(f"{name} has no tokens for single bytes, so only text can be coded with it")


def weights_of(model: LanguageModel, why: str) -> Any:
    """The model as one with an engine in this process."""
    if "weights" not in model.card.capabilities or not hasattr(model, "engine"):
        raise CapabilityError(
            f"part 'compression-evaluation': {why} needs the capability 'weights', which {model.card.name} lacks"
        )
    return model
