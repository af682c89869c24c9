"""Every store test runs on SQLite and, where a server can be started, on PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Marks, Result, ResultKey, Usage

PASSWORD = "correct-horse-battery"


def _binary(name: str) -> str | None:
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(packaged[-1]) if packaged else shutil.which(name)


def _as_other_user() -> tuple[list[str], int | None]:
    """What to put before a command so that it does not run as root, and the user id it then has."""
    if os.geteuid() != 0:
        return [], None
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root and there is no setpriv to change the user")
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known.get("nobody")
    if user is None:
        pytest.skip("PostgreSQL does not run as root and there is no user postgres or nobody")
    change = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*change, "--pdeathsig=KILL"], user.pw_uid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a fresh PostgreSQL server on loopback, up to and including the last slash."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    initdb, postgres = _binary("initdb"), _binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed (no initdb and postgres found)")
    prefix, user = _as_other_user()
    folder = Path(tempfile.mkdtemp(prefix="steelyard-postgresql-"))
    password = folder / "password"
    password.write_text(PASSWORD)
    if user is not None:
        os.chown(folder, user, -1)
        os.chown(password, user, -1)
    data, port = folder / "data", _free_port()
    create = [initdb, "-N", "-D", str(data), "-U", "tester", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
    server = None
    try:
        created = subprocess.run(
            [*prefix, *create, f"--pwfile={password}"], cwd=folder, capture_output=True, text=True, timeout=120
        )
        assert created.returncode == 0, created.stderr
        options = ["-D", str(data), "-k", str(folder), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [*prefix, postgres, *options, "-c", "fsync=off"], cwd=folder, stdout=log, stderr=log
            )
        url = f"postgresql://tester:{PASSWORD}@127.0.0.1:{port}/"
        _wait_for(f"{url}postgres", server, folder / "log")
        yield url
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, log.read_text()
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


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
