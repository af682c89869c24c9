"""Writing safetensors one tensor at a time.

The format is a header with every tensor's place, then the bytes. Shapes and number formats are known before any
tensor is computed, so the header can be written first, and memory never holds more than one tensor of the result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from steelyard.merging.sources import FLOATS, OTHERS, TensorInfo
from steelyard.models.checkpoint_files import INDEX

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 5_000_000_000
WHOLE = "model.safetensors"


class Written(NamedTuple):
    """What was written: number of tensors, and their bytes."""

    tensors: int
    bytes: int


def write_tensors(
    folder: Path,
    tensors: Mapping[str, TensorInfo],
    compute: Callable[[str], torch.Tensor],
    *,
    shard_bytes: int = SHARD_BYTES,
    advance: Callable[[], None] = lambda: None,
) -> Written:
    """Compute each tensor and write it, into one file or into shards with an index, as transformers reads them.

    Args:
        folder: an existing folder.
        tensors: shape and number format of every tensor, in the order in which they are computed.
        compute: gives the tensor called so; its shape and format must be those announced.
        shard_bytes: most bytes of tensors in one file (one tensor may be larger).
        advance: called after each tensor.
    """
    shards = plan_shards(tensors, shard_bytes)
    names = [WHOLE] if len(shards) == 1 else _shard_names(len(shards))
    for file, shard in zip(names, shards, strict=True):
        _write_shard(folder / file, {name: tensors[name] for name in shard}, compute, advance)
    total = sum(size_of(info) for info in tensors.values())
    if len(shards) > 1:
        places = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return Written(len(tensors), total)


def size_of(info: TensorInfo) -> int:
    """Bytes of a tensor.

    >>> size_of(TensorInfo((2, 3), "F32"))
    24
    """
    return math.prod(info.shape) * {**FLOATS, **OTHERS}[info.dtype]


def plan_shards(tensors: Mapping[str, TensorInfo], shard_bytes: int) -> list[list[str]]:
    """Tensors in order, cut into shards of at most ``shard_bytes``; within one, wider number formats come first.

    The order within a shard keeps every tensor aligned to its number format.

    >>> plan_shards({"a": TensorInfo((4,), "F32"), "b": TensorInfo((4,), "F32")}, 16)
    [['a'], ['b']]
    """
    shards: list[list[str]] = [[]]
    filled = 0
    for name, info in tensors.items():
        if shards[-1] and filled + size_of(info) > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size_of(info)
    widths = {**FLOATS, **OTHERS}
    return [sorted(shard, key=lambda name: -widths[tensors[name].dtype]) for shard in shards]


def _shard_names(number: int) -> Sequence[str]:
    return [f"model-{place:05d}-of-{number:05d}.safetensors" for place in range(1, number + 1)]


def _write_shard(
    file: Path,
    tensors: Mapping[str, TensorInfo],
    compute: Callable[[str], torch.Tensor],
    advance: Callable[[], None],
) -> None:
    import torch

    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, info in tensors.items():
        end = place + size_of(info)
        header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, info in tensors.items():
            tensor = compute(name).contiguous()
            if tuple(tensor.shape) != info.shape or tensor.numel() * tensor.element_size() != size_of(info):
                raise ValueError(
                    f"tensor {name!r} became {tuple(tensor.shape)} {tensor.dtype}, planned was {info}"
                )
            stream.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            advance()
