from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Interval, PromptStyle, Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation import tasks
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.measurement import Measurement, Table
from steelyard.evaluation.recorded_suites import RecordedMeasurement, RecordedSuite
from steelyard.evaluation.statistics import mean_interval
from steelyard.evaluation.suite import Suite, evaluate_suite, mean_of_tasks, task_table
from steelyard.evaluation.tasks import Measure, open_any, open_measured, open_task
from steelyard.evaluation.verb import evaluate_any
from steelyard.runs.store import RunStore


@pytest.fixture
def suite(make_task: Any, mixed_rows: Any) -> Suite:
    return Suite("both", (make_task(mixed_rows[:4], "choices"), make_task(mixed_rows[4:], "answers")))


def test_the_mean_of_tasks_has_the_error_of_independent_means() -> None:
    rng_free = [mean_interval([0.0, 1.0] * 20), mean_interval([1.0] * 30 + [0.0] * 10)]
    found = mean_of_tasks(rng_free)
    assert found.value == pytest.approx(0.5 * (0.5 + 0.75))
    assert found.n == 80
    widths = [(q.high - q.low) / 2 for q in rng_free]
    assert found.high - found.low == pytest.approx(sum(w**2 for w in widths) ** 0.5, rel=0.05)


def test_a_suite_measures_every_task_and_resumes(suite: Suite, table_model: Any, memory_store: Any) -> None:
    model = table_model({"grass": "green", "snow": "white", "1 plus 1": "2"})
    done = evaluate_suite(model, suite, store=memory_store)
    assert [e.task for e in done] == ["choices", "answers"]
    assert [e.summary["accuracy"].value for e in done] == [0.75, 0.25]  # unknown: shortest wins
    again = evaluate_suite(model, suite, store=memory_store)
    assert [e.reused for e in again] == [4, 4]
    assert [len(e.results) for e in evaluate_suite(model, suite, samples=2)] == [2, 2]
    found = task_table("both", done)
    assert found.values["mean accuracy"].value == 0.5
    assert [row[:2] for row in found.tables[0].rows] == [("choices", "accuracy"), ("answers", "accuracy")]


def test_a_mean_over_different_metrics_is_not_given(make_task: Any, mixed_rows: Any, table_model: Any) -> None:
    texts = make_task([{"text": "grass is green"}], "texts")
    both = Suite("odd", (make_task(mixed_rows[:4], "choices"), texts))
    assert task_table("odd", evaluate_suite(table_model({}), both)).values == {}


def test_a_suite_is_recorded_with_its_tasks(suite: Suite, table_model: Any, tmp_path: Path) -> None:
    def summary(name: str, done: Sequence[Evaluation]) -> Measurement:
        return Measurement(name, {"score": Interval(0.5, 0.4, 0.6, 8)}, notes=("a note",))

    with RunStore.open(tmp_path / "runs.db") as store:
        found = evaluate_any(table_model({}), replace(suite, summary=summary, source="both"), store=store)
        assert isinstance(found, RecordedSuite)
        record: Any = store.run(found.run_id).summary
        assert record["kind"] == "suite"
        assert [task["name"] for task in record["tasks"]] == ["choices", "answers"]
        assert record["measurement"]["values"]["score"]["value"] == 0.5
        assert record["findings"] == ["score: 0.500 [0.400, 0.600]", "a note"]
        assert set(store.keys(found.run_id)) == {"choices", "answers"}
        assert "--suite both" in record["run"]["command"]


def measured(model: Any, *, times: int = 1) -> Measurement:
    """A measure for this test."""
    table = Table("t", ("a", "b"), (("x", None), ("y", float("nan"))))
    return Measurement("measured", {"size": Interval(float(times), 0.0, 2.0, times)}, (table,))


def test_a_measure_is_run_and_recorded(table_model: Any, tmp_path: Path) -> None:
    measure = Measure("measured", measured, {"times": 1}, "measured:times=1")
    with RunStore.open(tmp_path / "runs.db") as store:
        found = evaluate_any(table_model({}), measure, store=store)
        assert isinstance(found, RecordedMeasurement)
        record: Any = store.run(found.run_id).summary
        assert record["kind"] == "measure"
        assert record["measurement"]["tables"][0]["rows"] == [["x", None], ["y", None]]
        with pytest.raises(UsageError, match="no --samples and no style"):
            evaluate_any(table_model({}), measure, store=store, shots=2)


def test_a_table_refuses_rows_of_another_width() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        Table("t", ("a", "b"), (("x",),))


def test_names_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_any("missing.jsonl")
    with pytest.raises(UsageError, match="no such task file or benchmark"):
        open_any("no-benchmark-of-this-name")
    with pytest.raises(UsageError, match="give either --task or --suite"):
        open_measured(None, None)
    with pytest.raises(UsageError, match="unknown suite"):
        open_measured(None, "no-suite-of-this-name")


def test_one_task_is_not_a_suite(monkeypatch: pytest.MonkeyPatch, suite: Suite) -> None:
    monkeypatch.setattr(tasks, "open_any", lambda name, **options: suite)
    with pytest.raises(UsageError, match="is a suite, not a task"):
        open_task("both")


def test_letters_list_the_choices_and_score_their_letters(make_task: Any, mixed_rows: Any) -> None:
    task = make_task(mixed_rows[:4], form="letters")
    sample: Sample = task.samples()[0]
    requests = task.requests(sample, PromptStyle(shots=1))
    assert [request.text for request in requests] == [" A", " B", " C", " D"]
    context = requests[0].context
    assert context.endswith("What colour is grass?\nA. green\nB. white\nC. black\nD. red\nAnswer:")
    assert "\nAnswer: B\n\n" in context or "\nAnswer: C\n\n" in context or "\nAnswer: D\n\n" in context
    assert task.fingerprint != make_task(mixed_rows[:4]).fingerprint
    chat = task.requests(sample, PromptStyle("chat"))
    assert chat[0].context[-1].content.endswith("D. red")
    assert chat[0].text == "A"


def test_damaged_rows_are_refused_or_left_out(make_task: Any, mixed_rows: Any) -> None:
    damaged = [
        *mixed_rows[:4],
        {"prompt": "x", "choices": ["a"], "answer": 0},
        {"answers": ["y"]},
        *mixed_rows[4:],
    ]
    with pytest.raises(
        InputError, match=r"task.jsonl:5: .*and 1 more, at lines 6; 2 of 10 rows are bad; --skip-bad"
    ):
        make_task(damaged)
    task = make_task(damaged, skip_bad=True)
    assert len(task.samples()) == 8
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in task.skipped] == ["5", "6"]
    with pytest.raises(InputError, match="unknown column"):
        make_task([*mixed_rows, {"promt": "x", "answers": ["y"]}], skip_bad=True)
    with pytest.raises(InputError, match="2 of 2 rows are bad"):
        make_task(damaged[4:6], skip_bad=True)
