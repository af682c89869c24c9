"""Configurations as untrusted data, layouts of data on disk, and logs: what needs no harness to compare with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from steelyard.contracts import Score
from steelyard.errors import InputError, SteelyardError, UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.harness.aggregation import estimate, standard_error
from steelyard.evaluation.benchmarks.harness.layouts import LAYOUTS, pages, read_layout
from steelyard.evaluation.benchmarks.harness.lm_eval_harness import lm_eval_harness
from steelyard.evaluation.benchmarks.harness.logs import hash_text, results_record, write_logs
from steelyard.evaluation.benchmarks.harness.templates import render
from steelyard.evaluation.evaluate import evaluate
from steelyard.models.loading import load_model

FIXTURES = Path(__file__).parents[2] / "fixtures" / "lm_eval_harness"
CONFIG: dict[str, Any] = {
    "task": "own",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "own.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "Q: {{q}}\nA:",
    "doc_to_target": "label",
    "doc_to_choice": "choices",
}
ROWS = [
    {"q": "What barks?", "choices": ["fish", "a dog of the house"], "label": 1},
    {"q": "What purrs?", "choices": ["a cat", "stone"], "label": 0},
    {"q": "What flies?", "choices": ["a bird", "a brick"], "label": 0},
]


def built(
    folder: Path, text: str | None = None, settings: dict[str, Any] | None = None, **changes: Any
) -> BenchmarkTask:
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (folder / "own.yaml").write_text(text or yaml.safe_dump({**CONFIG, **changes}), encoding="utf-8")
    return lm_eval_harness(config=str(folder / "own.yaml"), **(settings or {}))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"doc_to_txt": "x"}, "'doc_to_txt' is not supported; did you mean 'doc_to_text'"),
    "unknown kind": ({"output_type": "guess"}, "output_type: Input should be"),
    "unknown field": (
        {"doc_to_text": "{{nope}}"},
        r"document 0: doc_to_text: .*'nope' is undefined.*has q, choices",
    ),
    "python in a template": ({"doc_to_text": "{{ q.__class__.__mro__ }}"}, "unsafe"),
    "a call to a module": ({"doc_to_text": "{{ cycler.__init__.__globals__ }}"}, "unsafe"),
    "changing a document": ({"doc_to_text": "{{ choices.append('x') }}"}, "unsafe"),
    "a giant text": ({"doc_to_text": "{{ q * 1000000 }}"}, "longer than"),
    "a giant number": ({"doc_to_text": "{{ 9 ** 99999 }}"}, "power"),
    "a giant loop": ({"doc_to_text": "{% for i in range(9999999999) %}x{% endfor %}"}, "Range too big"),
    "bad template": ({"doc_to_text": "{{ q "}, "template cannot be filled in"),
    "choices that are no list": ({"doc_to_choice": "{{q}}"}, "doc_to_choice: .* is not a list"),
    "files elsewhere": ({"dataset_kwargs": {"data_files": {"test": "../secret.jsonl"}}}, "lies outside"),
    "absolute files": ({"dataset_kwargs": {"data_files": {"test": "/etc/hosts"}}}, "lies outside"),
    "missing files": ({"dataset_kwargs": {"data_files": {"test": "none.jsonl"}}}, "no such file"),
    "unknown layout": ({"dataset_kwargs": {"layout": "arcc"}}, "unknown layout 'arcc'; did you mean 'arc'"),
    "unknown metric": ({"metric_list": [{"metric": "accc"}]}, "no metric 'accc'; did you mean 'acc'"),
    "option of a metric": ({"metric_list": [{"metric": "acc", "ignore_case": True}]}, "no option 'ignore_case'"),
    "other aggregation": ({"metric_list": [{"metric": "acc", "aggregation": "median"}]}, "aggregated by mean"),
    "wrong direction": ({"metric_list": [{"metric": "acc", "higher_is_better": False}]}, "is True"),
    "unknown filter": (
        {"filter_list": [{"name": "x", "filter": [{"function": "regexp"}]}]},
        "did you mean 'regex'",
    ),
    "bad pattern": (
        {"filter_list": [{"name": "x", "filter": [{"function": "regex", "regex_pattern": "("}]}]},
        "no regular expression",
    ),
    "unknown process": ({"process_docs": "utils.run"}, "process_docs: unknown function"),
    "unknown results": ({"process_results": "utils.run"}, "process_results: unknown function"),
    "results of another kind": (
        {"process_results": "wikitext-counts"},
        "is for output_type loglikelihood_rolling",
    ),
    "sampling without temperature": ({"generation_kwargs": {"do_sample": True}}, "needs a temperature"),
    "unknown generation": ({"generation_kwargs": {"beams": 3}}, "unknown option 'beams'"),
    "too many examples": ({"num_fewshot": 3}, "3 examples were asked for"),
    "include of elsewhere": ({"include": "/etc/hosts.yaml"}, "lies outside the file's folder"),
    "include of itself": ({"include": "own.yaml"}, "circle"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_configurations_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(SteelyardError, match=message) as caught:
        built(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_code_is_refused_with_its_line(tmp_path: Path) -> None:
    text = yaml.safe_dump(CONFIG) + "process_docs: !function utils.run\n"
    with pytest.raises(InputError, match=rf"own.yaml:{text.count(chr(10))}: !function runs Python code"):
        built(tmp_path, text=text)


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="unknown task configuration 'arc_chalenge'; did you mean 'arc_challenge'"
    ):
        lm_eval_harness(config="arc_chalenge")
    with pytest.raises(UsageError, match="own has no metric 'acc_nrm'; did you mean 'acc_norm'"):
        built(tmp_path, settings={"metric": "acc_nrm"})
    with pytest.raises(UsageError, match="neither test_split nor validation_split"):
        built(tmp_path, test_split=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no file of the split 'validation'.*download AI2 Reasoning Challenge"):
        lm_eval_harness(config="arc_challenge", data=str(tmp_path / "empty"), split="validation")


def test_length_tells_raw_from_normalised_accuracy(tmp_path: Path) -> None:
    """The right answer is long: least likely as a whole, most likely per character."""
    task = built(tmp_path)
    sample = task.samples()[0]
    scores = [Score(per * len(choice), (per,), ("x",), 1, False) for per, choice in
              zip((-0.5, -0.4), sample.data["choices"], strict=True)]  # fmt: skip
    values = task.grade(sample, scores).values
    assert scores[0].logprob > scores[1].logprob
    assert (values["acc"], values["acc_norm"]) == (0.0, 1.0)


def test_standard_error_is_the_formula_and_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    values = (rng.random(400) < 0.3).astype(float)
    p = values.mean()
    formula = math.sqrt(p * (1 - p) / (len(values) - 1))
    assert standard_error(values.tolist()) == pytest.approx(formula)
    draws = rng.choice(values, size=(4000, len(values))).mean(axis=1)
    assert standard_error(values.tolist()) == pytest.approx(draws.std(ddof=1), rel=0.05)


def test_standard_errors_of_perplexities_agree_with_the_bootstrap(tmp_path: Path) -> None:
    task = built(tmp_path, output_type="loglikelihood_rolling", doc_to_target="{{q}}", doc_to_choice=None)
    rng = np.random.default_rng(4)
    marks = []
    for number in range(300):
        logprob = -float(rng.gamma(20, 1.0))
        marks.append(task.grade(task.samples()[number % 3], [Score(logprob, (logprob,), ("x",), 1, False)]))
    for key, rule in (("bits_per_byte", "bits_per_byte"), ("word_perplexity", "weighted_perplexity")):
        found = estimate(key, rule, marks)  # type: ignore[arg-type]
        sizes = np.array([mark.weights[key] for mark in marks])
        amounts = np.array([mark.values[key] for mark in marks]) * sizes
        picked = rng.integers(0, 300, size=(2000, 300))
        ratios = amounts[picked].sum(axis=1) / sizes[picked].sum(axis=1)
        draws = ratios if key == "bits_per_byte" else np.exp(ratios)
        assert found.stderr == pytest.approx(draws.std(ddof=1), rel=0.1)
        assert found.interval.low < found.interval.value < found.interval.high


def test_the_same_run_writes_the_same_bytes(tmp_path: Path, tiny_folder: Path) -> None:
    model = load_model(str(tiny_folder))
    written = []
    for run in ("first", "second"):
        task = built(tmp_path, num_fewshot=1, fewshot_split="test")
        files = write_logs(task, evaluate(model, task), tmp_path / run)
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    results, samples = (
        json.loads(text.splitlines()[0]) if i else json.loads(text) for i, text in enumerate(written[0])
    )
    assert results["n-shot"] == {"own": 1}
    assert set(results["results"]["own"]) == {
        "acc,none",
        "acc_stderr,none",
        "acc_norm,none",
        "acc_norm_stderr,none",
    }
    assert samples["prompt_hash"] == hash_text(samples["requests"][0]["context"])
    assert samples["doc_hash"] == hash_text(json.dumps(ROWS[0], indent=2, ensure_ascii=False))
    other = built(tmp_path, settings={"fewshot_seed": 7}, num_fewshot=1, fewshot_split="test")
    assert results_record(other, evaluate(model, other))["task_fingerprint"] != results["task_fingerprint"]


def test_logs_are_for_these_tasks_only(tmp_path: Path, tiny_folder: Path) -> None:
    from dataclasses import replace

    task = built(tmp_path)
    done = evaluate(load_model(str(tiny_folder)), task)
    with pytest.raises(UsageError, match="not a task of lm-eval-harness"):
        results_record(replace(task, ask=lambda sample, style: []), done)


def test_forms_of_a_data_set_become_one_document() -> None:
    documents = read_layout(LAYOUTS["arc"], FIXTURES / "arc" / "test.jsonl")
    assert [list(document) for document in documents] == [["question", "choices", "answerKey"]] * 3
    assert documents[1]["choices"]["label"] == ["1", "2", "3"]
    assert documents[2]["answerKey"] == "C"


@pytest.mark.parametrize(
    ("layout", "record", "expected"),
    [
        (
            "piqa",
            {"question": "Open a jar", "choices": ["twist", "sing"], "label": 0},
            {"sol1": "twist", "label": 0},
        ),
        ("piqa", {"goal": "Open", "sol1": "a", "sol2": "b", "label": 1}, {"goal": "Open", "label": 1}),
        (
            "boolq",
            {"question": "is ice cold?", "label": 1},
            {"question": "is ice cold", "passage": "", "label": 1},
        ),
        ("boolq", {"question": "is ice hot", "answer": False, "passage": "Ice."}, {"label": 0, "passage": "Ice."}),
        (
            "openbookqa",
            {"question": {"stem": "Ice is", "choices": [{"text": "cold", "label": "A"}]}, "answerKey": "A"},
            {"question_stem": "Ice is", "answerKey": "A"},
        ),
        (
            "truthfulqa",
            {"Question": "Q?", "Best Answer": "b", "Correct Answers": "b; c", "Incorrect Answers": "d;"},
            {"mc1_targets": {"choices": ["b", "d"], "labels": [1, 0]}},
        ),
        (
            "truthfulqa",
            {"question": "Q?", "mc1_targets": {"b": 1, "d": 0}, "mc2_targets": {"b": 1, "c": 1, "d": 0}},
            {"mc2_targets": {"choices": ["b", "c", "d"], "labels": [1, 1, 0]}},
        ),
    ],
)
def test_records_of_layouts(layout: str, record: dict[str, Any], expected: dict[str, Any]) -> None:
    document = LAYOUTS[layout].document(record)
    assert {key: document[key] for key in expected} == expected


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"question": "x", "choices": ["a"], "label": 0}\n{"question": "y"}\n')
    with pytest.raises(InputError, match=r"test.jsonl:2: not a record of this data set"):
        lm_eval_harness(config="arc_challenge", data=str(tmp_path))


def test_worked_examples_of_a_prompt_file(tmp_path: Path) -> None:
    (tmp_path / "cot-prompts").mkdir()
    prompts = "a notice\n-----\nAdd.\n\nQ: 1+1?\nA: Let's think step by step.\nIt is 2.\n\nSo the answer is 2.\n\n"
    block = "Q: 2+2?\nA: Let's think step by step. It is 4. So the answer is 4."
    (tmp_path / "cot-prompts" / "boolean_expressions.txt").write_text(prompts + block)
    (tmp_path / "boolean_expressions.json").write_text('{"examples": [{"input": "3+3?", "target": "6"}]}')
    task = lm_eval_harness(config="bbh_cot_fewshot_boolean_expressions", data=str(tmp_path), num_fewshot=2)
    assert (
        task.samples()[0]
        .data["prompt"]
        .endswith(
            "Q: 2+2?\nA: Let's think step by step.\nIt is 4. So the answer is 4.\n\n"
            "Q: 3+3?\nA: Let's think step by step.\n"
        )
    )


def test_articles_are_cut_at_top_headings() -> None:
    text = (FIXTURES / "wikitext" / "test.txt").read_text(encoding="utf-8")
    found = pages(text)
    assert [page.strip().splitlines()[0].strip() for page in found] == [
        "= The lighthouse at Grey Point =",
        "= The mill =",
    ]
    assert "".join(found) in text


def test_templates_replace_by_patterns() -> None:
    assert render("{{ q | regex_replace('[aeiou]', '_') }}", {"q": "table"}, "doc_to_text") == "t_bl_"
