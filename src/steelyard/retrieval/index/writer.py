"""The one writer of an index: adds, deletes, commits and merges."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.contracts import Embedder, Hit
from steelyard.errors import InputError, UsageError
from steelyard.retrieval.index.analysis import Analyzer
from steelyard.retrieval.index.building import Living, arrays_of, merged_arrays
from steelyard.retrieval.index.columns import Arrays
from steelyard.retrieval.index.manifest import (
    FILE,
    SEGMENTS,
    TOMBSTONES,
    Manifest,
    SegmentEntry,
    publish,
    read_manifest,
    sync_folder,
    writing,
)
from steelyard.retrieval.index.passage_writer import PassageWriter
from steelyard.retrieval.index.segment import Segment, open_segment, write_segment
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.index.vectors import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

MERGE_AT = 4
"""So many segments of about one size are merged."""
LARGEST = 262_144
"""Passages of the largest segment that a merge makes; larger ones would cost much memory to merge."""


class Stored(NamedTuple):
    """A published segment, and which of its passages, then sources, are alive (as of the next commit)."""

    entry: SegmentEntry
    segment: Segment
    alive: NDArray[np.bool_]


class IndexWriter(PassageWriter):
    """Changes an index; nothing of it is seen by readers before :meth:`commit`, then all at once.

    Made by :func:`open_writer`, which holds the lock. Passages wait in memory until they are committed. A killed
    process loses what was not committed and nothing else: a segment is written and made durable, and counts
    only when the manifest that names it has replaced the one before.
    """

    def __init__(self, folder: Path, manifest: Manifest, embedder: Embedder | None) -> None:
        super().__init__(manifest.settings.language, embedder)
        self.folder = folder
        self.manifest = manifest
        self._stored = [_opened(folder, entry, manifest.settings) for entry in manifest.segments]
        self._changed: set[str] = set()
        self._places: dict[str, list[tuple[str, int]]] = {}
        for stored in self._stored:
            self._register(stored)

    @property
    def passages(self) -> int:
        """Passages that the index held after the last commit."""
        return sum(entry.alive for entry in self.manifest.segments)

    def documents(self) -> dict[str, str]:
        """Every committed document's digest by its name."""
        found = {}
        for stored in self._stored:
            living = stored.alive[len(stored.segment) :]
            for i in np.flatnonzero(living).tolist():
                found[stored.segment.sources[i]] = stored.segment.digests[i]
        return found

    def _forget(self, ids: Sequence[str]) -> None:
        for stored in self._stored:
            rows = [row for row in stored.segment.rows_of(ids).values() if stored.alive[row]]
            if rows:
                stored.alive[rows] = False
                self._changed.add(stored.entry.name)

    def _forget_document(self, source: str) -> None:
        for name, number in self._places.pop(source, ()):
            stored = next(s for s in self._stored if s.entry.name == name)
            stored.alive[len(stored.segment) + number] = False
            stored.alive[: len(stored.segment)][np.asarray(stored.segment.source_of) == number] = False
            self._changed.add(name)

    def commit(self) -> None:
        """Make everything since the last commit durable and seen; then merge small segments."""
        if not (self._waiting or self._documents or self._changed):
            return
        added = list(self._waiting.values())
        vectors = self._vectors(added)
        self._forget(list(self._waiting))
        segments = self._with_tombstones()
        if added or self._documents:
            arrays = arrays_of(added, self._documents, self._analyzer, vectors)
            segments.append(self._written(arrays))
            self._register(segments[-1])
        self._waiting, self._documents = {}, {}
        self._publish(segments)
        self._merge()

    def _publish(self, segments: list[Stored]) -> None:
        entries = tuple(stored.entry for stored in segments)
        self.manifest = self.manifest.next(entries, self.manifest.settings)
        publish(self.folder, self.manifest)
        self._stored = segments
        self._changed.clear()
        remove_leftovers(self.folder, self.manifest)

    def _register(self, stored: Stored) -> None:
        for i in np.flatnonzero(stored.alive[len(stored.segment) :]).tolist():
            self._places.setdefault(stored.segment.sources[i], []).append((stored.entry.name, i))

    def _written(self, arrays: Arrays) -> Stored:
        entry = write_segment(self.folder, arrays, self.manifest.settings)
        return _opened(self.folder, entry, self.manifest.settings)

    def _with_tombstones(self) -> list[Stored]:
        """The segments with what was deleted since written beside them; without those that hold nothing now."""
        kept: list[Stored] = []
        for stored in self._stored:
            if not stored.alive.any():
                continue
            if stored.entry.name in self._changed:
                name = f"{stored.entry.name}-{self.manifest.generation + 1}.npy"
                with (self.folder / TOMBSTONES / name).open("wb") as file:
                    np.save(file, stored.alive, allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
                alive = int(np.count_nonzero(stored.alive[: len(stored.segment)]))
                stored = stored._replace(entry=replace(stored.entry, tombstones=name, alive=alive))
            kept.append(stored)
        if self._changed:
            sync_folder(self.folder / TOMBSTONES)
        return kept

    def _vectors(self, passages: Sequence[Hit]) -> Vectors | None:
        """Vectors of new passages; one whose id and text are known keeps the vector it has."""
        settings = self.manifest.settings
        if not settings.embedder:
            return None
        known: dict[int, Vectors] = {}
        place = {passage.id: i for i, passage in enumerate(passages)}
        for stored in self._stored:
            for identity, row in stored.segment.rows_of(list(place)).items():
                i = place[identity]
                if stored.segment.vectors is not None and stored.segment.texts[row] == passages[i].text:
                    known[i] = stored.segment.vectors.take(np.array([row]))
        fresh = [i for i in range(len(passages)) if i not in known]
        parts = [known[i] for i in sorted(known)]
        if fresh or not passages:
            parts.append(self._embedded([passages[i].text for i in fresh]))
        order = np.argsort(np.array([*sorted(known), *fresh], dtype=np.int64), kind="stable")
        return Vectors.joined(parts).take(order)

    def _embedded(self, texts: Sequence[str]) -> Vectors:
        settings = self.manifest.settings
        if not texts:
            return Vectors.of(np.zeros((0, settings.width), np.float32), settings.storage)
        vectors, settings = embedded(texts, settings, self.embedder, str(self.folder))
        self.manifest = replace(self.manifest, settings=settings)
        return Vectors.of(vectors, settings.storage)

    def _merge(self) -> None:
        """Merge small segments until few are left of any size."""
        while chosen := to_merge([stored.entry for stored in self._stored]):
            parts = [stored for stored in self._stored if stored.entry.name in chosen]
            living = [Living(s.segment, s.alive[: len(s.segment)], s.alive[len(s.segment) :]) for s in parts]
            merged = self._written(merged_arrays(living))
            self._publish([stored for stored in self._stored if stored.entry.name not in chosen] + [merged])
            self._places = {}
            for stored in self._stored:
                self._register(stored)


def fingerprint(embedder: Embedder) -> str:
    """What tells embedders apart: a model's fingerprint, or nothing for one without a card."""
    card = getattr(embedder, "card", None)
    return str(card.fingerprint) if card is not None else ""


def embedded(
    texts: Sequence[str], settings: IndexSettings, embedder: Embedder | None, name: str
) -> tuple[NDArray[np.float32], IndexSettings]:
    """The vectors of passages for the index ``name``, and its settings, which now know model and width."""
    if embedder is None:
        raise UsageError(f"{name}: this index needs its embedder {settings.embedder!r} to add passages")
    model = fingerprint(embedder)
    if settings.fingerprint and model and model != settings.fingerprint:
        raise UsageError(f"{name}: its vectors were made by another model than this {settings.embedder!r}")
    vectors = np.asarray(embedder.embed(texts, role="document"), dtype=np.float32)
    if settings.width not in (0, vectors.shape[1]):
        raise UsageError(f"{name}: holds vectors of width {settings.width}, the embedder gives {vectors.shape[1]}")
    return vectors, replace(settings, width=vectors.shape[1], fingerprint=settings.fingerprint or model)


def to_merge(entries: Sequence[SegmentEntry]) -> set[str]:
    """Names of segments to make one of: ``MERGE_AT`` of one order of magnitude, or one that is mostly deleted.

    Sizes are ordered by powers of ``MERGE_AT``, so a passage is rewritten about as often as the logarithm of the
    number of passages.
    """
    for entry in entries:
        if entry.passages and entry.alive < entry.passages / 2:
            return {entry.name}
    tiers: dict[int, list[SegmentEntry]] = {}
    for entry in entries:
        tiers.setdefault(int(math.log(max(entry.alive, 1), MERGE_AT)), []).append(entry)
    for _, tier in sorted(tiers.items()):
        if len(tier) < MERGE_AT:
            continue
        chosen, total = [], 0
        for entry in sorted(tier, key=lambda entry: entry.alive):
            if total + entry.alive <= LARGEST:
                chosen.append(entry.name)
                total += entry.alive
        if len(chosen) > 1:
            return set(chosen)
    return set()


def read_alive(folder: Path, entry: SegmentEntry) -> NDArray[np.bool_]:
    """Which passages, then sources, of a segment are alive.

    Raises:
        FileNotFoundError: The file is gone since the manifest was read.
        InputError: It is damaged.
    """
    if not entry.tombstones:
        return np.ones(entry.passages + entry.sources, dtype=bool)
    file = folder / TOMBSTONES / entry.tombstones
    try:
        alive: NDArray[Any] = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{file}: is damaged ({error}); make the index anew") from error
    if alive.dtype != bool or alive.shape != (entry.passages + entry.sources,):
        raise InputError(f"{file}: is damaged; make the index anew")
    return alive


def _opened(folder: Path, entry: SegmentEntry, settings: IndexSettings) -> Stored:
    return Stored(entry, open_segment(folder, entry, settings), read_alive(folder, entry))


def remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Delete segments and tombstones that ``manifest`` does not name; for the holder of the lock only.

    Readers of an earlier generation have mapped theirs already, or will find them gone and read the manifest anew.
    """
    named = {entry.name for entry in manifest.segments}
    for place in (folder / SEGMENTS).iterdir():
        if place.name.partition(".")[0] not in named:
            place.unlink(missing_ok=True)
    tombstones = {entry.tombstones for entry in manifest.segments}
    for place in (folder / TOMBSTONES).iterdir():
        if place.name not in tombstones:
            place.unlink(missing_ok=True)
    for place in folder.glob(f"{FILE}.*.tmp"):
        place.unlink(missing_ok=True)


@contextlib.contextmanager
def open_writer(
    folder: Path, settings: IndexSettings | None = None, embedder: Embedder | None = None
) -> Iterator[IndexWriter]:
    """The writer of the index in ``folder``, which is made where there is none; commits at the end of the block.

    Args:
        folder: new, empty or an index.
        settings: for a new index; for an existing one it must be what that was made with.
        embedder: makes vectors, where the settings name one.

    Raises:
        UsageError: Another process is writing, other settings, or a folder with something else in it.
        InputError: A damaged index.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "index"
        >>> with open_writer(folder) as writer:
        ...     writer.add([Hit("a", 0.0, "Wings lift.")])
        >>> read_manifest(folder).generation
        1
    """
    if not (folder / FILE).exists() and folder.exists():
        strangers = [p.name for p in folder.iterdir() if p.name not in ("lock", SEGMENTS, TOMBSTONES)]
        if any(not name.startswith(f"{FILE}.") for name in strangers):
            raise UsageError(f"{folder}: holds other files; choose a new or empty folder for the index")
    (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
    (folder / TOMBSTONES).mkdir(exist_ok=True)
    with writing(folder):
        if (folder / FILE).exists():
            manifest = read_manifest(folder)
            if settings is not None:
                check_same(str(folder), manifest.settings, settings)
        else:
            Analyzer((settings or IndexSettings()).language).terms("checked")  # an unknown language fails here
            manifest = Manifest(settings or IndexSettings())
            publish(folder, manifest)
        remove_leftovers(folder, manifest)
        writer = IndexWriter(folder, manifest, embedder)
        yield writer
        writer.commit()


def check_same(index: str, made: IndexSettings, asked: IndexSettings) -> None:
    """Refuse settings that are not those that an index was made with."""
    for name in ("language", "embedder", "fingerprint", "storage"):
        ours, theirs = getattr(made, name), getattr(asked, name)
        if ours != theirs and (name != "fingerprint" or (ours and theirs)):
            raise UsageError(
                f"{index}: was made with {name} {ours or 'none'!r}, not {theirs or 'none'!r}; use that, or "
                f"another place"
            )
