"""Answers of servers, kept on this machine so that a run that was cut off does not ask again."""

from __future__ import annotations

import datetime
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from steelyard.errors import InputError

FILE = "responses.sqlite"
_APPLICATION = 0x53544C59  # "STLY", so that a database of something else is not taken for ours
_BUSY_SECONDS = 60.0


class ResponseCache:
    """Answers by request, in one SQLite file in ``folder`` that several threads and processes may share.

    The key is a hash of address, path and body, the model's name, the seed and every setting among it; of the
    request nothing else is kept, so that neither prompts nor keys get into the file. Answers are written as they
    come, one transaction each: a killed process loses at most the one it was writing.

    An answer never grows old. Empty the cache when other weights are served under the same address and name.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._lock = threading.Lock()

    @property
    def file(self) -> Path:
        """Where the answers are."""
        return self.folder / FILE

    def key(self, address: str, path: str, body: Mapping[str, Any]) -> str:
        """The same for the same request, however its settings are ordered.

        >>> cache = ResponseCache(".")
        >>> cache.key("http://h/v1", "p", {"a": 1, "b": 2}) == cache.key("http://h/v1", "p", {"b": 2, "a": 1})
        True
        """
        canonical = json.dumps([address, path, body], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def get(self, key: str) -> Any | None:
        """The answer to a request, or None. Raises :class:`InputError` where the file is not a cache."""
        with self._connection_of(self.file) as connection:
            row = connection.execute("SELECT answer FROM responses WHERE key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])

    def put(self, key: str, place: str, answer: str) -> None:
        """Keep an answer, JSON as text; ``place`` says in the file where it came from."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._connection_of(self.file) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO responses (key, place, answer, kept) VALUES (?, ?, ?, ?)",
                (key, place, answer, now),
            )

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Each statement is its own transaction.
        connection = sqlite3.connect(
            self.file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and application != _APPLICATION:
                raise sqlite3.DatabaseError("it holds something else")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS responses "
                "(key TEXT PRIMARY KEY, place TEXT NOT NULL, answer TEXT NOT NULL, kept TEXT NOT NULL)"
            )
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _connection_of(self, file: Path) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                yield self._connection
        except (sqlite3.Error, ValueError) as error:
            raise InputError(
                f"{file}: cannot be used as a cache of responses ({error}); delete it or choose another folder"
            ) from error
        except OSError as error:
            raise InputError(f"{file}: {error.strerror or error}; choose another folder for responses") from error
