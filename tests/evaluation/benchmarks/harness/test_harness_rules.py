"""Rules of prompts, samplers, filters and metrics against the harness's own functions, on own documents."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.harness.harness_peer import FIXTURES
from steelyard.contracts import Ask, Continuation, Generation, Message, PromptStyle, Score
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.harness.aggregation import estimate
from steelyard.evaluation.benchmarks.harness.config import FilterConfig
from steelyard.evaluation.benchmarks.harness.documents import wikitext_detokenized
from steelyard.evaluation.benchmarks.harness.filters import apply_filter
from steelyard.evaluation.benchmarks.harness.lm_eval_harness import lm_eval_harness
from steelyard.evaluation.benchmarks.harness.prompts import draw_examples

DOCUMENTS = [
    {"q": "What barks?", "choices": ["a trout", "a big dog"], "label": 1, "answer": "a big dog", "lead": "It is"},
    {"q": "What purrs?", "choices": ["a cat", "a stone"], "label": 0, "answer": "a cat", "lead": "I say"},
    {"q": "What flies?", "choices": ["an äther-bird", "a brick"], "label": 0, "answer": "a bird", "lead": ""},
    {"q": "What swims?", "choices": ["a fish", "sand"], "label": 0, "answer": "A fish!", "lead": "Surely"},
]
BASE: Mapping[str, Any] = {
    "task": "own",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "own.json"}},
    "test_split": "test",
    "doc_to_text": "Q: {{q}}\nA:",
}
CHOICES: Mapping[str, Any] = {**BASE, "output_type": "multiple_choice", "doc_to_target": "label"}
ANSWERS: Mapping[str, Any] = {**BASE, "output_type": "generate_until", "doc_to_target": "answer"}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "field of choices": {**CHOICES, "doc_to_choice": "choices"},
    "few-shot from the same split": {
        **CHOICES,
        "doc_to_choice": "choices",
        "num_fewshot": 2,
        "fewshot_split": "test",
    },
    "first examples of the same split": {
        **CHOICES,
        "doc_to_choice": "choices",
        "num_fewshot": 2,
        "fewshot_split": "test",
        "fewshot_config": {"sampler": "first_n"},
    },
    "a description that is a template": {**CHOICES, "doc_to_choice": "choices", "description": "On {{q}}\n\n"},
    "a dictionary of choices": {**CHOICES, "doc_to_choice": {"no": "nay", "yes": "yea"}},
    "choices in the question": {
        **BASE,
        "output_type": "multiple_choice",
        "doc_to_text": "label",
        "doc_to_choice": "{{[q + ' ' + choices[0], q + ' ' + choices[1]]}}",
        "doc_to_target": "{{answer}}",
        "num_fewshot": 1,
        "fewshot_split": "test",
    },
    "a prefix of the answer": {
        **ANSWERS,
        "gen_prefix": "{{lead}}",
        "num_fewshot": 1,
        "fewshot_split": "test",
        "target_delimiter": "\n",
    },
    "examples in the file": {
        **ANSWERS,
        "num_fewshot": 2,
        "fewshot_config": {
            "sampler": "first_n",
            "samples": [{"q": "1+1?", "answer": "2"}, {"q": "2+2?", "answer": "['4', 'four']"}],
            "fewshot_delimiter": "\n---\n",
            "doc_to_text": "Sum: {{q}}",
        },
    },
    "mutual information": {**CHOICES, "doc_to_choice": "choices", "metric_list": [{"metric": "acc_mutual_info"}]},
    "several answers": {**ANSWERS, "doc_to_target": "{{[answer, q]}}"},
    "a whole text": {**BASE, "output_type": "loglikelihood_rolling", "doc_to_target": "{{q}} {{answer}}"},
    "one target": {**BASE, "output_type": "loglikelihood", "doc_to_target": "{{' ' + answer}}"},
}


def both(config: Mapping[str, Any], folder: Path) -> tuple[BenchmarkTask, Any]:
    """The task of Steelyard and of the harness for one configuration over :data:`DOCUMENTS`."""
    import json

    from lm_eval.api.task import ConfigurableTask

    (folder / "own.json").write_text("".join(json.dumps(one) + "\n" for one in DOCUMENTS), encoding="utf-8")
    (folder / "own.jsonl").write_text((folder / "own.json").read_text(encoding="utf-8"), encoding="utf-8")
    mine = {**config, "dataset_kwargs": {"data_files": {"test": "own.jsonl"}}}
    (folder / "own.yaml").write_text(yaml.safe_dump(mine), encoding="utf-8")
    place = {"data_files": {"test": str(folder / "own.json")}, "cache_dir": str(folder / "cache")}
    theirs = ConfigurableTask(config={**config, "dataset_kwargs": place})
    theirs.set_fewshot_seed(seed=1234)
    return lm_eval_harness(config=str(folder / "own.yaml")), theirs


def grouped(task: Any, **options: Any) -> list[list[tuple[Any, ...]]]:
    task.build_all_requests(**options)
    found: dict[int, list[tuple[Any, ...]]] = {}
    for instance in task.instances:
        found.setdefault(instance.doc_id, []).append(instance.args)
    return list(found.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_requests(variant: str, tmp_path: Path) -> None:
    ours, theirs = both(VARIANTS[variant], tmp_path)
    for sample, asked in zip(ours.samples(), grouped(theirs), strict=True):
        for request, arguments in zip(ours.requests(sample, PromptStyle()), asked, strict=True):
            if isinstance(request, Ask):
                assert request.prompt == arguments[0]
            else:
                text = (request.text,) if len(arguments) == 1 else (request.context, request.text)
                assert text == arguments


@pytest.mark.parametrize("variant", ["few-shot from the same split", "a description that is a template"])
def test_conversations(variant: str, tmp_path: Path) -> None:
    """A chat template is given the same turns, and choices lose their delimiter."""

    def template(turns: Sequence[Any], add_generation_prompt: bool = True) -> str:
        return "|".join(f"{turn['role']}:{turn['content']}" for turn in turns)

    ours, theirs = both(VARIANTS[variant], tmp_path)
    options = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": template}
    for sample, asked in zip(ours.samples(), grouped(theirs, **options), strict=True):
        for request, arguments in zip(ours.requests(sample, PromptStyle("chat")), asked, strict=True):
            assert isinstance(request, Continuation)
            turns = [{"role": m.role, "content": m.content} for m in request.context if isinstance(m, Message)]
            assert (template(turns), request.text) == arguments


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.sampled_from(["default", "first_n"]), st.booleans(), st.integers(0, 9))
def test_samplers(shots: int, sampler: str, same: bool, seed: int) -> None:
    from lm_eval.api.samplers import get_sampler

    pool: list[dict[str, Any]] = [{"n": 1}, {"n": 2}, {"n": 2}, {"n": 3}, {"n": 4}, {"n": 5}]
    theirs = get_sampler(sampler)(pool, rnd=None)
    theirs.set_rnd(seed)
    found = draw_examples(pool, pool, shots, sampler=sampler, seed=seed, same_split=same)
    for document, shown in zip(pool, found, strict=True):
        expected = theirs.sample(shots, eval_doc=document if same else None) if shots else []
        assert [pool[number] for number in shown] == list(expected)


OUTPUTS = [
    "The answer is 1,234.50.\n#### 1,234",
    "#### -5 and #### 7",
    "So the answer is (B). Done",
    "I choose: B",
    "a big dog",
    "A BIG DOG!",
    "12 boxes of $3 make $36.",
    "",
    "   no number here  ",
]
STEPS: list[dict[str, Any]] = [
    {"function": "regex"},
    {"function": "regex", "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1},
    {"function": "regex", "regex_pattern": "(?<=the answer is )(.*)(?=.)", "fallback": "none"},
    {"function": "multi_choice_regex", "regex_pattern": r"(\([A-Z]\))"},
    {
        "function": "multi_choice_regex",
        "regex_pattern": r"(\([A-Z]\))",
        "ignore_case": True,
        "ignore_punctuation": True,
    },
    {"function": "remove_whitespace"},
    {"function": "lowercase"},
    {"function": "uppercase"},
    {"function": "map", "mapping_dict": {"a big dog": "dog"}, "default_value": "other"},
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step["function"]))
def test_filters(step: dict[str, Any]) -> None:
    from lm_eval.filters import build_filter_ensemble

    options = {key: value for key, value in step.items() if key != "function"}
    theirs = build_filter_ensemble("x", [[step["function"], options], ["take_first", None]])  # type: ignore[list-item]
    chain = FilterConfig.model_validate({"name": "x", "filter": [step, {"function": "take_first"}]})
    left: Any = [[output] for output in OUTPUTS]
    for made in theirs.filters:
        left = made().apply(left, [DOCUMENTS[0]] * len(OUTPUTS))
    assert [apply_filter(chain, [output], DOCUMENTS[0]) for output in OUTPUTS] == list(left)


def test_majority_vote() -> None:
    vote = [{"function": "take_first_k", "k": 3}, {"function": "majority_vote"}, {"function": "take_first"}]
    chain = FilterConfig.model_validate({"name": "vote", "filter": vote})
    assert apply_filter(chain, ["7", "8", "8", "7", "7"], {}) == "8"


METRICS = ["acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "brier_score", "f1", "mcc"]


def test_metrics_of_choices(tmp_path: Path) -> None:
    """Every metric of multiple choice, a sample's value and the whole task's, on random log-likelihoods."""
    config = {**CHOICES, "doc_to_choice": "choices", "metric_list": [{"metric": name} for name in METRICS]}
    ours, theirs = both(config, tmp_path)
    rng = random.Random(5)
    raw: dict[str, list[Any]] = {name: [] for name in METRICS}
    marks = []
    for _ in range(6):
        for sample in ours.samples():
            values = [(-rng.uniform(1, 9), rng.random() < 0.3) for _ in range(4)]
            scores = [Score(logprob, (logprob,), ("x",), 1, greedy) for logprob, greedy in values]
            marks.append(ours.grade(sample, scores))
            expected = theirs.process_results(sample.data["doc"], values)
            for name in METRICS:
                raw[name].append(expected[name])
                if name not in ("brier_score", "f1", "mcc"):
                    assert marks[-1].values[name] == expected[name], name
    rules = ours.ask.__self__.rules  # type: ignore[attr-defined]
    for name in METRICS:
        whole = theirs.aggregation()[name](raw[name])
        assert estimate(name, rules[name], marks).interval.value == pytest.approx(float(whole)), name


TEXTS = ["a big dog", "The cat sat on the mat.", "A bird, flying", "a fish", "nothing at all", "a big cat sat"]


def test_metrics_of_answers(tmp_path: Path) -> None:
    """Exact match with what it ignores, and the corpus metrics, on fixed answers."""
    names = ["bleu", "chrf", "chrf++", "ter"]
    options = {
        "ignore_case": True,
        "ignore_punctuation": True,
        "ignore_numbers": True,
        "regexes_to_ignore": ["^a "],
    }
    listed = [{"metric": "exact_match", **options}, *({"metric": name} for name in names)]
    ours, theirs = both({**ANSWERS, "metric_list": listed}, tmp_path)
    raw: dict[str, list[Any]] = {name: [] for name in ("exact_match", *names)}
    marks = []
    for text in TEXTS:
        for sample in ours.samples():
            marks.append(ours.grade(sample, [Generation(text)]))
            expected = theirs.process_results(sample.data["doc"], [text])
            for name, values in raw.items():
                values.append(expected[name])
            assert marks[-1].values["exact_match"] == expected["exact_match"]
    for name, values in raw.items():
        rule: Any = "mean" if name == "exact_match" else name
        whole = float(theirs.aggregation()[name](values))
        assert estimate(name, rule, marks).interval.value == pytest.approx(whole), name
    assert 0 < np.mean(raw["exact_match"]) < 1


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
def test_perplexities(kind: str, tmp_path: Path) -> None:
    ours, theirs = both({**BASE, "output_type": kind, "doc_to_target": "{{q}} {{answer}}"}, tmp_path)
    raw: dict[str, list[Any]] = {}
    marks = []
    for number, sample in enumerate(ours.samples()):
        logprob = -5.0 - number
        marks.append(ours.grade(sample, [Score(logprob, (logprob,), ("x",), 1, number % 2 == 0)]))
        rolling = kind == "loglikelihood_rolling"
        given_to_it = [logprob] if rolling else [(logprob, number % 2 == 0)]
        for name, value in theirs.process_results(sample.data["doc"], given_to_it).items():
            raw.setdefault(name, []).append(value)
    summary = ours.summarise(marks, [1.0] * len(marks))
    assert set(summary) == set(raw)
    for name, values in raw.items():
        assert summary[name].value == pytest.approx(theirs.aggregation()[name](values)), name


def test_wikitext_is_detokenized_alike() -> None:
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    page = (FIXTURES / "wikitext" / "test.txt").read_text(encoding="utf-8")
    for text in (page, "( a ) [ b ] { c } ' d ' 1 ° N x 's = = = = s ' t /' [0-9]/"):
        assert wikitext_detokenized({"page": text})["text"] == wikitext_detokenizer({"page": text})
