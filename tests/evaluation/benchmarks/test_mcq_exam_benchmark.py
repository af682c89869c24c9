from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.chooser import Chooser, at_random, knowing
from evaluation.benchmarks.harness_tasks import harness_samples
from steelyard.contracts import Ask, Continuation, Generation, PromptStyle
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.exams.layouts import exams
from steelyard.evaluation.benchmarks.exams.mcq_exam_benchmark import mcq_exam_benchmark
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.statistics import wilson_interval
from steelyard.evaluation.suite import evaluate_suite

DATA = Path(__file__).parents[1] / "fixtures" / "mcq-exam-benchmark"


def exam(name: str, **settings: Any) -> Any:
    settings.setdefault("shots", 0 if name == "astromlab-1" else 2)
    return mcq_exam_benchmark(exam=name, data=str(DATA / name), **settings)  # type: ignore[arg-type]


def test_the_subjects_are_those_of_the_papers() -> None:
    tables = {name: spec.subjects for name, spec in exams().items()}
    assert len(tables["tmmlu-plus"]) == 66
    assert {category for _, category in tables["tmmlu-plus"].values()} == {
        "STEM",
        "social sciences",
        "humanities",
        "other",
    }
    assert len(tables["tmlu"]) == 37
    assert {category for _, category in tables["tmlu"].values()} == {
        "STEM",
        "social sciences",
        "humanities",
        "Taiwan-specific",
        "other",
    }


@pytest.mark.parametrize("name", ["tmmlu-plus", "tmlu", "astromlab-1"])
@pytest.mark.parametrize("shuffle", [None, 5])
def test_an_oracle_is_always_right(name: str, shuffle: int | None) -> None:
    suite = exam(name, shuffle=shuffle)
    for task in suite.tasks:
        assert evaluate(Chooser(knowing(task)), task).summary["accuracy"].value == 1.0


def test_shuffling_moves_answers_and_keeps_them_right() -> None:
    plain, moved = (exam("tmmlu-plus", shuffle=seed, subjects="physics").tasks[0] for seed in (None, 5))
    answers = [[s.data["answer"] for s in task.samples()] for task in (plain, moved)]
    assert answers[0] != answers[1]
    for before, after in zip(plain.samples(), moved.samples(), strict=True):
        assert sorted(before.data["choices"]) == sorted(after.data["choices"])
        right = [sample.data["choices"][sample.data["answer"]] for sample in (before, after)]
        assert right[0] == right[1]


def many(folder: Path, count: int, choices: int) -> None:
    rows = []
    for i in range(count):
        cells = {letter: f"選項 {letter}{i}" for letter in "ABCDEF"[:choices]}
        rows.append({"question": f"第 {i} 題是什麼？", **cells, "answer": "ABCDEF"[i % choices]})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"{'driving_rule' if choices == 4 else 'AST_chemistry'}_test.jsonl").write_text(
        text, encoding="utf-8"
    )


@pytest.mark.parametrize("choices", [4, 5])
def test_guessing_lands_at_chance(tmp_path: Path, choices: int) -> None:
    many(tmp_path, 600, choices)
    suite = mcq_exam_benchmark(exam="tmlu", data=str(tmp_path), shots=0)
    found = evaluate_suite(Chooser(at_random), suite)
    low, high = wilson_interval(found[0].summary["accuracy"].value * 600, 600, level=0.999)
    assert low <= 1 / choices <= high
    chance = suite.summary(suite.name, found).tables[0].rows[0][4]
    assert chance == pytest.approx(1 / choices)


def test_prompts_are_those_of_the_paper() -> None:
    task = exam("tmlu", subjects="driving_rule", shots=1).tasks[0]
    requests = task.requests(task.samples()[0], PromptStyle())
    assert [request.text for request in requests] == ["A", "B", "C", "D"]
    assert requests[0].context == (
        "以下選擇題為出自臺灣的考題，答案為其中一個選項。\n\n"
        "問題：夜間行車應開啟什麼？\n(A) 音響\n(B) 頭燈\n(C) 冷氣\n(D) 車窗\n正確答案：(B)\n\n"
        "問題：行車遇紅燈時應如何？\n(A) 加速通過\n(B) 停車等候\n(C) 鳴按喇叭\n(D) 倒車\n正確答案：("
    )


def test_reasoning_is_shown_and_read() -> None:
    task = exam("tmlu", subjects="driving_rule", mode="cot").tasks[0]
    (request,) = task.requests(task.samples()[0], PromptStyle())
    assert isinstance(request, Ask)
    assert (
        "讓我們一步一步思考。\n夜間視線不良，開頭燈才能看清路面，也讓別人看見。\n正確答案：(B)\n\n"
        in request.prompt
    )
    assert str(request.prompt).endswith("(D) 倒車\n讓我們一步一步思考。\n")
    assert request.sampling.stop == ("\n\n問題：",)
    right = task.grade(task.samples()[0], [Generation("紅燈必須停下。\n正確答案：(B)")])
    assert dict(right.values) == {"accuracy": 1.0, "answered": 1.0}
    silent = task.grade(task.samples()[0], [Generation("我不知道。")])
    assert dict(silent.values) == {"accuracy": 0.0, "answered": 0.0}


def test_a_letter_after_the_open_bracket() -> None:
    task = exam("tmlu", subjects="driving_rule", mode="generate").tasks[0]
    assert task.grade(task.samples()[0], [Generation("B)")]).values["accuracy"] == 1.0
    assert task.grade(task.samples()[0], [Generation("E)")]).values["answered"] == 0.0


def test_stated_confidence_is_read() -> None:
    task = exam("astromlab-1", mode="stated").tasks[0]
    (request,) = task.requests(task.samples()[0], PromptStyle("chat"))
    assert "Confidence: N%" in request.prompt[0].content
    marks = task.grade(task.samples()[0], [Generation("Answer: B\nConfidence: 85%")])
    assert dict(marks.values) == {"accuracy": 1.0, "answered": 1.0, "confidence": 0.85}


def test_chat_asks_in_one_message() -> None:
    task = exam("tmmlu-plus", subjects="physics").tasks[0]
    requests = task.requests(task.samples()[0], PromptStyle("chat"))
    assert [request.text for request in requests] == ["A", "B", "C", "D"]
    assert requests[0].context[0].content.endswith("請只回答正確選項的英文字母。")


def test_examples_never_hold_the_question(tmp_path: Path) -> None:
    source = DATA / "tmmlu-plus" / "data"
    rows = list(csv.reader((source / "physics_test.csv").read_text(encoding="utf-8").splitlines()))
    (tmp_path / "physics_test.csv").write_bytes((source / "physics_test.csv").read_bytes())
    train = (source / "physics_train.csv").read_text(encoding="utf-8").splitlines()
    leaked = [train[0], ",".join(rows[1]), *train[1:]]
    (tmp_path / "physics_train.csv").write_text("\n".join(leaked) + "\n", encoding="utf-8")
    task = mcq_exam_benchmark(data=str(tmp_path), shots=3).tasks[0]
    for sample in task.samples():
        context = task.requests(sample, PromptStyle())[0].context  # type: ignore[union-attr]
        assert str(context).count(sample.data["prompt"]) == 1
        assert str(context).count(rows[1][0]) == (sample.data["prompt"] == rows[1][0])
    with pytest.raises(UsageError, match="4 examples were asked for, its data have 3"):
        mcq_exam_benchmark(data=str(tmp_path), shots=4)


def test_averages_over_subjects_and_over_questions() -> None:
    suite = exam("tmmlu-plus")
    oracle = Chooser(knowing(suite.tasks[0]))

    def rule(context: str, text: str) -> float:
        physics = [s for s in suite.tasks[0].samples() if s.data["prompt"] in context]
        return oracle.rule(context, text) if physics else (-0.1 if text.strip() == "A" else -3.0)

    found = suite.summary(suite.name, evaluate_suite(Chooser(rule), suite))
    # Physics 6 of 6; geography 1 of 4, the one whose answer is A.
    assert found.values["accuracy, mean of subjects"].value == pytest.approx((1 + 0.25) / 2)
    assert found.values["accuracy, all questions"].value == pytest.approx(7 / 10)
    categories = {row[0]: (row[1].value, row[2].value, row[3]) for row in found.tables[1].rows}  # type: ignore[union-attr]
    assert categories == {"STEM": (1.0, 1.0, 1), "social sciences": (0.25, 0.25, 1)}
    assert found.notes == (f"2 of 66 subjects of TMMLU+ are in {DATA / 'tmmlu-plus'}.",)
    assert {"ECE", "confidence", "correlation of confidence and correctness"} <= set(found.values)
    json.dumps(found.to_record(), allow_nan=False)


def test_subfields_have_rows_of_their_own() -> None:
    suite = exam("astromlab-1")
    found = suite.summary(suite.name, evaluate_suite(Chooser(knowing(suite.tasks[0])), suite))
    table = next(table for table in found.tables if table.title == "Subfields")
    assert [row[0] for row in table.rows] == ["exoplanets", "instrumentation", "stellar astrophysics"]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no subject 'phisics'; did you mean 'physics'"):
        exam("tmmlu-plus", subjects="phisics")
    with pytest.raises(UsageError, match="no template 'harnes'; did you mean 'harness'"):
        exam("tmlu", template="harnes")
    with pytest.raises(UsageError, match="no subject of TMMLU\\+ is here; download"):
        mcq_exam_benchmark(data=str(tmp_path))
    with pytest.raises(UsageError, match="no explanations to reason by; set shots=0"):
        exam("tmmlu-plus", mode="cot")
    file = tmp_path / "q.jsonl"
    record = {"question": "Why?", "A": "a", "B": "b", "C": "c", "D": "d"}
    file.write_text(json.dumps(record) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"q.jsonl:1: there is no answer.*withheld from the public release"):
        mcq_exam_benchmark(exam="astromlab-1", data=str(file))
    file.write_text(json.dumps({**record, "answer": "E"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="the answer 'E' is none of the 4 choices"):
        mcq_exam_benchmark(exam="astromlab-1", data=str(file))


@pytest.mark.real_model
@pytest.mark.parametrize(
    ("name", "subject"),
    [("tmmlu-plus", "geography_of_taiwan"), ("tmlu", "AST_chemistry")],
)
def test_choices_are_those_of_the_harness(smollm2: Any, name: str, subject: str) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    task = exam(name, subjects=subject, template="harness", shots=1).tasks[0]
    found = evaluate(smollm2, task)
    group, folder, suffix, examples = {
        "tmmlu-plus": ("tmmluplus", DATA / name / "data", "csv", "train"),
        "tmlu": ("tmlu", DATA / name, "jsonl", "dev"),
    }[name]
    splits = {split: folder / f"{subject}_{split}.{suffix}" for split in ("test", examples)}
    expected = harness_samples(smollm2, f"{group}/default/{group}_{subject}.yaml", splits, 1)
    for result, (logprobs, accuracy) in zip(found.results, expected, strict=True):
        own = [response["logprob"] for response in result.responses]
        assert own == pytest.approx(logprobs, abs=2e-3)
        assert result.marks.values["accuracy"] == accuracy


def test_templates_differ_in_writing_only() -> None:
    harness, paper = (exam("tmmlu-plus", subjects="physics", template=t).tasks[0] for t in ("harness", "paper"))
    assert harness.fingerprint != paper.fingerprint
    first = [task.requests(task.samples()[0], PromptStyle())[0] for task in (harness, paper)]
    assert all(isinstance(request, Continuation) for request in first)
    assert first[0].context.endswith("\nAnswer:")
    assert first[1].context.endswith("\n答案：")
