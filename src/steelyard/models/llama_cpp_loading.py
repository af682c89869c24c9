"""Loading a GGUF file for llama.cpp: the file, its tokenizer, its card and what it can do, found by trying."""

from __future__ import annotations

from typing import Any

import numpy as np

from steelyard.contracts import Capability, ModelCard, Progress
from steelyard.errors import ModelError
from steelyard.models.answers import END_OF_TURN
from steelyard.models.fingerprint import file_sha256, fingerprint_of
from steelyard.models.gguf import convert_tokenizer, end_tokens
from steelyard.models.gguf_files import GgufFile, gguf_file
from steelyard.models.gguf_header import GgufHeader, read_header
from steelyard.models.llama_cpp import LlamaCppModel
from steelyard.models.llama_cpp_context import Context, Entry, Weights, api
from steelyard.models.probing import renders

ENGINE = "llama.cpp"


def load_llama_cpp(
    name: str, *, accept_licence: bool = False, progress: Progress | None = None, **options: Any
) -> LlamaCppModel:
    """Load the GGUF file that ``name`` stands for; see :func:`~steelyard.models.gguf_files.gguf_file`.

    ``options`` are ``cache_tokens`` and ``threads`` of :class:`LlamaCppModel`.

    Raises:
        UsageError: llama-cpp-python is not installed, or the model has no GGUF file.
        ModelError: llama.cpp cannot run it, or Steelyard cannot read its tokenizer.
    """
    from transformers import AutoTokenizer

    from steelyard.models.quiet import quiet

    api()  # says what is missing before anything is fetched
    file = gguf_file(name, accept_licence=accept_licence, progress=progress)
    header = read_header(file.path)
    folder = convert_tokenizer(file.path)
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    weights = Weights(file.path)
    if not (weights.decodes and weights.branches):
        raise ModelError(
            f"{file.path}: the engine llama.cpp runs decoders with attention only here, not architecture "
            f"{header.architecture!r}; leave the engine out"
        )
    card = card_of(file, header, weights, tokenizer, options.get("cache_tokens", LlamaCppModel.cache_tokens))
    ends = {*end_tokens(header), *_special(tokenizer)}
    return LlamaCppModel(weights, tokenizer, card, frozenset(ends), **options)


def card_of(file: GgufFile, header: GgufHeader, weights: Weights, tokenizer: Any, cache_tokens: int) -> ModelCard:
    """The card: ``memory_bytes`` counts the weights as they lie in the file and a cache of ``cache_tokens``."""
    engine = {"name": "engine", "settings": {"engine": ENGINE}}
    lengths = [n for n in (weights.context_length, tokenizer.model_max_length) if 0 < n < 10**9]
    return ModelCard(
        name=file.name,
        fingerprint=fingerprint_of(file_sha256(file.path)[:32], [engine]),
        parameters=weights.parameters,
        memory_bytes=weights.bytes + weights.cell_bytes * cache_tokens,
        context_length=min(lengths, default=None),
        licence=file.licence,
        family=header.architecture,
        capabilities=probe(weights, tokenizer),
        source=file.source,
    )


def probe(weights: Weights, tokenizer: Any) -> frozenset[Capability]:
    """What the model can do, found by reading two tokens in two sequences that share the first."""
    first, second = weights.vocabulary // 2, weights.vocabulary // 3
    entries = [Entry(first, 0, [0, 1], True), Entry(second, 1, [0], True), Entry(first, 1, [1], True)]
    try:
        logits = np.concatenate(list(Context(weights, 16, 2, 1).decode(entries)))
    except ModelError:
        return frozenset()
    found: set[Capability] = set()
    if np.isfinite(logits).all() and not np.array_equal(logits[1], logits[2]):
        found |= {"score", "generate", "logprobs"}
        if renders(tokenizer):
            found.add("chat")
    return frozenset(found)


def _special(tokenizer: Any) -> set[int]:
    known = getattr(tokenizer, "added_tokens_encoder", {})
    ends = {known[token] for token in END_OF_TURN if token in known}
    return ends | ({tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set())
