"""Several processes on one store at once, and processes killed at random moments, with real processes."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import select, text

from steelyard.contracts import Result, ResultKey
from steelyard.runs.schema import results
from steelyard.runs.store import RunStore

CHUNK = 16
WRITER = f"""
import sys
from steelyard.contracts import Marks, Result, ResultKey
from steelyard.runs.store import RunStore

url, name, chunks = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("opening", flush=True)
with RunStore.open(url) as store:
    # Several statements to a chunk, so that a chunk which is not one transaction could be seen half written.
    store._engine.dialect.insertmanyvalues_page_size = 3
    keys = [ResultKey("m", task, "s") for task in ("shared", f"own by {{name}}")]
    done = [store.get(key) for key in keys]
    inserted = 0
    print("writing", flush=True)
    for number in range(chunks):
        ids = [f"{{number:04d}}-{{place:02d}}" for place in range({CHUNK})]
        samples = [Result(i, Marks({{"accuracy": 1.0}}, name), requests=({{"prompt": i * 20}},)) for i in ids]
        for key, before in zip(keys, done):
            if not before.keys() >= set(ids):
                # Each process in an order of its own: the store must not let them wait for each other in turn.
                inserted += store.put(key, samples if name < "b" else samples[::-1])
        if number % 10 == 0:
            stored = store.record("decisions", str(number), name)
            assert stored == store.recorded("decisions")[str(number)]
    print(inserted, store.start("eval", {{"name": name}}), flush=True)
"""


def writer(url: str, name: str, chunks: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, name, str(chunks)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_write_the_same_and_different_keys(store_url: str) -> None:
    chunks = 40
    processes = [
        writer(store_url, name, chunks) for name in ("a", "b")
    ]  # a new store: they also create it at once
    inserted, run_ids = 0, []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        last = output.split()
        inserted += int(last[-2])
        run_ids.append(last[-1])
    with RunStore.open(store_url) as store:
        keys = [ResultKey("m", task, "s") for task in ("shared", "own by a", "own by b")]
        assert [store.count(key) for key in keys] == [chunks * CHUNK] * 3
        assert inserted == 3 * chunks * CHUNK  # each row was counted as new exactly once
        assert {item.marks.prediction for item in store.get(keys[1]).values()} == {"a"}
        assert set(store.recorded("decisions").values()) <= {"a", "b"}
        assert {run.id for run in store.runs()} == set(run_ids)


def test_threads_share_an_open_store(store_url: str, key: ResultKey, make_result: Callable[..., Result]) -> None:
    with RunStore.open(store_url) as store, ThreadPoolExecutor(4) as pool:

        def write(start: int) -> int:
            return sum(store.put(key, [make_result(str(number))]) for number in range(start, start + 20))

        assert sum(pool.map(write, [0, 10, 20, 30])) == 50
        assert store.count(key) == 50


def test_rows_are_inserted_in_one_order_whatever_the_callers(
    store_url: str, key: ResultKey, make_result: Callable[..., Result]
) -> None:
    """Two transactions that lock the same rows in opposite orders would wait for each other for ever."""
    with RunStore.open(store_url) as store:
        store.put(key, [make_result(name) for name in "cadb"])
        with store._engine.connect() as connection:
            place = "ctid" if connection.dialect.name == "postgresql" else "rowid"
            rows = connection.execute(select(results.c.sample_id).order_by(text(place))).scalars().all()
    assert rows == ["a", "b", "c", "d"]


def check_after_kill(path: Path) -> int:
    """The file is sound, and every chunk in it is whole; returns the number of rows."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'results'").fetchone():
            return 0
        chunks = connection.execute(
            "SELECT task, substr(sample_id, 1, 4), count(*) FROM results GROUP BY 1, 2"
        ).fetchall()
    finally:
        connection.close()
    assert all(size == CHUNK for _, _, size in chunks)
    return len(chunks) * CHUNK


def kill_writer(url: str, chunks: int, *, after: str, seconds: float) -> None:
    """Start a writer and kill it some time after it has printed the line ``after``."""
    process = writer(url, "a", chunks)
    assert process.stdout is not None
    while process.stdout.readline().strip() != after:
        assert process.poll() is None, process.communicate()
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def test_killed_at_any_moment_nothing_is_torn_lost_or_doubled(tmp_path: Path) -> None:
    path, chunks, dice = tmp_path / "runs.db", 600, random.Random(0)
    before = kills_while_writing = 0
    for trial in range(12):
        # A third of the kills fall while the store is opened (at first: created), the others while it is written.
        after = "opening" if trial % 3 == 0 else "writing"
        kill_writer(str(path), chunks, after=after, seconds=dice.uniform(0, 0.06))
        if path.exists():
            rows = check_after_kill(path)
            assert rows >= before  # what was stored stays
            kills_while_writing += rows > before
            before = rows
    assert kills_while_writing > 0
    assert before < 2 * chunks * CHUNK  # the last run below has work left

    output, errors = writer(str(path), "a", chunks).communicate(timeout=120)
    assert int(output.split()[-2]) == 2 * chunks * CHUNK - before, errors
    assert check_after_kill(path) == 2 * chunks * CHUNK


def test_killed_on_postgresql(postgresql_url: str) -> None:
    chunks, dice = 60, random.Random(1)
    for _ in range(3):
        kill_writer(postgresql_url, chunks, after="writing", seconds=dice.uniform(0, 0.08))
        with RunStore.open(postgresql_url) as store:
            stored = [item.sample_id[:4] for item in store.get(ResultKey("m", "shared", "s")).values()]
            assert all(size == CHUNK for size in Counter(stored).values())
    process = writer(postgresql_url, "a", chunks)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    with RunStore.open(postgresql_url) as store:
        assert store.count(ResultKey("m", "shared", "s")) == chunks * CHUNK
