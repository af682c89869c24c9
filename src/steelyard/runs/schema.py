"""The tables of the run store, and the check that a database is one and of a version this release reads."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.sqlite import JSON as SQLiteJSON
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateSchema

from steelyard.errors import StoreError

VERSION = 1
"""Raised whenever a table changes; a store of a newer version is refused."""

POSTGRESQL_SCHEMA = "steelyard"
"""On PostgreSQL the tables live in a schema of their own, so a shared database keeps its other tables."""

_CREATION_LOCK = 7_303_014_101_978_001  # any constant: processes that create the tables at once queue on it


class _JSONText(SQLiteJSON):
    """JSON in a TEXT column: SQLite would turn a bare number in a column named JSON into one of its own kinds."""


@compiles(_JSONText, "sqlite")
def _(_type: _JSONText, _compiler: Any, **_options: Any) -> str:
    return "TEXT"


_json = JSON().with_variant(_JSONText(), "sqlite")
_json_or_null = JSON(none_as_null=True).with_variant(_JSONText(none_as_null=True), "sqlite")

metadata = MetaData()

store_info = Table(
    "store_info",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("model", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("settings", Text, primary_key=True),
    Column("sample_id", Text, primary_key=True),
    Column("group", Text, nullable=False),
    Column("weight", Double, nullable=False),
    Column("prediction", _json, nullable=False),  # JSON, as answers may hold what text columns refuse (NUL)
    Column("metrics", _json, nullable=False),
    Column("metric_weights", _json, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("requests", _json, nullable=False),
    Column("responses", _json, nullable=False),
    Column("created", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("verb", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("finished", Text),
    Column("settings", _json, nullable=False),
    Column("summary", _json_or_null),
    Index("runs_by_time", "created"),
)

run_results = Table(
    "run_results",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("label", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("settings", Text, nullable=False),
)

records = Table(
    "records",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", _json, nullable=False),
    Column("created", Text, nullable=False),
)


def check_version(connection: Connection, location: str) -> bool:
    """Whether the tables are there, in the version this release reads.

    ``False`` for an empty database. :class:`StoreError` for a store of another version, and for an SQLite file
    that belongs to another program.
    """
    schema = POSTGRESQL_SCHEMA if connection.dialect.name == "postgresql" else None
    tables = inspect(connection).get_table_names(schema=schema)
    if store_info.name not in tables:
        if tables:
            raise StoreError(f"{location}: holds tables of another program, not a run store; choose another file")
        return False
    version = connection.scalar(select(store_info.c.value).where(store_info.c.name == "version"))
    if version != str(VERSION):
        remedy = (
            "update Steelyard" if version and version.isdigit() and int(version) > VERSION else "choose another"
        )
        raise StoreError(
            f"{location}: is a run store of version {version}, this release reads version {VERSION}; {remedy}"
        )
    return True


def create_tables(connection: Connection, location: str) -> None:
    """Create what is missing, in the caller's transaction; safe when several processes do so at once."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
        if POSTGRESQL_SCHEMA not in inspect(connection).get_schema_names():
            connection.execute(CreateSchema(POSTGRESQL_SCHEMA))
    if not check_version(connection, location):
        metadata.create_all(connection)
        connection.execute(insert(store_info).values(name="version", value=str(VERSION)))
