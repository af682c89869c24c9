"""The head of a GGUF file: key-value pairs and tensor table, read with every length checked.

The format is described in ggml's docs/gguf.md. Reading the head alone takes milliseconds and is enough to
tell a truncated, damaged or foreign file before minutes go into converting it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from steelyard.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LARGEST_HEAD = 1_000_000  # entries; real files have some dozens of keys and at most some thousand tensors


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself; arrays among ``metadata`` are given as their length."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, tuple[int, ...]]

    @property
    def architecture(self) -> str:
        """llama.cpp's name for the architecture, such as ``llama`` or ``gemma3``."""
        return str(self.metadata["general.architecture"])

    def text(self, key: str) -> str | None:
        """The value of a key that holds text, or None."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) and value else None


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        size = struct.calcsize(form)
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return value

    def skip(self, size: int) -> None:
        if size < 0 or self.at + size > len(self.data):
            raise struct.error("past the end")
        self.at += size

    def string(self) -> str:
        size = self.take("Q")
        start = self.at
        self.skip(size)
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.take(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise struct.error(f"value type {kind}")
        element, count = self.take("I"), self.take("Q")
        if element in _SCALARS:
            self.skip(count * struct.calcsize(_SCALARS[element]))
        elif element == _STRING:
            for _ in range(count):
                self.skip(self.take("Q"))
        else:
            raise struct.error(f"array of type {element}")
        return count


def read_header(file: Path) -> GgufHeader:
    """Read and check the head of ``file``.

    Raises:
        ModelError: not a GGUF file, an unknown version, damaged, truncated, or one of several parts.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(4)
            if start != MAGIC:
                raise ModelError(f"{file}: not a GGUF file{_looks_like(start, size)}")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(file, _Reader(data), size)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (struct.error, UnicodeDecodeError, OverflowError) as error:
        raise ModelError(f"{file}: truncated or damaged GGUF file; fetch it again") from error


def _parse(file: Path, reader: _Reader, size: int) -> GgufHeader:
    reader.skip(4)
    version, tensor_count, pair_count = reader.take("I"), reader.take("Q"), reader.take("Q")
    if version not in VERSIONS:
        raise ModelError(f"{file}: GGUF version {version} is not supported; convert it with a current llama.cpp")
    if max(tensor_count, pair_count) > _LARGEST_HEAD:
        raise struct.error("absurd counts")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = reader.string()
        metadata[key] = reader.value(reader.take("I"))
    if not isinstance(metadata.get("general.architecture"), str):
        raise ModelError(f"{file}: the GGUF file does not name its architecture (general.architecture)")
    if metadata.get("split.count", 1) > 1:
        raise ModelError(
            f"{file}: one part of a split GGUF file; join the parts with llama.cpp's llama-gguf-split"
        )
    tensors, needed = _tensor_table(file, reader, tensor_count)
    alignment = int(metadata.get("general.alignment", 32)) or 32
    needed += -(-reader.at // alignment) * alignment
    if size < needed:
        raise ModelError(f"{file}: truncated GGUF file: {size:,} bytes of at least {needed:,}; fetch it again")
    return GgufHeader(file, metadata, tensors)


def _tensor_table(file: Path, reader: _Reader, count: int) -> tuple[dict[str, tuple[int, ...]], int]:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    tensors: dict[str, tuple[int, ...]] = {}
    end = 0
    for _ in range(count):
        name, dimensions = reader.string(), reader.take("I")
        if dimensions > 8:
            raise struct.error("absurd dimensions")
        shape = tuple(reader.take("Q") for _ in range(dimensions))
        kind, offset = reader.take("I"), reader.take("Q")
        try:
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"{file}: tensor {name!r} has the unknown type {kind}; update the gguf package"
            ) from error
        tensors[name] = shape
        end = max(end, offset + prod(shape) // block * block_bytes)
    return tensors, end


def _looks_like(start: bytes, size: int) -> str:
    if size == 0:
        return " (it is empty)"
    if start == b"vers":
        return " (it looks like a Git LFS pointer: run `git lfs pull`)"
    return ""
