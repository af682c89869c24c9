"""The verb rank: by gold, judges, peers and answers alone; killed runs go on; records are JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import steelyard
from evaluation.judging.scripted_judges import always, longer
from steelyard.cli.recipes import run
from steelyard.errors import ModelError, UsageError
from steelyard.evaluation.ranking.verb import RecordedRanking, rank
from steelyard.evaluation.recorded_comparison import compare_recorded
from steelyard.models.scripted import ScriptedModel
from steelyard.reporting.report import report
from steelyard.reporting.terminal import show_record
from steelyard.runs.store import RunStore

N = 24


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [
        {"id": f"q{i}", "prompt": f"What is {i} plus {i}?", "answers": [str(2 * i)]} for i in range(10, 10 + N)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def solver(name: str, right_of_ten: int, pad: str = "") -> ScriptedModel:
    """Knows the sums whose number ends in a digit below this; judges by length."""

    def answer(prompt: str) -> str:
        if "Answer A:" in prompt:
            return longer().answers(prompt)  # type: ignore[operator]
        n = int(re.findall(r"What is (\d+) plus", prompt)[-1])
        return f" {2 * n}{pad}" if n % 10 < right_of_ten else f" {2 * n + 1 + len(name)}"

    return ScriptedModel(answer, name=name)


def models() -> list[ScriptedModel]:
    return [solver("weak", 2), solver("strong", 10), solver("middle", 6)]


def shown(found: RecordedRanking) -> str:
    console = Console(record=True, width=160, file=open("/dev/null", "w"))  # noqa: SIM115
    show_record(found.record, console)
    return console.export_text()


def test_gold_ranks_with_corrected_paired_tests(task: Path, tmp_path: Path) -> None:
    found = rank(task, models(), store=tmp_path / "runs.db")
    assert found.ranking.ranked == ("strong", "middle", "weak")
    record = found.record
    json.dumps(record, allow_nan=False)
    assert record["kind"] == "rank"
    tests = record["ranking"]["details"]["comparisons"]
    assert len(tests) == 3
    assert all(one["p_holm"] >= one["p_value"] for one in tests)
    assert [row["interval"]["n"] for row in record["ranking"]["rows"]] == [N] * 3
    assert "strong is better than" in record["findings"][1]
    text = shown(found)
    assert "strong against weak" in text
    assert "100.0% [" in text
    page = tmp_path / "page.html"
    restored = report(found.run_id, out=page, store=tmp_path / "runs.db")
    assert restored["samples"][0]["answers"].keys() == {"c01", "c02", "c03"}
    assert "rank report" in page.read_text()
    with RunStore.open(tmp_path / "runs.db") as store:
        assert store.run(found.run_id).verb == "rank"
        assert store.run(found.run_id).summary == json.loads(json.dumps(record))
    compared = compare_recorded(f"{found.run_id}:c02", f"{found.run_id}:c01", store=tmp_path / "runs.db")
    assert compared["different"]


def test_equal_systems_are_not_called_different(task: Path) -> None:
    found = rank(task, [solver("one", 6), solver("two", 6)])
    assert any("No difference between" in finding for finding in found.record["findings"])
    assert [row["rank"] for row in found.record["ranking"]["rows"]] == [1, 1]
    assert "one and two share the first place" in found.record["findings"][0]


def test_a_judge_ranks_by_battles_and_its_habits_are_shown(task: Path) -> None:
    wordy = [solver("brief", 10), solver("wordy", 10, ", of course"), solver("mid", 10, "!")]
    found = rank(task, wordy, by="bradley-terry:resamples=10", judges=[longer("judge")])
    assert found.ranking.ranked == ("wordy", "mid", "brief")
    judge = found.record["judges"][0]
    assert judge["name"] == "judge"
    assert judge["n"] == 3 * N
    assert judge["first shown"]["value"] == 0.5
    assert any("not calibrated" in finding for finding in found.record["findings"])
    assert "judge" in shown(found)


def test_a_first_place_judge_ranks_nobody_above_another(task: Path) -> None:
    found = rank(task, models(), by="bradley-terry:resamples=5", judges=[always("A")])
    assert found.ranking.scores == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    same = rank(task, [solver("one", 10), solver("two", 10)], by="elo:resamples=2,orders=2", judges=[always("A")])
    assert any("was asked nothing" in finding for finding in same.record["findings"])
    assert found.record["judges"][0]["inconsistent"]["value"] == 1.0


def test_calibration_is_measured_and_reported_first(task: Path, tmp_path: Path) -> None:
    pairs = [
        {"input": f"i{i}", "output_1": "a" * (3 + i % 2), "output_2": "a" * (4 - i % 2), "label": 2 - i % 2}
        for i in range(20)
    ]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(pairs))
    found = rank(task, models(), by="elo:resamples=5,orders=5", judges=[longer("judge")], calibration=labels)
    calibration = found.record["judges"][0]["calibration"]
    assert calibration["values"]["agreement"]["value"] == 1.0
    assert any("agrees with people more than" in finding for finding in found.record["findings"])
    assert "--calibration" in found.record["run"]["command"]


@pytest.mark.parametrize(
    "by", ["pico-peer-review:resamples=2,starts=1", "peer-rank-discussion:resamples=2", "elo"]
)
def test_models_rank_each_other(task: Path, by: str) -> None:
    found = rank(task, models(), by=by, samples=8)
    assert sorted(found.ranking.ranked) == ["middle", "strong", "weak"]
    assert [judge["name"] for judge in found.record["judges"]] == ["weak", "strong", "middle"]
    json.dumps(found.record, allow_nan=False)


def test_answers_alone_rank_without_gold_or_judges(task: Path) -> None:
    found = rank(task, models(), by="triplet-ranking:resamples=5")
    assert found.ranking.ranked[-1] == "weak"
    assert found.record["judges"] == []
    assert found.record["against_gold"]["kendall"] > 0
    assert any("Kendall's tau" in finding for finding in found.record["findings"])


def test_judges_see_the_right_answers_only_where_asked_for(task: Path) -> None:
    def reads(prompt: str) -> str:
        """Prefers the answer that is the correct one, where one is shown; else the longer."""
        shown = re.search(r"Correct answer:\n(\d+)", prompt)
        if shown is None:
            return longer().answers(prompt)  # type: ignore[operator,no-any-return]
        first = re.search(r"Answer A:\n(.*?)\n\nAnswer B:", prompt, re.DOTALL)
        assert first is not None
        return "A" if first[1].strip() == shown[1] else "B"

    padded = solver("wordy", 0, pad=" or thereabouts, as far as I can tell")
    judge = ScriptedModel(reads, name="reader")
    blind = rank(task, [padded, solver("strong", 10)], by="bradley-terry", judges=[judge])
    guided = rank(task, [padded, solver("strong", 10)], by="bradley-terry", judges=[judge], references=True)
    assert blind.ranking.ranked[0] == guided.ranking.ranked[1]
    assert guided.ranking.ranked[0] == "strong"
    assert "--references" in guided.record["run"]["command"]
    with pytest.raises(UsageError, match="leave --judge, --calibration and --references out"):
        rank(task, models(), references=True)


def test_a_recipe_may_rank(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.evaluation.ranking.verb.loaded_model", lambda name, *_: solver(name, len(name)))
    recipe = tmp_path / "rank.yaml"
    recipe.write_text(f"rank: {{task: {task.name}, models: [ab, abcdefgh], samples: 12}}\n")
    done = run(recipe, out=tmp_path / "out", store=str(tmp_path / "runs.db"))
    assert done.record["ranking"]["rows"][0]["name"] == "abcdefgh"
    assert done.files["report"].is_file()
    recipe.write_text(f"rank: {{task: {task.name}, models: [ab, abcdefgh], judge: a}}\n")
    with pytest.raises(UsageError, match="rank has no setting 'judge'; did you mean 'judges'"):
        run(recipe, store=str(tmp_path / "runs.db"))


def test_a_killed_run_goes_on_where_it_stopped(task: Path, tmp_path: Path) -> None:
    class Dies(ScriptedModel):
        left = 1

        def generate(self, prompts: Any, sampling: Any = None) -> Any:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            return super().generate(prompts, sampling)

    source = longer("judge")
    ranked = [solver("brief", 10), solver("wordy", 10, ", of course"), solver("mid", 10, "!")]
    kind = "bradley-terry:resamples=5"
    with pytest.raises(KeyboardInterrupt):
        rank(task, ranked, by=kind, judges=[Dies(source.answers, name="judge")], store=tmp_path / "runs.db")
    asked = [len(model.calls) for model in ranked]
    found = rank(task, ranked, by=kind, judges=[source], store=tmp_path / "runs.db")
    assert [len(model.calls) for model in ranked] == asked  # no answer is asked for again
    assert sum(n for _, n in source.calls) == 2 * (3 * N - 32)  # 32 pairs were judged before the kill
    whole = rank(task, ranked, by=kind, judges=[longer("judge")], store=tmp_path / "other.db")
    assert whole.ranking.to_record() == found.ranking.to_record()


def test_wrong_use_is_one_line(task: Path) -> None:
    refused: Callable[..., Any] = rank
    with pytest.raises(UsageError, match="two or more models"):
        refused(task, [solver("one", 1)])
    with pytest.raises(UsageError, match="did you mean 'bradley-terry'"):
        refused(task, models(), by="bradly-terry:resamples=3")
    with pytest.raises(UsageError, match="cannot rank by 'nonsense'"):
        refused(task, models(), by="nonsense")
    with pytest.raises(UsageError, match="did you mean 'pico-peer-review'"):
        refused(task, models(), by="pico-peer-reviews")
    with pytest.raises(UsageError, match="asks no judges"):
        refused(task, models(), by="triplet-ranking", judges=[longer()])
    with pytest.raises(UsageError, match="review each other"):
        refused(task, models(), by="pico-peer-review", judges=[longer()])
    with pytest.raises(UsageError, match="has no setting"):
        refused(task, models(), by="elo:steps=3")


def test_a_failed_run_is_noted(task: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        rank(task, [solver("one", 1), ScriptedModel({}, name="silent")], store=tmp_path / "runs.db")
    with RunStore.open(tmp_path / "runs.db") as store:
        latest = store.latest("rank")
        assert latest is not None
        assert latest.status == "failed"


def test_python_has_the_verb() -> None:
    assert steelyard.rank is rank
