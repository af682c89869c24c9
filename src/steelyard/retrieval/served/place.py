"""The URL that names an index in PostgreSQL, and connections to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import StoreError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from steelyard.runs.connection import Place

PREFIX = "steelyard_index_"
UNNAMED = "documents"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_WAIT = 60.0
"""Seconds to wait for another writer."""


def is_served(place: str | Path) -> bool:
    """Whether ``place`` is a URL and not a folder.

    >>> is_served("postgresql://host/database"), is_served("handbook.index")
    (True, False)
    """
    return isinstance(place, str) and "://" in place


@dataclass(frozen=True)
class ServedPlace:
    """An index in a database: ``postgresql://user:password@host:port/database?index=name``.

    Each index has a schema of its own in the database. Without ``?index=`` it is the one called "documents".
    """

    url: str

    @cached_property
    def _parsed(self) -> tuple[Place, str]:
        from dataclasses import replace

        from steelyard.runs.connection import find_place

        scheme = self.url.partition(":")[0]
        if scheme.partition("+")[0] not in ("postgresql", "postgres"):
            raise UsageError(f"an index cannot live in {scheme!r}; name a folder, or a postgresql:// URL")
        found = find_place(self.url)
        given = found.url.query.get("index", UNNAMED)
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            raise UsageError(
                f"{found.name}: an index is named by lower-case letters, digits and _, as ?index=handbook"
            )
        return replace(found, url=found.url.difference_update_query(["index"])), given

    @property
    def name(self) -> str:
        """The URL for messages, without user and password."""
        place, index = self._parsed
        return place.name if index == UNNAMED else f"{place.name}?index={index}"

    @property
    def schema(self) -> str:
        """The schema that holds the index."""
        return PREFIX + self._parsed[1]

    @cached_property
    def _engine(self) -> Any:
        from steelyard.runs.connection import connect

        return connect(self._parsed[0], _WAIT)

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """A transaction that sees the index's tables; without ``write`` it sees one moment throughout.

        Raises:
            StoreError: The server does not answer, or refuses.
        """
        from steelyard.runs.connection import errors_at

        with errors_at(self._parsed[0]), self._engine.connect() as connection:
            level = "READ COMMITTED" if write else "REPEATABLE READ"
            connection = connection.execution_options(isolation_level=level)
            with connection.begin():
                path = [self.schema, "public", *vector_schema(connection)]
                run(connection, "SELECT set_config('search_path', %(path)s, true)", path=", ".join(path))
                yield connection


def run(connection: Connection, sql: str, **values: Any) -> Any:
    """Execute a statement with named values, as ``%(name)s``."""
    return connection.exec_driver_sql(sql, values)


def vector_schema(connection: Connection) -> list[str]:
    """The schema that pgvector is installed in; none where it is not.

    Raises:
        StoreError: It is too old.
    """
    row = run(
        connection,
        "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'",
    ).first()
    if row is None:
        return []
    if tuple(map(int, row.extversion.split(".")[:2])) < (0, 8):
        raise StoreError(f"pgvector {row.extversion} is too old; update the extension 'vector' to 0.8 or newer")
    return [row.nspname]
