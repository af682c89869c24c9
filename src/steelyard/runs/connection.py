"""From the name of a store to a database engine, and from a driver's exceptions to one clear line."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from steelyard.errors import StoreError
from steelyard.runs.records import from_json, to_json
from steelyard.runs.schema import POSTGRESQL_SCHEMA

VARIABLE = "STEELYARD_STORE"
DEFAULT_PATH = Path(".steelyard") / "runs.db"
WRITE = "steelyard_write"
"""Execution option of a connection whose transaction will write."""

_ELSEWHERE = f"choose another place with --store or {VARIABLE}"
_CONNECT_SECONDS = 10

_POSTGRESQL_REMEDIES = {
    "53100": "the server's disk is full; free space and run again, what was stored stays",
    "55P03": "another process holds a lock for too long; try again when it is done",
    "25006": "the database is read-only; name its primary server",
    "42501": "permission denied; ask for the right to create the schema and write to its tables",
    "57P01": "the server was shut down; start it and run again, what was stored stays",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is. ``name`` is for messages and never holds a password."""

    name: str
    url: URL

    @property
    def password(self) -> str:
        """The URL's password, to keep it out of messages."""
        return str(self.url.password or "")


def find_place(url_or_path: str | Path | None) -> Place:
    """The place a path, an SQLAlchemy URL, ``STEELYARD_STORE`` or the default names."""
    given = os.environ.get(VARIABLE) or DEFAULT_PATH if url_or_path is None else url_or_path
    if isinstance(given, str) and "://" in given:
        return _place_of_url(given)
    return _place_of_path(Path(given).expanduser())


def _place_of_path(path: Path) -> Place:
    if str(path) == ":memory:":
        raise StoreError("a store in memory keeps nothing; name a file")
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; name a file in it, such as {path / 'runs.db'}")
    return Place(str(path), URL.create("sqlite", database=str(path.absolute())))


def _place_of_url(text: str) -> Place:
    try:
        url = make_url(text)
        backend = url.drivername.split("+")[0]
    except (ArgumentError, ValueError):  # the cause may quote the password: it is not chained
        raise StoreError(
            "the store's URL cannot be read; write postgresql://user:password@host:5432/database"
        ) from None
    if backend == "sqlite":
        if not url.database:
            raise StoreError("a store in memory keeps nothing; name a file")
        return _place_of_path(Path(url.database))
    if backend not in ("postgresql", "postgres"):
        raise StoreError(f"a store cannot live in {backend!r}; use a file path or a postgresql:// URL")
    if importlib.util.find_spec("psycopg") is None:
        raise StoreError("a store on PostgreSQL needs the driver: pip install 'steelyard[postgresql]'")
    port = f":{url.port}" if url.port else ""
    return Place(
        f"postgresql://{url.host or ''}{port}/{url.database or ''}", url.set(drivername="postgresql+psycopg")
    )


def connect(place: Place, timeout: float) -> Engine:
    """An engine for ``place``; statements wait at most ``timeout`` seconds for another process's lock."""
    with errors_at(place):
        if place.url.get_backend_name() == "sqlite":
            return _sqlite(place, timeout)
        return _postgresql(place.url, timeout)


def _postgresql(url: URL, timeout: float) -> Engine:
    options = {"connect_timeout": _CONNECT_SECONDS, "options": f"-c lock_timeout={max(1, int(timeout * 1000))}"}
    given = {name: value for name, value in options.items() if name not in url.query}
    engine = create_engine(
        url,
        json_serializer=to_json,
        json_deserializer=from_json,
        pool_pre_ping=True,
        connect_args=given,
    )
    return engine.execution_options(schema_translate_map={None: POSTGRESQL_SCHEMA})


def _sqlite(place: Place, timeout: float) -> Engine:
    path = Path(str(place.url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{place.name}: its folder cannot be created ({error.strerror}); {_ELSEWHERE}") from error
    engine = create_engine(
        place.url,
        json_serializer=to_json,
        json_deserializer=from_json,
        connect_args={"timeout": timeout, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute("PRAGMA foreign_keys=ON")
        # A committed transaction is in the operating system's hands, so a killed process loses nothing. After
        # a power cut the last commits may be missing, never half there; their samples are measured again.
        # FULL would add a disk flush to each commit and guard against nothing that a rerun does not mend.
        connection.execute("PRAGMA synchronous=NORMAL")
        _use_write_ahead_log(connection, place, timeout)

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A writer takes the lock at once: one that read first and then wrote would fail without waiting.
        write = connection.get_execution_options().get(WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _use_write_ahead_log(connection: Any, place: Place, timeout: float) -> None:
    """Switch to WAL; SQLite does not wait by itself when another process is switching at the same time."""
    import sqlite3

    deadline = time.monotonic() + timeout
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            busy = (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise StoreError(f"{place.name}: its file system cannot hold a shared database; {_ELSEWHERE}")


@contextmanager
def errors_at(place: Place) -> Iterator[None]:
    """Turn database errors into a :class:`StoreError` that names the store and the remedy.

    Broken constraints and values that cannot be written pass through: the caller knows what they mean.
    """
    try:
        yield
    except IntegrityError:
        raise
    except StatementError as error:
        if isinstance(error.orig, StoreError):
            raise error.orig from None
        if not isinstance(error, DBAPIError):
            raise
        raise StoreError(f"{place.name}: {_explain(error.orig, place)}") from error
    except PoolTimeout as error:
        raise StoreError(f"{place.name}: too many threads use the store at once; use fewer") from error
    except UnicodeEncodeError as error:
        raise StoreError(f"{place.name}: text with half a surrogate pair cannot be stored or looked up") from error


def _explain(error: BaseException | None, place: Place) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return _explain_sqlite(code, str(error))
    state = getattr(error, "sqlstate", None)
    if state in _POSTGRESQL_REMEDIES:
        return _POSTGRESQL_REMEDIES[state]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = lines[0].replace(place.password, "***") if place.password else lines[0]
    if state is None:
        return f"PostgreSQL cannot be reached ({line}); check the URL and that the server runs"
    return f"PostgreSQL refused ({line})"


def _explain_sqlite(code: int, message: str) -> str:
    import sqlite3

    reasons = {
        sqlite3.SQLITE_BUSY: "another process keeps it locked; try again when that one is done",
        sqlite3.SQLITE_LOCKED: "another process keeps it locked; try again when that one is done",
        sqlite3.SQLITE_FULL: "the disk is full; free space and run again, what was stored stays",
        sqlite3.SQLITE_IOERR: "the disk cannot be written or read (full or faulty?); what was stored stays",
        sqlite3.SQLITE_NOTADB: f"is not a run store (not an SQLite database); {_ELSEWHERE}",
        sqlite3.SQLITE_CORRUPT: f"is damaged; move it away to start afresh, or {_ELSEWHERE}",
        sqlite3.SQLITE_READONLY: f"no permission to write there; {_ELSEWHERE}",
        sqlite3.SQLITE_CANTOPEN: f"cannot be opened for writing (no permission or a full disk); {_ELSEWHERE}",
    }
    return reasons.get(code & 0xFF, f"the database failed ({message})")
