"""What is merged: models whose tensors are read one at a time, from checkpoint files or from memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.contracts import AppliedPart, LanguageModel, OpenWeights
from steelyard.errors import CapabilityError, ModelError, UsageError

if TYPE_CHECKING:
    import torch

    from steelyard.models.pooling import Pooling

FLOATS: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Number formats that can be merged, as safetensors writes them, and their bytes."""
OTHERS: Mapping[str, int] = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Formats that are not weights (masks, counters) and are only copied."""
ADAPTER = "adapter_config.json"


class TensorInfo(NamedTuple):
    """A tensor's shape and its number format, as safetensors writes it."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Source:
    """A model to merge: its ``name`` as given, and the ``title`` under which a merged model remembers it.

    ``read`` gives one tensor by name; nothing is kept of it here.
    ``tokenizer`` reads the tokenizer when called; ``generation`` is the generation configuration or None, and
    ``pooling`` says how an embedder makes its vectors.
    """

    name: str
    title: str
    fingerprint: str
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    read: Callable[[str], torch.Tensor]
    tokenizer: Callable[[], Any]
    licence: str | None = None
    parts: tuple[AppliedPart, ...] = ()
    generation: Mapping[str, Any] | None = None
    pooling: Pooling | None = None

    @property
    def architecture(self) -> str:
        """What transformers calls the model's class, or else its type."""
        names = self.config.get("architectures") or [self.config.get("model_type")]
        return str(names[0])

    @property
    def record(self) -> dict[str, Any]:
        """What a merged model remembers of it, JSON-ready."""
        found: dict[str, Any] = {"name": self.title, "fingerprint": self.fingerprint, "licence": self.licence}
        if self.parts:
            found["parts"] = [{"name": part.name, "settings": dict(part.settings)} for part in self.parts]
        return found


def open_source(model: str | Path | LanguageModel) -> Source:
    """A model by name, fetched and converted first where that was not done yet, or one in this process.

    Raises:
        UsageError: an unknown name, or an adapter instead of a model.
        ModelError: the model cannot be read, or its weights are quantized.
        CapabilityError: a model without weights in this process.
    """
    if isinstance(model, str | Path):
        return _from_folder(str(model))
    if not isinstance(model, OpenWeights):
        raise CapabilityError(f"merging needs weights, and those of {model.card.name} are not in this process")
    return _from_module(model)


# ---------------------------------------------------------------------------------------------- folders


def _from_folder(name: str) -> Source:
    from steelyard.models.checkpoint import read_history, read_tokenizer
    from steelyard.models.checkpoint_files import check_safetensors, inspect_folder, licence_of, read_json
    from steelyard.models.fingerprint import fingerprint_folder
    from steelyard.models.pooling import read_pooling
    from steelyard.models.pull import pull

    if (Path(name) / ADAPTER).is_file() and not (Path(name) / "config.json").is_file():
        raise UsageError(
            f"{name}: an adapter, not a model; population-evolution takes adapters, other merges whole models"
        )
    folder = pull(name)
    files = inspect_folder(folder)
    if files.record.get("int8") or files.record.get("grouped"):
        raise ModelError(f"{name}: its layers hold integers; merge the model as it was, and compress the result")
    files_of: dict[str, Path] = {}
    tensors: dict[str, TensorInfo] = {}
    for file in files.weights:
        for tensor, entry in check_safetensors(file).items():
            files_of[tensor] = file
            tensors[tensor] = TensorInfo(tuple(entry["shape"]), str(entry["dtype"]))
    _check_formats(name, tensors, files.config)
    generation = folder / "generation_config.json"
    return Source(
        name=name,
        title=files.describe("name") or folder.resolve().name,
        fingerprint=fingerprint_folder(folder),
        config=files.config,
        tensors=tensors,
        read=partial(_read, files_of),
        tokenizer=partial(read_tokenizer, folder),
        licence=licence_of(folder),
        parts=read_history(files),
        generation=read_json(generation) if generation.is_file() else None,
        pooling=read_pooling(folder),
    )


def _read(files_of: Mapping[str, Path], name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(str(files_of[name]), framework="pt") as file:
        found: torch.Tensor = file.get_tensor(name)
    return found


def _check_formats(name: str, tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> None:
    if config.get("quantization_config"):
        raise ModelError(f"{name}: its weights are quantized; merge the model as it was, and compress the result")
    for tensor, info in tensors.items():
        if info.dtype not in (*FLOATS, *OTHERS):
            raise ModelError(
                f"{name}: tensor {tensor!r} is stored as {info.dtype}, which cannot be averaged; merge the model "
                f"in {', '.join(FLOATS)}, and compress the result"
            )


# ------------------------------------------------------------------------------------ models in memory


def _from_module(model: OpenWeights) -> Source:
    from steelyard.models.quantized import grouped_layers, int8_names

    card, module = model.card, model.module
    if int8_names(module) or grouped_layers(module):
        raise ModelError(
            f"{card.name}: its layers hold integers; merge the model as it was, and compress the result"
        )
    state = _state(module)
    tensors = {name: TensorInfo(tuple(tensor.shape), _format(tensor)) for name, tensor in state.items()}
    config: Any = module.config
    generation = getattr(module, "generation_config", None)
    stated: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    _check_formats(card.name, tensors, stated)
    return Source(
        name=card.name,
        title=card.name,
        fingerprint=card.fingerprint,
        config={**stated, "architectures": [type(module).__name__]},
        tensors=tensors,
        read=state.__getitem__,
        tokenizer=lambda: model.tokenizer,
        licence=card.licence,
        parts=card.parts,
        generation=json.loads(generation.to_json_string()) if generation is not None else None,
        pooling=getattr(model, "pooling", None),
    )


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Named tensors, detached; of several names for one tensor (a tied head) the first."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    found: dict[str, torch.Tensor] = {}
    for name, tensor in module.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        found[name] = tensor.detach()
    return found


def _format(tensor: torch.Tensor) -> str:
    import torch

    names = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    names |= {torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"}
    return {**names, torch.bool: "BOOL"}.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
