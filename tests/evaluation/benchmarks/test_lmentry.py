"""LMentry: scorers against hand-labelled outputs, golds by construction, the score by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from steelyard.contracts import Ask, Generation, PromptStyle, Sample
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.lmentry.items import WordBank, draw_arguments, rhyming_part
from steelyard.evaluation.benchmarks.lmentry.lmentry import lmentry, official_rows
from steelyard.evaluation.benchmarks.lmentry.patterns import number_words
from steelyard.evaluation.benchmarks.lmentry.prompts import ADJACENT, ORDERED, TASKS, all_names, core_of
from steelyard.evaluation.benchmarks.lmentry.score import Outcome, count, gap, score_intervals, scores_of
from steelyard.evaluation.benchmarks.lmentry.scorers import score_output
from steelyard.evaluation.suite import evaluate_suite
from steelyard.models.scripted import ScriptedModel

BANK = yaml.safe_load(
    (Path(__file__).parents[1] / "fixtures" / "lmentry" / "labelled_outputs.yaml").read_text(encoding="utf-8")
)


def test_the_labelled_bank_covers_every_task() -> None:
    assert {group["task"] for group in BANK} == set(TASKS)
    assert sum(len(group["right"]) + len(group["wrong"]) for group in BANK) > 350


@pytest.mark.parametrize("group", BANK, ids=[f"{number}-{group['task']}" for number, group in enumerate(BANK)])
def test_scorers_make_no_error_on_labelled_outputs(group: dict[str, Any]) -> None:
    for label, score in (("right", 1), ("wrong", 0)):
        for output in group[label]:
            assert score_output(group["task"], output, group["data"]).score == score, (label, output)


WORDS = WordBank.read()
RULES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "first_alphabetically": lambda a: a["answer"] < a["distractor"],
    "more_letters": lambda a: len(a["answer"]) > len(a["distractor"]),
    "less_letters": lambda a: len(a["answer"]) < len(a["distractor"]),
    "bigger_number": lambda a: a["answer"] > a["distractor"],
    "smaller_number": lambda a: a["answer"] < a["distractor"],
    "rhyming_word": lambda a: (
        (sound(a["answer"]) == sound(a["query"])) and (sound(a["distractor"]) != sound(a["query"]))
    ),
    "homophones": lambda a: (
        WORDS.pronunciations.get(a["distractor"])
        not in {WORDS.pronunciations.get(a["query"]), WORDS.pronunciations.get(a["answer"])} - {None}
    ),
    "word_after": lambda a: f" {a['query']} {a['answer']} " in f" {a['sentence']} ",
    "word_before": lambda a: f" {a['answer']} {a['query']} " in f" {a['sentence']} ",
    "first_word": lambda a: a["sentence"].startswith(a["answer"] + " "),
    "last_word": lambda a: a["sentence"].endswith(" " + a["answer"]),
    "first_letter": lambda a: a["word"].startswith(a["answer"]),
    "last_letter": lambda a: a["word"].endswith(a["answer"]),
    "most_associated_word": lambda a: (
        a["answer"] in WORDS.categories[a["category"]]
        and not set(a["distractors"]) & set(WORDS.categories[a["category"]])
    ),
    "least_associated_word": lambda a: (
        set(a["distractors"]) <= set(WORDS.categories[a["category"]])
        and a["answer"] not in WORDS.categories[a["category"]]
    ),
}


def sound(word: str) -> str:
    return rhyming_part(WORDS.pronunciations[word])


@pytest.mark.parametrize("name", all_names())
def test_golds_obey_their_rule_and_are_scored_right(name: str) -> None:
    drawn = draw_arguments(WORDS, name, 30)
    assert len(drawn) >= 15
    assert draw_arguments(WORDS, name, 30) == drawn != draw_arguments(WORDS, name, 30, seed=1)
    for arguments in drawn:
        assert core_of(name) not in RULES or RULES[core_of(name)](arguments), arguments
        if "answer" in arguments:
            assert score_output(name, str(arguments["answer"]), arguments).score == 1
        if "distractor" in arguments:
            assert score_output(name, str(arguments["distractor"]), arguments).score == 0
        if "num_distractors" in arguments:
            members = set(arguments["words"]) & set(WORDS.categories[arguments["category"]])
            assert len(members) == 5 - arguments["num_distractors"]


def test_variants_hold_what_they_say() -> None:
    for arguments in draw_arguments(WORDS, "first_alphabetically_far_first_letter", 20):
        assert ord(arguments["distractor"][0]) - ord(arguments["answer"][0]) >= 13
    for arguments in draw_arguments(WORDS, "more_letters_length_diff_1", 20):
        assert len(arguments["answer"]) - len(arguments["distractor"]) == 1
    for arguments in draw_arguments(WORDS, "rhyming_word_orthographically_different", 20):
        assert arguments["answer"][-1] != arguments["query"][-1]
        assert arguments["distractor"][-2:] == arguments["query"][-2:]


def perfect(name: str) -> list[Outcome]:
    return [Outcome(name, template, index, 1.0) for template in range(3) for index in (0, 1)]


def test_the_score_by_hand() -> None:
    assert gap([0.5, 0.9, 0.6]) == pytest.approx(0.6)
    full = scores_of(count(one for name in all_names() for one in perfect(name)))
    assert (full.score, full.accuracy, full.robustness) == (1.0, 1.0, 1.0)
    outcomes = [one for name in all_names() for one in perfect(name) if name != "first_word"]
    outcomes += [Outcome("first_word", template, -1, float(template == 0)) for template in range(3)]
    found = scores_of(count(outcomes))
    assert found.accuracy == pytest.approx((24 + 1 / 3) / 25)
    assert found.kinds["template"] == pytest.approx(24 / 25)
    pairs = [pair for group in ADJACENT.values() for pair in group]
    assert len(pairs) == 17
    touched = sum("first_word" in pair for pair in pairs)
    assert found.kinds["adjacent tasks"] == pytest.approx(1 - touched / 17 * 2 / 3)
    assert found.robustness == pytest.approx(sum(found.kinds.values()) / 4)
    assert found.score == pytest.approx(found.accuracy * found.robustness)
    intervals = score_intervals(outcomes, draws=50)
    assert all(one.low <= one.value <= one.high for one in intervals.values())
    assert intervals["accuracy"].low < intervals["accuracy"].value  # few outputs are not certain, though all alike


def answering(choose: Callable[[Sample], str], suite: Any) -> ScriptedModel:
    answers = {}
    for task in suite.tasks:
        for sample in task.samples():
            request = task.requests(sample, PromptStyle())[0]
            assert isinstance(request, Ask)
            answers[str(request.prompt)] = choose(sample)
    return ScriptedModel(answers)


def test_always_the_first_argument_has_no_order_robustness() -> None:
    suite = lmentry(items=4, tasks=ORDERED, variants=False)

    def first(sample: Sample) -> str:
        arguments = sample.data["arguments"]
        return str(arguments.get("word1", arguments.get("n1")))

    found = suite.summary("lmentry", evaluate_suite(answering(first, suite), suite))
    assert found.values["robustness, argument order"].value == 0.0
    assert found.values["accuracy"].value == 0.5
    assert any("argument content" in note for note in found.notes)


def test_gold_answers_score_one_through_the_suite() -> None:
    suite = lmentry(items=2, tasks=("bigger_number", "smaller_number", "more_letters", "less_letters"))
    model = answering(lambda sample: f" The answer is {sample.data['arguments']['answer']}.", suite)
    found = suite.summary("lmentry", evaluate_suite(model, suite))
    assert found.values["score"].value == 1.0
    assert [row[0] for row in found.tables[0].rows] == [task.name for task in suite.tasks]


def test_the_first_samples_hold_every_wording() -> None:
    for task in lmentry(items=2).tasks:
        assert [sample.data["template"] for sample in task.samples()[:3]] == [0, 1, 2]


def test_official_data_are_read_and_their_golds_scored_right(data: Path) -> None:
    folder = str(data / "lmentry")
    suite = lmentry(data=folder, items=30)
    assert [task.name for task in suite.tasks] == list(all_names())
    for task in suite.tasks:
        for sample in task.samples():
            arguments = sample.data["arguments"]
            if "answer" in arguments:
                marks = task.grade(sample, [Generation(f" {arguments['answer']}.")])
                assert marks.values["accuracy"] == 1.0, (task.name, arguments)
            if "distractor" in arguments:
                assert task.grade(sample, [Generation(f"{arguments['distractor']}")]).values["accuracy"] == 0.0
    assert len(official_rows(folder, "first_word", 5)) == 15


def test_truncation_cuts_at_the_first_full_stop() -> None:
    suite = lmentry(items=1, tasks=("last_word",), truncate=True)
    task = suite.tasks[0]
    assert isinstance(task, BenchmarkTask)
    sample = task.samples()[0]
    answer = sample.data["arguments"]["answer"]
    assert task.grade(sample, [Generation(f" {answer}. Q: and now something else?")]).prediction == answer


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task 'biger_number'; did you mean 'bigger_number'"):
        lmentry(tasks=("biger_number",))
    with pytest.raises(InputError, match=r"no data/first_word\.json"):
        lmentry(data=str(tmp_path), tasks=("first_word",))
    (tmp_path / "first_word.json").write_text(json.dumps({"examples": {"1": {"input": "x"}}}))
    with pytest.raises(InputError, match="not an LMentry file"):
        lmentry(data=str(tmp_path), tasks=("first_word",))
    example = {"input": "x", "metadata": {"template_id": 0, "answer": "A"}}
    (tmp_path / "first_word.json").write_text(json.dumps({"examples": {"7": example}}))
    with pytest.raises(InputError, match="example '7' has no 'sentence' in its metadata"):
        lmentry(data=str(tmp_path), tasks=("first_word",))


def test_numbers_in_words() -> None:
    assert [number_words(n) for n in (0, 13, 20, 99, 100, 305, 2040)] == [
        "zero",
        "thirteen",
        "twenty",
        "ninety-nine",
        "one hundred",
        "three hundred and five",
        "two thousand and forty",
    ]
