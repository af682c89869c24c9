"""pfgen-bench: its numbers against the reference implementation's, in ``judge_free_ngram_expected.json``."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Ask, Generation, PromptStyle
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.open_ended.judge_free_ngram_benchmark import (
    AnswerScorer,
    clean_answer,
    judge_free_ngram_benchmark,
    many_shot,
    trial_seed,
)
from steelyard.evaluation.benchmarks.open_ended.keyword_rules import NEVER, helpfulness, met_at
from steelyard.evaluation.benchmarks.open_ended.ngram_distribution import NgramDistribution, new_ngrams

FIXTURE = Path(__file__).parents[1] / "fixtures" / "judge-free-ngram-benchmark"
EXPECTED = json.loads(Path(__file__).with_name("judge_free_ngram_expected.json").read_text(encoding="utf-8"))
QUESTIONS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FIXTURE.glob("Q*.json"))}


def scorer(question: str) -> AnswerScorer:
    found: dict[str, Any] = QUESTIONS[question]
    sets = found["answers"].values()
    return AnswerScorer(tuple(NgramDistribution.of(texts) for texts in sets), tuple(found["keywords"]))


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_every_number_is_the_reference_implementations(question: str) -> None:
    made = scorer(question)
    cases = [case for case in EXPECTED if case["question_id"] == question]
    assert len(cases) >= 10
    for case in cases:
        expected = {name: case[name] for name in ("score", "fluency", "truthfulness", "helpfulness")}
        assert made.score(case["answer"]) == expected, case["answer"]


def test_ngrams_are_all_substrings_once() -> None:
    text = "abcabcab"
    brute = {text[i:j] for i in range(len(text)) for j in range(i + 1, min(i + 4, len(text)) + 1)}
    found = [gram for fresh in new_ngrams(text, 4) for gram in fresh]
    assert len(found) == len(set(found))
    assert set(found) == brute


def test_the_references_are_fluent_by_one_and_random_strings_hardly() -> None:
    for question in QUESTIONS.values():
        for texts in question["answers"].values():
            made = NgramDistribution.of(texts)
            assert sum(made.fluency(text).score for text in texts) / len(texts) == pytest.approx(1.0)
    rng = random.Random(0)
    noise = "".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(80))
    for question in QUESTIONS:
        scores = scorer(question).score(noise)
        assert max(scores["fluency"], scores["truthfulness"]) < 0.02
        assert scores["score"] < 0.1  # what keyword rules of small importance leave over


def test_the_mean_falls_as_answers_are_corrupted_more() -> None:
    rng = random.Random(1)
    means = []
    for share in (0.0, 0.15, 0.3, 0.6, 1.0):
        scores = []
        for question, found in QUESTIONS.items():
            for text in (text for texts in found["answers"].values() for text in texts):
                damaged = "".join(chr(rng.randrange(0x4E00, 0x9000)) if rng.random() < share else c for c in text)
                scores.append(scorer(question).score(damaged)["score"])
        means.append(sum(scores) / len(scores))
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.8
    assert means[-1] < 0.1


def test_keyword_rules_by_hand() -> None:
    rule: dict[str, Any] = {"and": [{"t": "b"}, {"or": [{"t": "c"}, {"t": "d+"}]}]}
    assert met_at("a b dd c", rule) == 6
    assert met_at("a b", rule) == NEVER
    rules: list[dict[str, Any]] = [{"t": "x"}, {"t": "y", "importance": 0.25}]
    assert helpfulness("xy", rules) == 1.0
    assert helpfulness("x", rules) == 0.75
    assert helpfulness("y", rules) == 0.0
    assert helpfulness("-" * 124 + "xy", rules) == pytest.approx(0.48)  # the last of 126 characters
    assert helpfulness("x" + "-" * 150 + "y", rules) == 0.75


def test_prompts_hold_other_questions_in_an_order_drawn_by_trial() -> None:
    task = judge_free_ngram_benchmark(data=str(FIXTURE), shots=3, trials=2)
    sample = task.samples()[0]
    first, second = task.requests(sample, PromptStyle())
    assert isinstance(first, Ask)
    assert isinstance(second, Ask)
    assert isinstance(first.prompt, str)
    assert first.prompt != second.prompt
    assert first.prompt.count("Q: ") == 4
    assert first.prompt.endswith(f"Q: {sample.data['question']}\nA:")
    assert first.prompt.count(sample.data["question"]) == 1
    assert first.sampling.seed == trial_seed(1) != second.sampling.seed == trial_seed(2)
    chat = task.requests(sample, PromptStyle("chat"))[0]
    assert isinstance(chat, Ask)
    assert [turn.role for turn in chat.prompt] == ["system", "user"]  # type: ignore[union-attr]
    assert many_shot([("q", "a"), ("r", "b")], "q", 1) == "Q: r\nA: b"


def test_marks_are_means_over_trials() -> None:
    task = judge_free_ngram_benchmark(data=str(FIXTURE), trials=2)
    sample = task.samples()[0]
    reference = QUESTIONS["Q01"]["answers"]["R"][0]
    marks = task.grade(sample, [Generation(f"A: {reference}\n"), Generation("x")])
    single = scorer("Q01").score(reference)["score"]
    assert marks.values["score"] == pytest.approx((single + scorer("Q01").score("x")["score"]) / 2)
    assert marks.prediction == clean_answer(reference) == reference
    assert task.summarise([marks, task.grade(sample, [Generation(reference)] * 2)], [1, 1])["score"].high > 1


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pfgen-bench are not here; download .* data=FOLDER"):
        judge_free_ngram_benchmark()
    with pytest.raises(InputError, match=r"no Q\*\.json"):
        judge_free_ngram_benchmark(data=str(tmp_path))
    (tmp_path / "Q01.json").write_text('{"question_id": "Q01", "question": "?", "answers": {"R": ["x"]}}')
    with pytest.raises(InputError, match=r"Q01\.json: 'keywords' is missing"):
        judge_free_ngram_benchmark(data=str(tmp_path))
    (tmp_path / "Q01.json").write_text(
        '{"question_id": "Q01", "question": "?", "answers": {"R": ["x"]}, "keywords": [{"t": "("}]}'
    )
    with pytest.raises(InputError, match="keyword pattern"):
        judge_free_ngram_benchmark(data=str(tmp_path))
