"""The tables of an index in PostgreSQL, and the one row that says what they hold."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import InputError, StoreError
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.served.place import ServedPlace, run, vector_schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

FORMAT = 1
_TABLES = (
    "CREATE SCHEMA IF NOT EXISTS {schema}",
    """CREATE TABLE {schema}.facts (
    format int NOT NULL, made uuid NOT NULL DEFAULT gen_random_uuid(), generation bigint NOT NULL DEFAULT 0,
    settings jsonb NOT NULL, passages bigint NOT NULL DEFAULT 0, terms bigint NOT NULL DEFAULT 0,
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row))""",
    "CREATE TABLE {schema}.documents (source text PRIMARY KEY, digest text NOT NULL)",
    """CREATE TABLE {schema}.passages (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE,
    source text NOT NULL REFERENCES {schema}.documents, begins bigint NOT NULL, ends bigint NOT NULL,
    body text NOT NULL, metadata jsonb NOT NULL, length int NOT NULL)""",
    "CREATE INDEX ON {schema}.passages (source)",
    """CREATE TABLE {schema}.postings (
    term text NOT NULL, passage bigint NOT NULL REFERENCES {schema}.passages ON DELETE CASCADE,
    uses int NOT NULL, length int NOT NULL, positions int[] NOT NULL, PRIMARY KEY (term, passage))""",
    "CREATE INDEX ON {schema}.postings (passage)",
)


class Facts(NamedTuple):
    """What an index holds: ``version`` differs between any two states, ``terms`` is the sum of all lengths."""

    version: tuple[str, int]
    settings: IndexSettings
    passages: int
    terms: int


def read_facts(connection: Connection, place: ServedPlace, *, lock: bool = False) -> Facts:
    """What is there; with ``lock`` other writers wait for the end of the transaction.

    Raises:
        InputError: No index there, or one of another format.
    """
    if not exists(connection, place):
        raise InputError(f"{place.name}: no index here; make one with steelyard index DOCS --out URL")
    row = run(connection, f"SELECT * FROM facts{' FOR UPDATE' if lock else ''}").one()
    if row.format != FORMAT:
        raise InputError(
            f"{place.name}: has format {row.format}, this version reads {FORMAT}; make the index anew"
        )
    return Facts((str(row.made), row.generation), IndexSettings(**row.settings), row.passages, row.terms)


def exists(connection: Connection, place: ServedPlace) -> bool:
    """Whether there is an index."""
    return run(connection, "SELECT to_regclass(%(name)s)", name=f"{place.schema}.facts").scalar() is not None


def create(connection: Connection, place: ServedPlace, settings: IndexSettings) -> None:
    """Make an empty index, unless another process has just made one.

    Raises:
        StoreError: Vectors are wanted and the server has no pgvector.
    """
    run(connection, "SELECT pg_advisory_xact_lock(hashtext(%(schema)s))", schema=place.schema)
    if exists(connection, place):
        return
    if settings.embedder and not vector_schema(connection):
        available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"
        if not run(connection, available).scalar():
            raise StoreError(
                f"{place.name}: the server has no pgvector, which keeps vectors; install it there (on Debian "
                f"postgresql-N-pgvector), or make an index of words alone (--embedder none)"
            )
        run(connection, "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    for statement in _TABLES:
        run(connection, statement.format(schema=place.schema))
    sql = f"INSERT INTO {place.schema}.facts (format, settings) VALUES (%(format)s, %(settings)s::jsonb)"
    run(connection, sql, format=FORMAT, settings=json.dumps(asdict(settings)))
