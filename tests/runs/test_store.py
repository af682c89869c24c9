"""The store's own rules, on every database: first write wins, exact values, runs, labels, records."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.contracts import Marks, Result, ResultKey
from steelyard.errors import StoreError, UsageError
from steelyard.runs.store import RunStore

Make = Callable[..., Result]


@pytest.fixture
def store(store_url: str) -> Iterator[RunStore]:
    with RunStore.open(store_url) as opened:
        yield opened


def test_results_come_back_equal(store: RunStore, key: ResultKey, make_result: Make) -> None:
    items = [make_result(name) for name in ("b", "a", "ü")]
    assert store.put(key, items) == 3
    assert store.get(key) == {item.sample_id: item for item in items}
    assert list(store.get(key)) == ["a", "b", "ü"]
    assert store.count(key) == 3


def test_get_keeps_the_order_asked_for_and_leaves_out_the_unknown(
    store: RunStore, key: ResultKey, make_result: Make
) -> None:
    store.put(key, [make_result(name) for name in "abc"])
    assert list(store.get(key, ["c", "nowhere", "a"])) == ["c", "a"]
    assert store.get(key, []) == {}


def test_first_write_wins_and_only_new_rows_are_counted(
    store: RunStore, key: ResultKey, make_result: Make
) -> None:
    assert store.put(key, [make_result("a", accuracy=1.0)]) == 1
    assert store.put(key, [make_result("a", accuracy=0.0), make_result("b"), make_result("b")]) == 1
    assert store.get(key)["a"].marks.values == {"accuracy": 1.0}
    assert store.put(key, []) == 0


@pytest.mark.parametrize("field", ["model", "task", "settings"])
def test_each_field_of_the_key_separates_results(
    store: RunStore, key: ResultKey, make_result: Make, field: str
) -> None:
    store.put(key, [make_result("a")])
    other = replace(key, **{field: "other"})
    assert store.get(other) == {}
    assert store.put(other, [make_result("a")]) == 1
    assert (store.count(key), store.count(other)) == (1, 1)


def test_results_outlive_the_process_that_wrote_them(store_url: str, key: ResultKey, make_result: Make) -> None:
    with RunStore.open(store_url) as first:
        first.put(key, [make_result("a")])
    with RunStore.open(store_url) as second:
        assert second.get(key) == {"a": make_result("a")}


def test_more_ids_than_fit_in_one_query(store: RunStore, key: ResultKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.runs.store._IDS_PER_QUERY", 7)
    items = [Result(f"{number:03d}", Marks({"accuracy": 1.0})) for number in range(50)]
    store.put(key, items)
    wanted = [item.sample_id for item in reversed(items)]
    assert list(store.get(key, wanted)) == wanted


def test_thousands_of_ids_at_once(store: RunStore, key: ResultKey) -> None:
    items = [Result(f"{number:05d}", Marks({"accuracy": number % 2})) for number in range(10_500)]
    assert store.put(key, items) == len(items)
    assert store.get(key, [item.sample_id for item in items]) == {item.sample_id: item for item in items}


def test_pages_hold_every_result_once(store: RunStore, key: ResultKey) -> None:
    items = [Result(f"{number:02d}", Marks({"accuracy": 1.0})) for number in range(20)]
    store.put(key, items)
    for size in (1, 7, 10, 20, 50):
        pages = list(store.pages(key, size))
        assert [item for page in pages for item in page] == items
        assert all(len(page) <= size for page in pages)
    assert list(store.pages(replace(key, task="none"))) == []


def test_metric_names(store: RunStore, key: ResultKey, make_result: Make) -> None:
    store.put(key, [make_result("a", accuracy=1.0), make_result("b", f1=0.5)])
    assert store.metric_names(key) == ({"accuracy", "f1"}, {"bits_per_byte"})


finite = st.floats(allow_nan=False, allow_infinity=False)
hostile_text = st.text(st.characters(codec=None, categories=None) | st.sampled_from("\x00\ud800\udfff\u2028'\"\\"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=8,
)


@given(value=finite, seconds=st.floats(0, 1e300), text=hostile_text, content=json_values)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_value_comes_back_exactly(
    store: RunStore, value: float, seconds: float, text: str, content: Any
) -> None:
    key = ResultKey("m", "t", uuid.uuid4().hex)
    marks = Marks({"metric": value}, text, {"metric": value})
    item = Result("a", marks, seconds=seconds, requests=({"content": content},), responses=({"text": text},))
    store.put(key, [item])
    back = store.get(key)["a"]
    assert back == item
    assert struct.pack("d", back.marks.values["metric"]) == struct.pack("d", value)


@given(value=json_values)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_recorded_value_comes_back_exactly(store: RunStore, value: Any) -> None:
    scope = uuid.uuid4().hex
    assert repr(store.record(scope, "name", value)) == repr(value)
    assert repr(store.recorded(scope)) == repr({"name": value})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_and_nothing_is_stored(
    store: RunStore, key: ResultKey, make_result: Make, number: float
) -> None:
    good = make_result("good")
    cases = {
        "accuracy is": replace(good, sample_id="bad", marks=Marks({"accuracy": number})),
        "weight of accuracy is": replace(
            good, sample_id="bad", marks=Marks({"accuracy": 1.0}, "", {"accuracy": number})
        ),
        "seconds is": replace(good, sample_id="bad", seconds=number),
        r"responses\[0\].logprob\[1\] is": replace(good, sample_id="bad", responses=({"logprob": [1.0, number]},)),
    }
    for message, bad in cases.items():
        with pytest.raises(StoreError, match=f"sample 'bad' cannot be stored: .*{message} {number!r}"):
            store.put(key, [good, bad])
    assert store.count(key) == 0
    with pytest.raises(StoreError, match=r"'speed' of 'scope' cannot be stored: p95 is"):
        store.record("scope", "speed", {"p95": number})
    with pytest.raises(StoreError, match="settings of 'eval' cannot be stored: target is"):
        store.start("eval", {"target": number})


def test_what_is_not_json_is_refused(store: RunStore, key: ResultKey, make_result: Make) -> None:
    bad = replace(make_result("bad"), requests=({"prompt": b"bytes"},))
    with pytest.raises(StoreError, match=r"sample 'bad' .*requests\[0\].prompt is a bytes, which is not JSON"):
        store.put(key, [make_result("good"), bad])
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(StoreError, match="nested too deeply or contains itself"):
        store.record("scope", "name", deep)
    assert store.count(key) == 0
    assert store.recorded("scope") == {}


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800"])
def test_ids_that_no_text_column_takes_are_refused(
    store: RunStore, key: ResultKey, make_result: Make, text: str
) -> None:
    with pytest.raises(StoreError, match=r"sample id .* cannot be stored"):
        store.put(key, [make_result(text)])
    with pytest.raises(StoreError, match=r"the group of sample 'a' .* cannot be stored"):
        store.put(key, [make_result("a", group=text)])
    with pytest.raises(StoreError, match="sample id"):
        store.get(key, [text])
    with pytest.raises(StoreError, match="the model of a result's key"):
        store.get(replace(key, model=text))


# ---------------------------------------------------------------------------------------------- runs


def test_a_run_from_start_to_finish(store: RunStore) -> None:
    run_id = store.start("eval", {"model": "m", "shots": 2, "path": Path("a/b")})
    started = store.run(run_id)
    assert (started.verb, started.status, started.finished, started.summary) == ("eval", "running", None, None)
    assert started.settings == {"model": "m", "shots": 2, "path": "a/b"}
    assert started.seconds is None
    store.finish(run_id, "done", {"accuracy": {"value": 0.5}, "none": None})
    finished = store.run(run_id)
    assert (finished.status, finished.summary) == ("done", {"accuracy": {"value": 0.5}, "none": None})
    assert finished.seconds is not None
    assert 0 <= finished.seconds < 60


def test_run_ids_are_unique_and_sort_by_time(store: RunStore) -> None:
    ids = [store.start("eval" if number % 2 else "tune", {}) for number in range(20)]
    assert len(set(ids)) == 20
    assert all(re.fullmatch(r"\d{8}-\d{9}-[0-9a-f]{6}", run_id) for run_id in ids)
    assert [run_id[:18] for run_id in ids] == sorted(run_id[:18] for run_id in ids)
    assert [run.id for run in store.runs(None)] == ids[::-1]
    assert [run.id for run in store.runs(3)] == ids[:-4:-1]
    latest, latest_tune = store.latest(), store.latest("tune")
    assert latest is not None
    assert latest_tune is not None
    assert (latest.id, latest_tune.id) == (ids[19], ids[18])
    assert store.latest("serve") is None


def test_an_id_that_is_taken_is_drawn_again(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["same", "same", "other"])
    monkeypatch.setattr("steelyard.runs.store.new_run_id", lambda moment: next(drawn))
    assert [store.start("eval", {}), store.start("eval", {})] == ["same", "other"]


def test_a_run_is_found_by_a_part_of_its_id(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter(["20260101-000000000-aaaaaa", "20260101-000000000-bbbbbb", "20260102-000000000-cccccc"])
    monkeypatch.setattr("steelyard.runs.store.new_run_id", lambda moment: next(ids))
    for _ in range(3):
        store.start("eval", {})
    assert store.run("20260102").id == "20260102-000000000-cccccc"
    assert store.run("bbbbbb").id == "20260101-000000000-bbbbbb"
    with pytest.raises(UsageError, match=r"several runs match '20260101': .*aaaaaa, .*bbbbbb"):
        store.run("20260101")


@pytest.mark.parametrize("asked", ["nowhere", "", "%", "_", "\\"])
def test_an_unknown_run_is_refused_with_the_recent_ones(store: RunStore, asked: str) -> None:
    with pytest.raises(UsageError, match="there are none yet"):
        store.run(asked)
    run_id = store.start("tune", {})
    with pytest.raises(UsageError, match=rf"no run .*the most recent are {run_id} \(tune\)"):
        store.run(asked)
    with pytest.raises(UsageError, match="no run"):
        store.finish("nowhere", "done", {})


def test_links_say_which_results_a_run_used(store: RunStore, key: ResultKey) -> None:
    run_id, other = store.start("tune", {}), replace(key, settings="other")
    store.link(run_id, "c02", other)
    store.link(run_id, "c01", key)
    store.link(run_id, "c01", key)
    assert store.keys(run_id) == {"c01": key, "c02": other}
    assert list(store.keys(run_id)) == ["c01", "c02"]
    with pytest.raises(UsageError, match="already has other results under the label 'c01'"):
        store.link(run_id, "c01", other)
    with pytest.raises(UsageError, match="no run 'nowhere'"):
        store.link("nowhere", "c01", key)
    assert store.keys(run_id) == {"c01": key, "c02": other}


def test_the_first_record_wins_and_is_handed_back(store: RunStore) -> None:
    assert store.record("run", "latency", {"p50": 0.1 + 0.2}) == {"p50": 0.1 + 0.2}
    assert store.record("run", "latency", {"p50": 9.0}) == {"p50": 0.1 + 0.2}
    assert store.record("run", "dropped", None) is None
    assert store.record("run", "dropped", "late") is None
    store.record("other", "latency", 1)
    assert store.recorded("run") == {"dropped": None, "latency": {"p50": 0.1 + 0.2}}
    assert store.recorded("nowhere") == {}


def test_secrets_are_not_written_with_runs_and_records(store: RunStore) -> None:
    run_id = store.start("serve", {"token": "hunter2", "model": "https://me:hunter2@host/v1?k=hunter2"})
    store.finish(run_id, "done", {"api_key": "hunter2"})
    assert "hunter2" not in repr(store.run(run_id))
    assert store.record("s", "n", {"password": "hunter2"}) == {"password": "***"}
