"""A segment: the passages of one commit as immutable arrays, one file each, memory-mapped."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
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

GRAPH = "vectors.usearch"
PARTIAL = ".partial-"


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
        start, end = self.spans[row]
        source = self.sources[int(self.source_of[row])]
        return Hit(self.ids[row], score, self.texts[row], source, int(start), int(end), self.metadata[row])

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
    place = folder / SEGMENTS / entry.name
    files = sorted(os.listdir(place))
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for name in files:
            if name.endswith(".npy"):
                mapped = np.load(place / name, mmap_mode="r", allow_pickle=False)
                arrays[name.removesuffix(".npy")] = mapped.view(np.ndarray)
        segment = Segment(arrays, settings, place / GRAPH if GRAPH in files else None)
    except (ValueError, KeyError, EOFError) as error:
        raise InputError(f"{place}: is damaged ({error}); make the index anew") from error
    if len(segment) != entry.passages or len(segment.sources) != entry.sources:
        raise InputError(f"{place}: is damaged (holds {len(segment)} passages, not {entry.passages})")
    return segment


def write_segment(folder: Path, arrays: Mapping[str, NDArray[Any]], settings: IndexSettings) -> SegmentEntry:
    """Write a segment under a temporary name, make it durable and give it its name; it counts once published."""
    name = secrets.token_hex(8)
    partial = folder / SEGMENTS / f"{PARTIAL}{name}"
    partial.mkdir(parents=True)
    try:
        for key, array in arrays.items():
            with (partial / f"{key}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        passages = len(arrays["source_of"])
        if settings.embedder and passages >= settings.approximate_from:
            vectors = Vectors.from_arrays(arrays, settings.storage, settings.width)
            Graph.write(vectors, partial / GRAPH)
            with (partial / GRAPH).open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(partial)
        partial.rename(folder / SEGMENTS / name)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(folder / SEGMENTS)
    return SegmentEntry(name, passages, len(arrays["sources.offsets"]) - 1, alive=passages)
