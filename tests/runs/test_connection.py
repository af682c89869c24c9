"""Opening a store: where it is, and one clear line for whatever is wrong with the place."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from steelyard.contracts import Result, ResultKey
from steelyard.errors import StoreError
from steelyard.runs.store import RunStore

Make = Callable[..., Result]


def refusal(url_or_path: str | Path | None, **options: float) -> str:
    """The message with which opening fails; one line, without the test's password."""
    with pytest.raises(StoreError) as caught:
        RunStore.open(url_or_path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "hunter2" not in message
    return message


def test_the_default_is_in_the_current_folder(tmp_path: Path) -> None:
    with RunStore.open() as store:
        assert store.location == str(Path(".steelyard", "runs.db"))
        os.makedirs("elsewhere")
        os.chdir("elsewhere")  # an open store stays where it was opened
        run_id = store.start("eval", {})
    with RunStore.open(tmp_path / ".steelyard" / "runs.db") as store:
        assert store.run(run_id).verb == "eval"


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_STORE", str(tmp_path / "other.db"))
    with RunStore.open() as store:
        assert store.location == str(tmp_path / "other.db")
    monkeypatch.setenv("STEELYARD_STORE", f"sqlite:///{tmp_path}/third.db")
    RunStore.open().close()
    assert (tmp_path / "third.db").is_file()
    monkeypatch.setenv("STEELYARD_STORE", "")
    with RunStore.open() as store:
        assert store.location == str(Path(".steelyard", "runs.db"))


def test_names_with_marks_that_urls_give_meaning_to(tmp_path: Path) -> None:
    path = tmp_path / "what? #1 100%&x=y ü" / "runs.db"
    RunStore.open(path).close()
    assert path.is_file()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("mysql://me:hunter2@host/db", "cannot live in 'mysql'"),
        ("postgresql://me:hunter2@host:port/db", "the store's URL cannot be read"),
        ("://hunter2", "the store's URL cannot be read"),
        ("sqlite://", "keeps nothing"),
        ("sqlite:///:memory:", "keeps nothing"),
        (":memory:", "keeps nothing"),
        (".", "is a folder; name a file in it"),
    ],
)
def test_places_that_are_none(place: str, message: str) -> None:
    assert message in refusal(place)


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refusal(tmp_path / "file" / "runs.db")
    assert "its folder cannot be created" in message
    assert "--store" in message


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A folder that this process, for the time being not as root, can read but not write."""
    folder = Path(tempfile.mkdtemp(prefix="steelyard-unwritable-"))
    user = os.geteuid()
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if user == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_an_unwritable_folder(unwritable: Path) -> None:
    message = refusal(unwritable / "runs.db")
    assert message.startswith(f"{unwritable / 'runs.db'}: cannot be opened for writing")
    assert "--store" in message
    assert "its folder cannot be created (Permission denied)" in refusal(unwritable / "deeper" / "runs.db")


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("The quick brown fox. " * 100)
    assert "is not a run store (not an SQLite database)" in refusal(path)
    assert path.read_text().startswith("The quick")


def test_another_programs_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "history.db") as connection:
        connection.execute("CREATE TABLE visits (url TEXT)")
    connection.close()
    assert "holds tables of another program" in refusal(tmp_path / "history.db")


def test_a_damaged_store(tmp_path: Path, key: ResultKey, make_result: Make) -> None:
    path = tmp_path / "runs.db"
    with RunStore.open(path) as store:
        store.put(key, [make_result(str(number)) for number in range(300)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 200_000)
    with pytest.raises(StoreError, match="is damaged"), RunStore.open(path) as store:
        store.get(key)


@pytest.mark.parametrize(("version", "remedy"), [("2", "update Steelyard"), ("0", "choose another")])
def test_another_version_of_the_tables(tmp_path: Path, version: str, remedy: str) -> None:
    path = tmp_path / "runs.db"
    RunStore.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE store_info SET value = ? WHERE name = 'version'", (version,))
    connection.close()
    assert f"is a run store of version {version}, this release reads version 1; {remedy}" in refusal(path)


def test_a_lock_held_too_long(tmp_path: Path, key: ResultKey, make_result: Make) -> None:
    path = tmp_path / "runs.db"
    with RunStore.open(path, timeout=0.2) as store:
        store.put(key, [make_result("a")])
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=f"{path}: another process keeps it locked"):
            store.put(key, [make_result("b")])
        assert list(store.get(key)) == ["a"]  # reading goes on meanwhile
        holder.execute("ROLLBACK")
        holder.close()
        assert store.put(key, [make_result("b")]) == 1


def test_a_lock_held_for_a_while_is_waited_for(tmp_path: Path, key: ResultKey, make_result: Make) -> None:
    path = tmp_path / "runs.db"
    with RunStore.open(path, timeout=30) as store:
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, lambda: holder.execute("ROLLBACK"))
        release.start()
        started = time.monotonic()
        assert store.put(key, [make_result("a")]) == 1
        assert time.monotonic() - started > 0.2
        release.join()
        holder.close()


def test_a_database_that_cannot_grow_keeps_what_it_has(tmp_path: Path, key: ResultKey, make_result: Make) -> None:
    with RunStore.open(tmp_path / "runs.db") as store:
        store.put(key, [make_result("a")])

        @event.listens_for(store._engine, "begin")
        def limit(connection: object) -> None:
            connection.exec_driver_sql("PRAGMA max_page_count=1")  # type: ignore[attr-defined]

        with pytest.raises(StoreError, match="the disk is full; free space and run again"):
            store.put(key, [make_result(str(number)) for number in range(100)])
        assert list(store.get(key)) == ["a"]


FILL = """
import sys
from steelyard.contracts import Marks, Result, ResultKey
from steelyard.errors import StoreError
from steelyard.runs.store import RunStore
key = ResultKey("m", "t", "s")
stored = 0
with RunStore.open(sys.argv[1]) as store:
    try:
        while True:
            stored += store.put(key, [Result(str(stored + n), Marks({"a": 1.0}, "x" * 2000)) for n in range(16)])
    except StoreError as error:
        print(error)
    print(stored, store.count(key))
with RunStore.open(sys.argv[1]) as store:
    print(stored, len(store.get(key)))
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """On a file system of 600 KB, in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=600k none "$0" && exec "$@"', str(disk)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root and unshare)")
    command = [*mount, sys.executable, "-c", FILL, str(disk / "runs.db")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    message, during, after = ended.stdout.splitlines()
    assert message.startswith(f"{disk / 'runs.db'}: the disk ")
    assert "what was stored stays" in message
    stored, counted = during.split()
    assert int(stored) > 0
    assert stored == counted
    assert after == during


# ---------------------------------------------------------------------------------------- PostgreSQL


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psycopg" else find(name))
    assert "pip install 'steelyard[postgresql]'" in refusal("postgresql://me:hunter2@host/db")


def test_postgresql_that_does_not_answer() -> None:
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    message = refusal("postgresql://me:hunter2@127.0.0.1:1/db")
    assert message.startswith("postgresql://127.0.0.1:1/db: PostgreSQL cannot be reached")


def test_postgresql_refuses(postgresql_server: str) -> None:
    server = postgresql_server.partition("@")[2]
    assert "password authentication failed" in refusal(f"postgresql://tester:hunter2@{server}postgres")
    assert '"nowhere" does not exist' in refusal(f"{postgresql_server}nowhere")


def test_postgresql_keeps_to_a_schema_of_its_own(postgresql_url: str, key: ResultKey, make_result: Make) -> None:
    import psycopg

    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE runs (mine INTEGER)")
        with RunStore.open(postgresql_url.replace("postgresql://", "postgres://")) as store:
            assert "tester" not in store.location
            store.put(key, [make_result("a")])
            store.start("eval", {})
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM steelyard.results").fetchone() == (1,)
        connection.execute("UPDATE steelyard.store_info SET value = '2'")
    assert "version 2, this release reads version 1; update" in refusal(postgresql_url)


def test_postgresql_lock_held_too_long(postgresql_url: str, key: ResultKey, make_result: Make) -> None:
    import psycopg

    with RunStore.open(postgresql_url, timeout=0.2) as store, psycopg.connect(postgresql_url) as holder:
        holder.execute("LOCK TABLE steelyard.results")
        with pytest.raises(StoreError, match="another process holds a lock for too long"):
            store.put(key, [make_result("a")])
        holder.rollback()
        assert store.put(key, [make_result("a")]) == 1


def test_postgresql_without_rights(postgresql_url: str) -> None:
    import psycopg

    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
        guest = f"postgresql://guest:hunter2@{postgresql_url.partition('@')[2]}"
        assert "permission denied" in refusal(guest)
        connection.execute("CREATE SCHEMA steelyard AUTHORIZATION guest")
    with RunStore.open(guest) as store:
        store.start("eval", {})


def test_postgresql_connections_that_broke_are_replaced(
    postgresql_url: str, key: ResultKey, make_result: Make
) -> None:
    import psycopg

    with RunStore.open(postgresql_url) as store:
        store.put(key, [make_result("a")])
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert store.put(key, [make_result("b")]) == 1
