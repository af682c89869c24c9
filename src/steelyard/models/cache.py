"""The model cache: folders that are built once, appear whole or not at all, and survive a kill.

    folder = materialise("gguf-3f2a...", build)   # build(temporary_folder) fills it; the result is renamed

Layout under :func:`cache_root`: ``models/`` finished folders, ``partial/`` folders being built, ``locks/``
one lock file per key, ``records/`` small JSON files such as remembered fingerprints.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from steelyard.errors import ModelError, UsageError

ENVIRONMENT_VARIABLE = "STEELYARD_CACHE"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


def cache_root() -> Path:
    """The folder of everything cached: ``$STEELYARD_CACHE``, else ``~/.cache/steelyard``."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".cache" / "steelyard"


def cached_folder(key: str) -> Path:
    """Where the folder called ``key`` lies once it is built, whether or not it is there yet."""
    if not _KEY.fullmatch(key):
        raise UsageError(f"cache key {key!r} is not a plain file name")
    return cache_root() / "models" / key


def materialise(key: str, build: Callable[[Path], None]) -> Path:
    """Return the finished folder called ``key``, calling ``build(folder)`` first if it is not there.

    ``build`` fills an empty temporary folder, which is renamed into place when it returns: a folder in the
    cache is complete however its builder ended. Two processes that want one key build it once; what a killed
    builder left behind is removed by the next. Errors of ``build`` pass through; a full or unwritable disk is
    a :class:`ModelError`.

    Example:
        >>> folder = materialise("greeting", lambda f: (f / "a.txt").write_text("hello") and None)
        >>> (folder / "a.txt").read_text()
        'hello'
    """
    final = cached_folder(key)
    if final.is_dir():
        return final
    with _explained(), locked(key):
        if not final.is_dir():
            _build(key, final, build)
    return final


def _build(key: str, final: Path, build: Callable[[Path], None]) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = _fresh(key)
    try:
        build(folder)
        folder.chmod(0o755)  # mkdtemp makes it private, a cache may be shared
        folder.rename(final)
    finally:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _fresh(key: str) -> Path:
    """An empty temporary folder for the holder of the lock ``key``, whose predecessors' are removed."""
    partial = cache_root() / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    for leftover in partial.glob(f"{key}@*"):  # we hold the lock, so their makers are dead
        shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{key}@", dir=partial))


@contextlib.contextmanager
def workspace(key: str) -> Iterator[Path]:
    """A temporary folder on the cache's disk, under the lock ``key``; gone afterwards, whatever happened."""
    with _explained(), locked(key):
        folder = _fresh(key)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"model cache {cache_root()}: {error.strerror or error}; free some space or set "
            f"{ENVIRONMENT_VARIABLE} to a folder that can be written"
        ) from error


@contextlib.contextmanager
def locked(key: str) -> Iterator[None]:
    """Hold the lock called ``key`` across processes; the kernel releases it if the holder is killed."""
    folder = cache_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_record(name: str) -> Any:
    """The JSON value remembered as ``name``, or None; an unreadable record counts as absent."""
    try:
        return json.loads((cache_root() / "records" / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_record(name: str, value: Any) -> None:
    """Remember a JSON value as ``name``; a cache that cannot be written merely remembers nothing."""
    folder = cache_root() / "records"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(temporary).replace(folder / f"{name}.json")
