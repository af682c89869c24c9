"""Checkpoints in the format of the library compressed-tensors, which transformers, vLLM and SGLang read.

Packed layers become its format ``pack-quantized``: ``weight_packed`` (int32, a row's numbers from the lowest bits
up), ``weight_scale`` (out, groups) and ``weight_shape``, with a ``quantization_config`` in config.json that names
the layers of each number of bits and group size. Layers of ``int8`` are written as 8 bits with one group a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steelyard.contracts import ModelCard
from steelyard.errors import CapabilityError
from steelyard.models.grouped_kernels import unpack_table
from steelyard.models.grouped_linear import GroupedExperts, GroupedLinear
from steelyard.models.int8_linear import Int8Linear
from steelyard.models.quantized import QUANTIZED, dense
from steelyard.models.quiet import quiet
from steelyard.models.saving import write_record

WEIGHTS = "model.safetensors"


def write_compressed_tensors(folder: Path, module: Any, tokenizer: Any, card: ModelCard) -> None:
    """Write a checkpoint with packed layers into an existing folder.

    Raises:
        CapabilityError: the library is not installed, the model has no packed layers, experts are packed, a layer
            is no ``Linear`` in its architecture, or its inputs are no whole number of groups.
    """
    layers = {name: child for name, child in module.named_modules() if isinstance(child, QUANTIZED)}
    plain: Any = dense(module)
    for name, layer in layers.items():
        _check(name, layer, plain)
    if not layers:
        raise CapabilityError(
            f"{card.name} has no packed layers to write as compressed-tensors; apply finequant or int8, or write "
            "the format transformers"
        )
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        for own, tensor in packed_tensors(layer).items():
            tensors[f"{name}.{own}"] = tensor
        plain.get_submodule(name).weight = None
    tied = set(getattr(plain, "_tied_weights_keys", None) or ()) if plain.config.tie_word_embeddings else set()
    tensors |= {k: v.contiguous() for k, v in plain.state_dict().items() if k not in tied}
    plain.config.quantization_config = quantization_config(module, layers)
    plain.config.architectures = [type(plain).__name__]
    plain.config.dtype = plain.dtype  # else it is guessed from the first tensor, which may be a scale
    from safetensors.torch import save_file

    with quiet():
        plain.config.save_pretrained(folder)
        if plain.can_generate():
            plain.generation_config.save_pretrained(folder)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        tokenizer.save_pretrained(folder)
    write_record(folder, card, [], {})


def packed_tensors(layer: Any) -> dict[str, torch.Tensor]:
    """The tensors that stand for a layer's weight: ``weight_packed``, ``weight_scale`` and ``weight_shape``."""
    pack = _library().compressors.pack_quantized.helpers.pack_to_int32
    if isinstance(layer, Int8Linear):
        integers, scale = layer.integers.detach(), layer.scale.unsqueeze(1)
    else:
        integers, scale = unpack_table(layer.integers.detach(), layer.out_features, layer.bits), layer.scale.t()
    return {
        "weight_packed": pack(integers.contiguous(), _bits(layer)).contiguous(),
        "weight_scale": scale.contiguous(),
        "weight_shape": torch.tensor(integers.shape),
    }


def quantization_config(module: nn.Module, layers: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says: a group of the configuration for every number of bits and size of groups."""
    schemes: dict[tuple[int, int | None], list[str]] = {}
    for name, layer in layers.items():
        whole = isinstance(layer, Int8Linear) or layer.group == layer.in_features
        schemes.setdefault((_bits(layer), None if whole else layer.group), []).append(name)
    groups = {
        f"group_{number}": {
            "targets": names if len(schemes) > 1 else ["Linear"],
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": True,
                "strategy": "channel" if group is None else "group",
                "group_size": group,
                "dynamic": False,
            },
        }
        for number, ((bits, group), names) in enumerate(schemes.items())
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": sorted(_floats(module)),
    }


def _floats(module: nn.Module) -> Iterable[str]:
    return (name for name, child in module.named_modules() if isinstance(child, nn.Linear))


def _bits(layer: Any) -> int:
    return 8 if isinstance(layer, Int8Linear) else int(layer.bits)


def _check(name: str, layer: nn.Module, plain: nn.Module) -> None:
    if isinstance(layer, GroupedExperts):
        raise CapabilityError(
            f"{name}: packed experts cannot be written as compressed-tensors; write the format transformers"
        )
    if not isinstance(plain.get_submodule(name), nn.Linear):
        raise CapabilityError(
            f"{name}: compressed-tensors packs Linear layers only; write the format transformers"
        )
    if isinstance(layer, GroupedLinear) and layer.in_features % layer.group:
        raise CapabilityError(
            f"{name}: compressed-tensors needs groups that divide its {layer.in_features} inputs, and "
            f"{layer.group} does not; choose another group, or adaptive"
        )


def _library() -> Any:
    try:
        import compressed_tensors
        import compressed_tensors.compressors.pack_quantized.helpers
    except ImportError as error:
        raise CapabilityError(
            'the format compressed-tensors needs its library: pip install "steelyard[quantization]"'
        ) from error
    return compressed_tensors
