"""Every store test runs on SQLite and, where a server can be started, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postgresql_server import installed_programs, running
from steelyard.contracts import Marks, Result, ResultKey, Usage


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a fresh PostgreSQL server on loopback, up to and including the last slash."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    programs = installed_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (no initdb found)")
    with running(programs) as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """The URL of an empty database: one for all tests, emptied, as creating and deleting many takes long."""
    import psycopg

    url = f"{postgresql_server}postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        connection.execute("DROP SCHEMA IF EXISTS steelyard, public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to open a new store: a path, then a PostgreSQL URL."""
    if request.param == "sqlite":
        return str(tmp_path / "store" / "runs.db")
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def key() -> ResultKey:
    return ResultKey(model="m" * 64, task="t" * 64, settings="s" * 64)


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """``make_result("a", accuracy=1.0)``: a result with every field filled."""

    def make(sample_id: str, *, prediction: str = "Paris", group: str = "geography", **values: float) -> Result:
        request: dict[str, Any] = {"context": f"Question {sample_id}?", "sampling": {"stop": ["\n"], "seed": None}}
        return Result(
            sample_id=sample_id,
            marks=Marks(values or {"accuracy": 1.0}, prediction, {"bits_per_byte": 17.0}),
            group=group,
            weight=0.1 + 0.2,
            requests=(request, {"text": "ünïcode 日本"}),
            responses=({"logprob": -1.1, "token_logprobs": [-0.1, -1.0]},),
            seconds=1 / 3,
            usage=Usage(12, 3),
        )

    return make
