from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks.chooser import Chooser, at_random, uniform
from steelyard.contracts import Ask, Continuation, Generation, PromptStyle
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.strange import prompts as strange_prompts
from steelyard.evaluation.benchmarks.strange import rules as strange_rules
from steelyard.evaluation.benchmarks.strange.prompts import statement, verification_values
from steelyard.evaluation.benchmarks.strange.rules import keeps, sound, words
from steelyard.evaluation.benchmarks.strange.strange_dataset import ITEMS_FILE, strange_dataset
from steelyard.evaluation.evaluate import evaluate
from steelyard.evaluation.suite import evaluate_suite

SHIPPED: dict[str, list[dict[str, Any]]] = json.loads(ITEMS_FILE.read_text(encoding="utf-8"))
ITEMS = SHIPPED["items"]
NUMBERS = {1: "once", 2: "two|twice", 3: "three", 4: "four", 5: "five", 7: "seven", 10: "ten"}


@pytest.mark.parametrize("module", [strange_prompts, strange_rules])
def test_examples_in_the_text(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("item", ITEMS, ids=[item["id"] for item in ITEMS])
def test_every_item_is_true_and_its_twin_false(item: dict[str, Any]) -> None:
    assert keeps(item, true=True)
    assert not keeps(item, true=False)
    assert sound(item)
    swapped = {
        **item,
        "true_continuation": item["false_continuation"],
        "true_value": item["false_value"],
        "false_continuation": item["true_continuation"],
        "false_value": item["true_value"],
    }
    assert not sound(swapped)


@pytest.mark.parametrize("item", ITEMS, ids=[item["id"] for item in ITEMS])
def test_the_claimed_value_is_what_the_text_says(item: dict[str, Any]) -> None:
    for side in ("true", "false"):
        value, text = item[f"{side}_value"], item[f"{side}_continuation"].lower()
        if isinstance(value, int) and item["rule"] != "words shorter than":
            assert any(word in text for word in NUMBERS[value].split("|"))
        elif item["rule"].endswith("word") or item["rule"].startswith("word ") or item["rule"] == "repeats":
            assert value in words(text)


def test_there_are_twenty_items_and_each_has_a_control() -> None:
    assert len(ITEMS) >= 20
    assert len({item["id"] for item in ITEMS}) == len(ITEMS)
    for item in ITEMS:
        assert item["non_self_referential_beginning"] != item["beginning"]
        assert "following" in item["non_self_referential_beginning"]


def test_prompts_are_those_of_the_authors(data: Path) -> None:
    from string import Template

    folder = data / "i_am_a_strange_dataset"
    for control in (False, True):
        end = "_non_self_referential" if control else ""
        lines = (folder / f"prompt_data{end}.jsonl").read_text(encoding="utf-8").splitlines()
        examples = [json.loads(line) for line in lines]
        assert SHIPPED["control_examples" if control else "examples"] == examples
        texts = {
            f"few_shot_prompt_example_{i}_{j}": statement(example, true=not j, control=control)
            for i, example in enumerate(examples)
            for j in (0, 1)
        }
        plain = {f"{name}_answer": str(name.endswith("0")) for name in texts}
        reasoned = {
            f"few_shot_prompt_example_{i}_{j}_answer": example[f"cot_{['true', 'false'][j]}_answer"]
            for i, example in enumerate(examples)
            for j in (0, 1)
        }
        item = ITEMS[0]
        text = statement(item, true=True, control=control)
        for subtask, answers in (("zero_shot", plain), ("few_shot", plain), ("cot", reasoned)):
            template = Template((folder / f"{subtask}_prompt_template{end}.txt").read_text(encoding="utf-8"))
            expected = template.substitute({**texts, **answers, "example": text, "answer": ""}).rstrip(" ")
            suite = strange_dataset(subtasks=[subtask.replace("_", "-")])  # type: ignore[list-item]
            task = suite.tasks[int(control)]
            request = task.requests(task.samples()[0], PromptStyle())[0]
            assert (request.prompt if isinstance(request, Ask) else request.context) == expected


def test_a_model_without_preference_is_at_chance() -> None:
    def alike(context: str, text: str) -> float:
        return -2.5

    suite = strange_dataset()
    found = suite.summary(suite.name, evaluate_suite(Chooser(alike), suite))
    assert [value.value for value in found.values.values()] == [0.5] * 6
    assert {row[3] for row in found.tables[0].rows} == {"includes chance"}
    assert all(row[2] in (None, (0.5, 0.5, 0.5, len(ITEMS))) for row in found.tables[0].rows)


def test_knowing_the_truth_pays() -> None:
    truths = {statement(item, true=side, control=False): side for item in ITEMS for side in (True, False)}

    def rule(context: str, text: str) -> float:
        if not context:
            return -1.0 if truths[text] else -2.0
        asked = context.split("Example:\n\n")[-1].removesuffix("\n\nAnswer:")
        return -0.1 if (text == " True") == truths[asked] else -3.0

    def write(prompt: str) -> str:
        return f" {truths[prompt.split('Example:' + chr(10) * 2)[-1].removesuffix(chr(10) * 2 + 'Answer:')]}."

    suite = strange_dataset(subtasks=["generation", "zero-shot", "few-shot", "text", "cot"], controls=False)
    for done in evaluate_suite(Chooser(rule, write), suite):
        assert done.summary["accuracy"].value == 1.0
        assert done.summary.get("relative", done.summary["accuracy"]).value == 1.0


def test_the_order_of_answers_does_not_matter() -> None:
    """Likelihoods of the two answers do not depend on which is asked first, and text agrees with them."""
    task = strange_dataset(subtasks=["zero-shot"], controls=False).tasks[0]
    text = strange_dataset(subtasks=["text"], controls=False).tasks[0]

    def write(prompt: str) -> str:
        return " True" if at_random(prompt, " True") > at_random(prompt, " False") else " False"

    model = Chooser(at_random, write)
    for sample, other in zip(task.samples(), text.samples(), strict=True):
        requests = [
            request for request in task.requests(sample, PromptStyle()) if isinstance(request, Continuation)
        ]
        forward = model.score(requests)
        backward = model.score(requests[::-1])[::-1]
        assert task.grade(sample, forward) == task.grade(sample, backward)
        asks = [request.prompt for request in text.requests(other, PromptStyle()) if isinstance(request, Ask)]
        assert (
            text.grade(other, model.generate(asks)).values["accuracy"]
            == (task.grade(sample, forward).values["accuracy"])
        )


def test_values_by_hand() -> None:
    assert verification_values(-1, -2, -2, -1) == {"accuracy": 1.0, "relative": 1.0}
    assert verification_values(-2, -1, -1, -2) == {"accuracy": 0.0, "relative": 0.0}
    assert verification_values(-1, -2, -1.5, -2) == {"accuracy": 0.5, "relative": 1.0}
    assert verification_values(0, 0, 0, 0) == {"accuracy": 0.5, "relative": 0.5}


def test_replies_that_say_both_count_as_wrong() -> None:
    task = strange_dataset(subtasks=["cot"], controls=False).tasks[0]
    both = [Generation("It is true, not false."), Generation("So, the statement is false.")]
    assert dict(task.grade(task.samples()[0], both).values) == {"accuracy": 0.5, "answered": 0.5}


def test_official_files_are_read_and_examples_left_out(tmp_path: Path) -> None:
    file = tmp_path / "i_am_a_strange_dataset.jsonl"
    own = {"beginning": "This has", "true_continuation": " three words", "false_continuation": " two words"}
    rows = [{**own, "id": 7, "tags": ["negation"]}, {**SHIPPED["examples"][0]}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    suite = strange_dataset(data=str(tmp_path))
    assert [task.name for task in suite.tasks] == ["strange-generation", "strange-zero-shot", "strange-few-shot"]
    assert [sample.id for sample in suite.tasks[0].samples()] == ["7"]
    assert evaluate(Chooser(uniform), suite.tasks[0]).groups.keys() == {"negation"}
    file.write_text(json.dumps({"beginning": "x"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r":1: has no text 'true_continuation'"):
        strange_dataset(data=str(file))
    with pytest.raises(UsageError, match="decrypt the data set"):
        strange_dataset(data=str(tmp_path / ".."))


def test_rules_refuse_what_they_do_not_know() -> None:
    with pytest.raises(InputError, match="no such rule 'rhymes'"):
        keeps({"id": "x", "rule": "rhymes"}, true=True)
