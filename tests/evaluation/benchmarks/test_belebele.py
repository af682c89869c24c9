from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.chooser import Chooser, at_random, knowing
from evaluation.benchmarks.harness_tasks import harness_samples
from steelyard.contracts import Ask, Generation, PromptStyle
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.belebele.belebele import belebele
from steelyard.evaluation.benchmarks.belebele.parallel import belebele_parallel
from steelyard.evaluation.benchmarks.belebele.records import (
    TEXTS,
    check_aligned,
    languages,
    read_variant,
    translate_records,
)
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.statistics import wilson_interval
from steelyard.evaluation.suite import evaluate_suite

DATA = Path(__file__).parents[1] / "fixtures" / "belebele"


def records(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{code}.jsonl").read_text(encoding="utf-8").splitlines()]


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_there_are_122_variants() -> None:
    known = languages()
    assert len(known) == 122
    assert all(language.script == code.split("_")[1] for code, language in known.items())
    assert (known["eng_Latn"].level, known["tha_Thai"].level, known["yor_Latn"].level) == ("high", "medium", "low")
    assert known["ary_Arab"].level == "unclassified"


def full(folder: Path, codes: list[str]) -> None:
    """900 made-up questions on 488 passages in each variant."""
    for code in codes:
        rows = []
        for i in range(900):
            passage, number = (i // 2, i % 2 + 1) if i < 824 else (i - 412, 1)
            answers = {f"mc_answer{k}": f"{code} {i} {k}" for k in range(1, 5)}
            key = {"link": f"p{passage}", "question_number": number, "correct_answer_num": str(i % 4 + 1)}
            rows.append({**key, "flores_passage": f"text {passage}", "question": f"{i}?", **answers})
        write(folder / f"{code}.jsonl", rows)


def test_complete_variants_are_900_aligned_questions_and_guessing_is_at_chance(tmp_path: Path) -> None:
    full(tmp_path, ["eng_Latn", "swh_Latn"])
    variants = {code: read_variant(code, tmp_path) for code in ("eng_Latn", "swh_Latn")}
    check_aligned(variants)
    for rows in variants.values():
        assert len(rows) == 900
        assert len({row.group for row in rows}) == 488
    suite = belebele_parallel(data=str(tmp_path), shots=0)
    done = evaluate_suite(Chooser(at_random), suite)
    found = suite.summary(suite.name, done)
    assert not found.notes
    for evaluation in done:
        low, high = wilson_interval(evaluation.summary["accuracy"].value * 900, 900, level=0.999)
        assert low <= 0.25 <= high
    interval = found.values["high minus low resources"]
    assert interval.low <= 0 <= interval.high
    moved = evaluate(Chooser(at_random), belebele(language="swh_Latn", data=str(tmp_path), shots=0, shuffle=1))
    noise = [e.summary["accuracy"] for e in (done[1], moved)]
    assert noise[0].low <= noise[1].high
    assert noise[1].low <= noise[0].high


def test_variants_that_differ_are_refused(tmp_path: Path) -> None:
    rows = records("deu_Latn")
    write(tmp_path / "eng_Latn.jsonl", records("eng_Latn"))
    write(tmp_path / "deu_Latn.jsonl", rows[:-1])
    with pytest.raises(InputError, match="deu_Latn has not the question"):
        belebele_parallel(data=str(tmp_path), shots=0)
    write(tmp_path / "deu_Latn.jsonl", [*rows[:-1], {**rows[-1], "correct_answer_num": "1"}])
    with pytest.raises(InputError, match="different answers to"):
        belebele_parallel(data=str(tmp_path), shots=0)
    write(tmp_path / "deu_Latn.jsonl", [*rows, rows[0]])
    with pytest.raises(InputError, match=r"deu_Latn.jsonl:7: the question .* was there before"):
        belebele_parallel(data=str(tmp_path), shots=0)
    write(tmp_path / "deu_Latn.jsonl", [{**rows[0], "correct_answer_num": "5"}])
    with pytest.raises(InputError, match="correct_answer_num is '5'"):
        belebele_parallel(data=str(tmp_path), shots=0)


def test_an_oracle_is_right_in_every_order() -> None:
    for shuffle in (None, 3):
        for task in belebele_parallel(data=str(DATA), shots=2, shuffle=shuffle).tasks:
            assert evaluate(Chooser(knowing(task)), task).summary["accuracy"].value == 1.0


def test_the_prompt_in_context() -> None:
    task = belebele(data=str(DATA), shots=1)
    first, second = records("eng_Latn")[:2]
    request = task.requests(task.samples()[0], PromptStyle())[0]
    assert not isinstance(request, Ask)
    shown, asked = [
        f"P: {r['flores_passage']}\nQ: {r['question']}\nA: {r['mc_answer1']}\nB: {r['mc_answer2']}\n"
        f"C: {r['mc_answer3']}\nD: {r['mc_answer4']}\nAnswer:"
        for r in (second, first)
    ]
    assert request.context == f"{shown} C\n\n{asked}"


def test_the_instruction_asks_for_a_letter() -> None:
    task = belebele(data=str(DATA), mode="instruction")
    (request,) = task.requests(task.samples()[0], PromptStyle())
    assert isinstance(request, Ask)
    assert str(request.prompt).endswith(
        "Choices:\n(A) At six\n(B) At nine\n(C) At noon\n(D) At midnight\n###\nAnswer:\n"
    )
    for reply in ("A", "(A)", "The correct answer is A."):
        assert task.grade(task.samples()[0], [Generation(reply)]).values["accuracy"] == 1.0


def test_groups_are_compared_question_by_question() -> None:
    suite = belebele_parallel(data=str(DATA), shots=0)
    oracles = {task.name: knowing(task) for task in suite.tasks}

    def rule(context: str, text: str) -> float:
        if "Rina" in context and ("Huvuna" in context or "erntet" in context):
            return -1.0 if text == " A" else -2.0  # wrong: no answer about Rina is A
        return max(oracle(context, text) for oracle in oracles.values() if _knows(oracle, context))

    def _knows(oracle: Any, context: str) -> bool:
        try:
            oracle(context, "")
        except ValueError:
            return False
        return True

    found = suite.summary(suite.name, evaluate_suite(Chooser(rule), suite))
    rows = {row[0]: row for row in found.tables[0].rows}
    assert rows["eng_Latn"][6:] == (None, None)
    assert rows["swh_Latn"][6].value == pytest.approx(-2 / 6)  # type: ignore[union-attr]
    assert rows["deu_Latn"][7] == pytest.approx(1.0)  # two discordant questions: p 0.5, twice
    assert found.values["accuracy"].value == pytest.approx((1 + 2 * 4 / 6) / 3)
    assert found.values["high minus low resources"].value == pytest.approx(5 / 6 - 4 / 6)
    scripts = next(table for table in found.tables if table.title == "Scripts")
    assert scripts.rows[0][2:] == (None, 3)
    assert found.notes == ("Of 900 questions deu_Latn has 6, eng_Latn has 6, swh_Latn has 6.",)


def test_translations_are_compared_with_the_original(tmp_path: Path) -> None:
    english = {
        text: row[name]
        for row, other in zip(records("eng_Latn"), records("swh_Latn"), strict=True)
        for name, text in ((name, other[name]) for name in TEXTS)
    }
    translator = Chooser(at_random, lambda prompt: english[prompt.split("\n\n", 1)[1]])
    made = translate_records(translator, records("swh_Latn"), source="Swahili")
    assert [row["question"] for row in made] == [row["question"] for row in records("eng_Latn")]
    assert made[0]["correct_answer_num"] == "1"
    write(tmp_path / "swh_Latn.jsonl", made)
    suite = belebele_parallel(data=str(DATA), languages="swh_Latn", translated=str(tmp_path), shots=0)
    assert [task.name for task in suite.tasks] == ["belebele-swh_Latn", "belebele-swh_Latn-translated"]
    oracle = knowing(suite.tasks[1])
    model = Chooser(
        lambda context, text: (
            oracle(context, text)
            if "library" in context or "Rina keeps" in context or "bridge" in context
            else (-1.0 if text == " D" else -2.0)
        )
    )
    found = suite.summary(suite.name, evaluate_suite(model, suite))
    table = next(table for table in found.tables if table.title == "Translate-test")
    assert table.rows[0][1].value == 1.0  # type: ignore[union-attr]
    assert table.rows[0][3].value == pytest.approx(5 / 6)  # type: ignore[union-attr]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no variant 'swa_Latn'; did you mean"):
        belebele_parallel(data=str(DATA), languages="swa_Latn")
    with pytest.raises(UsageError, match="asked without examples"):
        belebele_parallel(data=str(DATA), mode="instruction", shots=2)
    with pytest.raises(UsageError, match="9 examples were asked for, there are 5; set shots=5"):
        belebele_parallel(data=str(DATA), shots=9)
    with pytest.raises(UsageError, match="no variant of Belebele is here; download Belebele"):
        belebele_parallel(data=str(tmp_path))


@pytest.mark.real_model
@pytest.mark.parametrize(("code", "shots"), [("eng_Latn", 1)])
def test_scores_are_those_of_the_harness(smollm2: Any, code: str, shots: int) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    task = belebele(data=str(DATA), language=code, shots=shots)
    found = evaluate(smollm2, task)
    expected = harness_samples(smollm2, f"belebele/belebele_{code}.yaml", {code: DATA / f"{code}.jsonl"}, shots)
    for result, (logprobs, accuracy) in zip(found.results, expected, strict=True):
        assert [response["logprob"] for response in result.responses] == pytest.approx(logprobs, abs=2e-3)
        assert result.marks.values["accuracy"] == accuracy
