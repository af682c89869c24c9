"""The files of a checkpoint folder, checked before anything is loaded from them.

A truncated download, a missing shard or a pickle file is found here, in milliseconds and by name, rather than
minutes later as an error deep inside a tensor library.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steelyard.errors import ModelError, UsageError

INDEX = "model.safetensors.index.json"
PICKLE_INDEX = "pytorch_model.bin.index.json"
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors format itself
_LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A checked folder: its configuration, weight files and what Steelyard recorded of it."""

    folder: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    pickled: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)

    def describe(self, key: str) -> str | None:
        """Text recorded in steelyard.json under ``key`` (name, licence, source), or None."""
        value = self.record.get(key)
        return value if isinstance(value, str) and value else None


def inspect_folder(folder: Path, *, allow_pickle: bool = False) -> CheckpointFiles:
    """Check a checkpoint folder without loading it.

    Raises:
        ModelError: no folder, no or invalid config.json, no weights, a shard missing, a file truncated, or
            nothing but pickle files without ``allow_pickle``.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such checkpoint folder")
    config = read_json(folder / "config.json", "a checkpoint folder needs its config.json")
    record = read_json(folder / "steelyard.json") if (folder / "steelyard.json").exists() else {}
    weights = _safetensors(folder)
    for file in weights:
        check_safetensors(file)
    if weights:
        return CheckpointFiles(folder, config, weights, record=record)
    return CheckpointFiles(folder, config, _pickles(folder, allow_pickle), pickled=True, record=record)


def read_json(file: Path, remedy: str = "restore the file") -> dict[str, Any]:
    """A JSON file that must hold one object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{file}: missing; {remedy}") from error
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from error
    except json.JSONDecodeError as error:
        raise ModelError(f"{file}:{error.lineno}: not valid JSON ({error.msg}); restore the file") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{file}: not valid JSON; restore the file") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file}: must hold one JSON object; restore the file")
    return value


def _safetensors(folder: Path) -> tuple[Path, ...]:
    index = folder / INDEX
    whole = folder / "model.safetensors"
    if whole.exists():
        return (whole,)
    if index.exists():
        return _shards(index)
    found = sorted(folder.glob("*.safetensors"))
    if found:
        raise ModelError(
            f"{folder}: {len(found)} safetensors files but neither model.safetensors nor {INDEX}; "
            "restore the index, or rename a single file to model.safetensors"
        )
    return ()


def _shards(index: Path) -> tuple[Path, ...]:
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(v, str) for v in named.values()):
        raise ModelError(f"{index}: no weight_map; restore the file")
    names = sorted(set(named.values()))
    if any(Path(name).name != name for name in names):
        raise ModelError(f"{index}: names a shard outside its folder; do not trust this checkpoint")
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        raise ModelError(
            f"{index.parent / missing[0]}: shard missing ({len(missing)} of {len(names)} are); "
            "fetch the model again"
        )
    return tuple(index.parent / name for name in names)


def _pickles(folder: Path, allowed: bool) -> tuple[Path, ...]:
    found = sorted({file for pattern in _PICKLES for file in folder.glob(pattern)})
    if not found:
        raise ModelError(f"{folder}: no weights: expected model.safetensors or {INDEX}")
    if not allowed:
        raise ModelError(
            f"{found[0]}: pickle files can run code when read and are refused; convert the model to safetensors, "
            "or read it with weights_only: eval --allow-pickle, or allow_pickle=True in Python"
        )
    if (folder / PICKLE_INDEX).exists():
        return _shards(folder / PICKLE_INDEX)
    if not (folder / "pytorch_model.bin").exists():
        raise ModelError(f"{found[0]}: rename it to pytorch_model.bin to have it read")
    return (folder / "pytorch_model.bin",)


def check_safetensors(file: Path) -> dict[str, Any]:
    """Check a safetensors file's size against its header, which is returned: tensor name to description.

    Raises:
        ModelError: truncated, damaged, or not safetensors at all.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            if start.startswith(_LFS[:8]):
                raise ModelError(f"{file}: a Git LFS pointer, not the weights; run `git lfs pull` in its folder")
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LARGEST_HEADER + 1
            if length > min(_LARGEST_HEADER, size):
                raise ModelError(f"{file}: truncated or not a safetensors file ({size:,} bytes); fetch it again")
            header = json.loads(stream.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            needed = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelError(f"{file}: damaged safetensors header; fetch it again") from error
    if size != needed:
        raise ModelError(f"{file}: truncated: {size:,} bytes, its header announces {needed:,}; fetch it again")
    return tensors


def licence_of(folder: Path) -> str | None:
    """The licence recorded for a checkpoint folder, else the one its README.md names, else None."""
    own = folder / "steelyard.json"
    recorded = read_json(own).get("licence") if own.exists() else None
    return recorded if isinstance(recorded, str) and recorded else _licence_of_readme(folder)


def _licence_of_readme(folder: Path) -> str | None:
    """The licence named in the head of a model card, as on the Hugging Face hub."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError:
        return None
    head = text.split("---")[1] if text.startswith("---") else ""
    values = [line.partition(":")[2].strip() for line in head.splitlines() if line.startswith("license:")]
    return values[0] or None if values else None
