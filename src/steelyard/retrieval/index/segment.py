"""A segment: the passages of one commit as immutable arrays in one file, memory-mapped.

Texts and metadata lie in the same file as words and vectors. A database beside it would open as fast, but a
commit would then be two that have to agree; with one file and one manifest there is one moment at which it counts.
Columns cost nothing to open at any size, reading a passage touches a page or two, and a reader of an older
generation keeps what it has mapped when the file is deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.contracts import Hit
from steelyard.errors import InputError
from steelyard.retrieval.index.columns import Strings
from steelyard.retrieval.index.manifest import SEGMENTS, SegmentEntry, sync_folder
from steelyard.retrieval.index.metadata import Metadata
from steelyard.retrieval.index.postings import Postings
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.index.vectors import Graph, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAYS = ".safetensors"
GRAPH = ".usearch"
_DTYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "U32": np.uint32,
    "I32": np.int32,
    "F32": np.float32,
    "U64": np.uint64,
    "I64": np.int64,
}
"""Names of types in a safetensors header."""


class Segment:
    """One segment, open for reading.

    Columns: ``ids`` and ``texts`` of the passages, ``source_of`` the number of each one's source, ``spans`` its
    start and end there, ``sources`` and ``digests`` of the documents; words in ``postings``, ``metadata``, and
    ``vectors`` where there are some. Opening maps the files and reads none.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], settings: IndexSettings, graph: Path | None) -> None:
        self.ids = Strings.from_arrays(arrays, "ids")
        self.texts = Strings.from_arrays(arrays, "texts")
        self.sources = Strings.from_arrays(arrays, "sources")
        self.digests = Strings.from_arrays(arrays, "digests")
        self.source_of = arrays["source_of"]
        self.spans = arrays["spans"]
        self.hashes = arrays["id_hashes"]
        self.hash_rows = arrays["id_rows"]
        self.postings = Postings(arrays)
        self.metadata = Metadata(arrays)
        self.vectors: Vectors | None = None
        self.graph: Graph | None = None
        if settings.embedder:
            self.vectors = Vectors.from_arrays(arrays, settings.storage, settings.width)
            self.graph = Graph.open(graph, self.vectors) if graph is not None else None

    def __len__(self) -> int:
        return len(self.ids)

    def hit(self, row: int, score: float) -> Hit:
        """Passage ``row`` as a hit."""
        start, end = self.spans[row].tolist()
        source = self.sources[self.source_of.item(row)]
        return Hit(self.ids[row], score, self.texts[row], source, start, end, self.metadata[row])

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The rows of those ids that are here."""
        wanted = np.array([id_hash(identity) for identity in ids], dtype=np.uint64)
        first = np.searchsorted(self.hashes, wanted, side="left")
        last = np.searchsorted(self.hashes, wanted, side="right")
        found = {}
        for i in np.flatnonzero(last > first).tolist():
            for at in range(int(first[i]), int(last[i])):
                row = int(self.hash_rows[at])
                if self.ids[row] == ids[i]:
                    found[ids[i]] = row
        return found


def id_hash(identity: str) -> np.uint64:
    """64 bits of an id, to find it by."""
    return np.uint64(int.from_bytes(hashlib.blake2b(identity.encode("utf-8"), digest_size=8).digest(), "little"))


def id_arrays(ids: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The ids, and their hashes in order with the rows they belong to."""
    hashes = np.array([id_hash(identity) for identity in ids], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    return {**Strings.of(ids).arrays("ids"), "id_hashes": hashes[order], "id_rows": order.astype(np.int32)}


def open_segment(folder: Path, entry: SegmentEntry, settings: IndexSettings) -> Segment:
    """Map the files of a segment.

    Raises:
        FileNotFoundError: It was merged away since the manifest was read.
        InputError: A file is damaged.
    """
    file = folder / SEGMENTS / f"{entry.name}{ARRAYS}"
    graph = folder / SEGMENTS / f"{entry.name}{GRAPH}" if entry.graph else None
    try:
        segment = Segment(map_arrays(file), settings, graph)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        if graph is not None and not graph.exists():
            raise FileNotFoundError(graph) from error
        raise InputError(f"{file}: is damaged ({error}); make the index anew") from error
    if len(segment) != entry.passages or len(segment.sources) != entry.sources:
        raise InputError(f"{file}: is damaged (holds {len(segment)} passages, not {entry.passages})")
    return segment


def map_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, memory-mapped: its header says where each lies.

    Raises:
        ValueError: The file is shorter or longer than its header says, or has none.
    """
    raw = np.memmap(file, dtype=np.uint8, mode="r").view(np.ndarray)
    length = int.from_bytes(raw[:8].tobytes(), "little")
    if length > len(raw) - 8:
        raise ValueError("it has no header")
    header = json.loads(raw[8 : 8 + length].tobytes())
    data = raw[8 + length :]
    if max(entry["data_offsets"][1] for entry in header.values()) != len(data):
        raise ValueError("it was cut")
    arrays = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        arrays[name] = data[start:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def write_segment(folder: Path, arrays: Mapping[str, NDArray[Any]], settings: IndexSettings) -> SegmentEntry:
    """Write a segment and make it durable; it counts once a manifest names it, and is removed if none does."""
    from safetensors.numpy import save_file

    name = secrets.token_hex(8)
    place = folder / SEGMENTS
    save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, place / f"{name}{ARRAYS}")
    passages = len(arrays["source_of"])
    graph = bool(settings.embedder) and passages >= settings.approximate_from
    if graph:
        Graph.write(Vectors.from_arrays(arrays, settings.storage, settings.width), place / f"{name}{GRAPH}")
    for ending in (ARRAYS, GRAPH)[: 1 + graph]:
        with (place / f"{name}{ending}").open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(place)
    return SegmentEntry(name, passages, len(arrays["sources.offsets"]) - 1, alive=passages, graph=graph)
