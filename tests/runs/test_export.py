"""Exported tables hold every sample once, with all columns, and appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.contracts import Marks, Result, ResultKey
from steelyard.errors import StoreError, UsageError
from steelyard.runs.export import export
from steelyard.runs.store import RunStore

Make = Callable[..., Result]


@pytest.fixture
def store(store_url: str) -> Iterator[RunStore]:
    with RunStore.open(store_url) as opened:
        yield opened


@pytest.fixture
def run_id(store: RunStore, key: ResultKey, make_result: Make) -> str:
    """A run of two systems, the first with two samples, the second with one and another metric."""
    other = replace(key, settings="other")
    store.put(key, [make_result("a", accuracy=1.0), make_result("b", accuracy=0.0, prediction="half \ud800 \x00")])
    store.put(other, [make_result("a", f1=0.1 + 0.2)])
    run_id = store.start("compare", {})
    store.link(run_id, "c01", key)
    store.link(run_id, "c02", other)
    return run_id


COLUMNS = [
    *("label", "model", "task", "settings", "sample_id", "group", "weight", "prediction"),
    *("metric.accuracy", "metric.f1", "metric_weight.bits_per_byte", "seconds", "prompt_tokens"),
    *("completion_tokens", "requests", "responses"),
]


def test_jsonl(store: RunStore, key: ResultKey, make_result: Make, run_id: str) -> None:
    target = Path("new folder", "rows.jsonl")
    assert export(store, run_id, target) == 3
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [(row["label"], row["sample_id"]) for row in rows] == [("c01", "a"), ("c01", "b"), ("c02", "a")]
    assert all(list(row) == COLUMNS for row in rows)
    expected = make_result("a")
    assert rows[0] == {
        "label": "c01",
        "model": key.model,
        "task": key.task,
        "settings": key.settings,
        "sample_id": "a",
        "group": "geography",
        "weight": 0.1 + 0.2,
        "prediction": "Paris",
        "metric.accuracy": 1.0,
        "metric.f1": None,
        "metric_weight.bits_per_byte": 17.0,
        "seconds": 1 / 3,
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "requests": list(expected.requests),
        "responses": list(expected.responses),
    }
    assert rows[1]["prediction"] == "half \ud800 \x00"
    assert rows[2]["metric.f1"] == 0.1 + 0.2


def test_parquet_holds_the_same_rows(store: RunStore, run_id: str) -> None:
    import pyarrow.parquet as pq

    assert export(store, run_id, "rows.jsonl") == export(store, run_id, "rows.parquet") == 3
    expected = [json.loads(line) for line in Path("rows.jsonl").read_text(encoding="utf-8").splitlines()]
    expected[1]["prediction"] = "half ? \x00"
    rows = pq.read_table("rows.parquet").to_pylist()
    for row in rows:
        row["requests"], row["responses"] = json.loads(row["requests"]), json.loads(row["responses"])
    assert rows == expected
    assert pq.read_schema("rows.parquet").names == COLUMNS


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_many_pages(
    store: RunStore, key: ResultKey, run_id: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    store.put(key, [Result(f"x{number:04d}", Marks({"accuracy": 1.0})) for number in range(2500)])
    assert export(store, run_id, f"rows{suffix}") == 2503
    if suffix == ".parquet":
        ids = pq.read_table("rows.parquet")["sample_id"].to_pylist()
    else:
        ids = [json.loads(line)["sample_id"] for line in Path("rows.jsonl").read_text().splitlines()]
    assert len(ids) == 2503
    assert ids[:2502] == sorted(set(ids[:2502]))


def test_a_prefix_of_the_run_and_an_old_file(store: RunStore, run_id: str) -> None:
    Path("rows.jsonl").write_text("old")
    assert export(store, run_id.rsplit("-", 1)[1], "rows.jsonl") == 3
    assert os.listdir(".").count("rows.jsonl") == 1
    assert len(Path("rows.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_wrong_use(store: RunStore, run_id: str) -> None:
    with pytest.raises(UsageError, match=r"'rows.csv': the name must end in .jsonl or .parquet"):
        export(store, run_id, "rows.csv")
    with pytest.raises(UsageError, match="no run 'nowhere'"):
        export(store, "nowhere", "rows.jsonl")
    empty = store.start("eval", {})
    with pytest.raises(UsageError, match=f"run {empty} has no results to export"):
        export(store, empty, "rows.jsonl")
    assert not list(Path().glob("*rows*"))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_failure_on_the_way_leaves_the_old_file(
    store: RunStore, run_id: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Path(f"rows{suffix}")
    target.write_text("old")
    pages = store.pages

    def breaking(key: ResultKey, size: int = 1000) -> Iterator[list[Result]]:
        yield from pages(key, size)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "pages", breaking)
    with pytest.raises(StoreError, match=rf"rows\{suffix}: cannot be written \(No space left on device\)"):
        export(store, run_id, target)
    assert target.read_text() == "old"
    assert [path.name for path in Path().iterdir() if "rows" in path.name] == [target.name]


def test_a_place_that_cannot_be_written(store: RunStore, run_id: str) -> None:
    Path("file").write_text("")
    with pytest.raises(StoreError, match=r"file/rows.jsonl: cannot be written"):
        export(store, run_id, "file/rows.jsonl")
