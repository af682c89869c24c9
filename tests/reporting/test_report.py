"""Reports of stored runs: what a run kept is put back into its record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from steelyard.cli.main import main
from steelyard.contracts import Interval, Sample
from steelyard.errors import UsageError
from steelyard.evaluation.measurement import Measurement
from steelyard.evaluation.question_task import QuestionTask
from steelyard.evaluation.recorded_comparison import compare_recorded
from steelyard.evaluation.suite import Suite
from steelyard.evaluation.tasks import Measure
from steelyard.evaluation.verb import evaluate_any
from steelyard.models.scripted import ScriptedModel
from steelyard.reporting.report import list_runs, report
from steelyard.runs.store import RunStore


def choice_task(name: str, n: int = 6) -> QuestionTask:
    rows = [
        Sample(
            f"{name}-{i}", {"prompt": f"{name} {i}?", "choices": ["yes", "no"], "answer": i % 2}, group=f"g{i % 3}"
        )
        for i in range(n)
    ]
    return QuestionTask(name, tuple(rows), "accuracy", source=name)


def answer_task(name: str = "words") -> QuestionTask:
    rows = [Sample(f"{name}-{i}", {"prompt": f"{name} {i}?", "answers": ["yes"]}) for i in range(4)]
    return QuestionTask(name, tuple(rows), "accuracy", source=name)


def model(name: str, liked: str) -> ScriptedModel:
    return ScriptedModel(
        lambda prompt: f" {liked}", name=name, scores=lambda _, text: -1.0 if liked in text else -3.0
    )


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with RunStore.open(tmp_path / "runs.db") as opened:
        yield opened


def test_an_eval_carries_its_calibration_and_its_answers(store: RunStore, tmp_path: Path) -> None:
    done = evaluate_any(model("yes", "yes"), choice_task("t"), store=store)
    record = report(done.run_id, out=tmp_path / "page.html", store=store)
    found = record["candidates"][0]["calibration"]
    assert found["ece"]["n"] == 6
    assert sum(b["accuracy"]["n"] for b in found["bins"]) == 6
    confidence = 1 / (1 + 2.718281828459045**-2)
    assert found["ece"]["value"] == pytest.approx(confidence - 0.5)
    assert [s["answers"]["c01"]["value"] for s in record["samples"]] == [1.0, 0.0] * 3
    assert "Reliability diagram" in (tmp_path / "page.html").read_text()


def test_generated_answers_have_no_calibration(store: RunStore) -> None:
    done = evaluate_any(model("yes", "yes"), answer_task(), store=store)
    assert report(done.run_id, store=store)["candidates"][0]["calibration"] is None


def test_a_suite_gets_each_task_its_own_answers(store: RunStore, tmp_path: Path) -> None:
    suite = Suite("both", (choice_task("odd"), answer_task()), source="both")
    done = evaluate_any(model("yes", "yes"), suite, store=store)
    record = report(done.run_id, out=tmp_path / "page.html", store=store)
    assert [[s["answers"]["c01"]["value"] for s in task["samples"]] for task in record["tasks"]] == [
        [1.0, 0.0] * 3,
        [1.0] * 4,
    ]
    assert record["tasks"][0]["samples"][0]["answers"]["c01"]["responses"][0]["kind"] == "score"
    assert record["tasks"][0]["by_group"].keys() == {"g0", "g1", "g2"}
    assert record["tasks"][0]["calibration"]["ece"]["n"] == 6
    assert record["tasks"][1]["calibration"] is None
    assert [task["form"] for task in record["tasks"]] == ["cloze", None]  # answers that are written have no form
    assert "odd-5" in (tmp_path / "page.html").read_text()


def test_a_measure_is_reported_without_samples(store: RunStore, tmp_path: Path) -> None:
    measure = Measure("size", lambda model: Measurement("size", {"size": Interval(0.5, 0.4, 0.6, 3)}), {}, "size")
    done = evaluate_any(model("yes", "yes"), measure, store=store)
    record = report(done.run_id, out=tmp_path / "page.html", store=store)
    assert record["measurement"]["values"]["size"]["n"] == 3
    assert "50.0%" in (tmp_path / "page.html").read_text()
    assert list_runs(store=store)[0]["finding"] == "size: 0.500 [0.400, 0.600]"


def test_a_failed_run_says_why(store: RunStore) -> None:
    run = store.start("eval", {})
    store.finish(run, "failed", {"error": "the endpoint did not answer"})
    with pytest.raises(UsageError, match="nothing to report: the endpoint did not answer"):
        report(run, store=store)


def test_runs_are_compared_with_their_answers(store: RunStore, tmp_path: Path) -> None:
    task = choice_task("t")
    runs = [evaluate_any(model(name, name), task, store=store).run_id for name in ("yes", "no")]
    found = compare_recorded(runs[0], runs[1], store=store, samples=True)
    assert found["counts"] == {"both": 0, "first": 3, "second": 3, "neither": 0}
    assert found["difference"]["value"] == 0
    assert not found["different"]
    assert found["detectable"] > 1  # six samples show next to nothing
    assert [g["group"] for g in found["groups"]] == ["g0", "g1", "g2"]
    assert [g["difference"]["n"] for g in found["groups"]] == [2, 2, 2]
    answers = found["samples"][0]["answers"]
    assert (answers["first"]["prediction"], answers["second"]["prediction"]) == ("yes", "no")
    assert [s["model"] for s in found["systems"]] == ["yes", "no"]
    assert "samples" not in compare_recorded(runs[0], runs[1], store=store)


def test_tasks_of_suites_are_compared_by_name(store: RunStore) -> None:
    suite = Suite("both", (choice_task("odd"), answer_task()))
    one, two = (evaluate_any(model(name, name), suite, store=store).run_id for name in ("yes", "no"))
    found = compare_recorded(f"{one}:words", f"{two}:words", store=store)
    assert found["counts"]["first"] == 4
    assert found["difference"]["value"] == 1.0
    with pytest.raises(UsageError, match=r"is of a suite; say which task, such as .*:odd"):
        compare_recorded(one, two, store=store)
    with pytest.raises(UsageError, match=r"no task 'word'.*words"):
        compare_recorded(f"{one}:word", two, store=store)


def test_other_questions_under_the_same_ids_are_not_compared(store: RunStore) -> None:
    task = choice_task("t")
    other = QuestionTask("t", tuple(Sample(r.id, {**r.data, "prompt": "other?"}) for r in task.rows), "accuracy")
    one, two = (evaluate_any(model("yes", "yes"), t, store=store).run_id for t in (task, other))
    with pytest.raises(UsageError, match="sample 't-0' of 't' and 't' differs"):
        compare_recorded(one, two, store=store)


def test_a_measure_cannot_be_compared_sample_by_sample(store: RunStore) -> None:
    measure = Measure("size", lambda model: Measurement("size", {}), {}, "size")
    run = evaluate_any(model("yes", "yes"), measure, store=store).run_id
    with pytest.raises(UsageError, match="kept no samples"):
        compare_recorded(run, run, store=store)


def test_the_command_line_writes_a_page_of_a_comparison(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = choice_task("t")
    runs = [evaluate_any(model(name, name), task, store=store).run_id for name in ("yes", "no")]
    page = tmp_path / "page.html"
    words = ["steelyard", "compare", *runs, "--store", str(tmp_path / "runs.db"), "--out", str(page)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    shown = capsys.readouterr().out
    assert "only the first 3, only the second 3" in shown
    assert f"report: {page}" in shown
    assert "comparison report" in page.read_text()
    monkeypatch.setattr(sys, "argv", [*words, "--json"])
    with pytest.raises(SystemExit):
        main()
    record = json.loads(capsys.readouterr().out)
    assert record["kind"] == "comparison"
    assert len(record["samples"]) == 6


def test_the_command_line_shows_a_suite(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = Suite("both", (choice_task("odd"), answer_task()), source="both")
    run = evaluate_any(model("yes", "yes"), suite, store=store).run_id
    page, rows = tmp_path / "page.html", tmp_path / "rows.jsonl"
    words = ["steelyard", "report", run, "--store", str(tmp_path / "runs.db"), "--out", str(page)]
    monkeypatch.setattr(sys, "argv", [*words, "--export", str(rows)])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "mean accuracy  75.0%" in shown
    assert "suite report" in page.read_text()
    assert len(rows.read_text().splitlines()) == 10
