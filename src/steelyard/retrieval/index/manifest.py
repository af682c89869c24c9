"""The manifest: one small file that says what an index holds, replaced whole at every commit."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from steelyard.errors import InputError, UsageError
from steelyard.retrieval.index.settings import IndexSettings

FORMAT = 1
FILE = "manifest.json"
SEGMENTS = "segments"
TOMBSTONES = "tombstones"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment: its name, what it was made with, the file of what was deleted since, and how many are left."""

    name: str
    passages: int
    sources: int
    tombstones: str = ""
    alive: int = 0
    graph: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index holds at one generation."""

    settings: IndexSettings
    generation: int = 0
    segments: tuple[SegmentEntry, ...] = ()

    def next(self, segments: tuple[SegmentEntry, ...], settings: IndexSettings) -> Manifest:
        """The generation after this one."""
        return replace(self, generation=self.generation + 1, segments=segments, settings=settings)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the index in ``folder``.

    Raises:
        InputError: No index there, a damaged one, or one of another format.
    """
    file = folder / FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no index here; make one with steelyard index DOCS --out {folder}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); make the index anew in another folder") from error
    try:
        if record["format"] != FORMAT:
            raise InputError(
                f"{file}: has format {record['format']}, this version reads {FORMAT}; make the index anew"
            )
        segments = tuple(SegmentEntry(**entry) for entry in record["segments"])
        return Manifest(IndexSettings(**record["settings"]), int(record["generation"]), segments)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: is no manifest of an index ({error}); make the index anew") from error


def publish(folder: Path, manifest: Manifest) -> None:
    """Make ``manifest`` the current one: readers see the old or the new, after a crash too."""
    record: dict[str, Any] = {"format": FORMAT, **asdict(manifest)}
    temporary = folder / f"{FILE}.{os.getpid()}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of the one writer; the kernel releases it if the holder is killed.

    Raises:
        UsageError: Another process is writing.
    """
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{folder}: another process is writing to this index; wait until it is done"
            ) from error
        yield
