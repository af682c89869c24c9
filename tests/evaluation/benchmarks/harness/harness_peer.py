"""lm-evaluation-harness on the same documents: its own task files, with only the data redirected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.harness.config import config_file, read_config
from steelyard.evaluation.benchmarks.harness.lm_eval_harness import lm_eval_harness
from steelyard.evaluation.benchmarks.harness.logs import results_record
from steelyard.evaluation.evaluate import evaluate

FIXTURES = Path(__file__).parents[2] / "fixtures" / "lm_eval_harness"

THEIR_FILES: Mapping[str, str] = {
    "arc_challenge": "arc/arc_challenge.yaml",
    "piqa": "piqa/piqa.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "commonsense_qa": "commonsense_qa/default.yaml",
    "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml",
    "truthfulqa_mc2": "truthfulqa/truthfulqa_mc2.yaml",
    "gsm8k": "gsm8k/gsm8k.yaml",
    "bbh_cot_fewshot_boolean_expressions": "bbh/cot_fewshot/boolean_expressions.yaml",
    "bbh_cot_fewshot_object_counting": "bbh/cot_fewshot/object_counting.yaml",
    "bbh_cot_fewshot_sports_understanding": "bbh/cot_fewshot/sports_understanding.yaml",
    "wikitext": "wikitext/wikitext.yaml",
    "lambada_openai": "lambada/lambada_openai.yaml",
}
"""The harness's own file of each bundled configuration."""


class Pair(NamedTuple):
    """One task as Steelyard builds it and as the harness does, and the samples that both have."""

    ours: BenchmarkTask
    theirs: Any
    ids: tuple[str, ...]


def source(name: str, data: Path) -> Path:
    """Where the documents of a task lie: public data, or own texts where there are none."""
    own = {"wikitext": FIXTURES / "wikitext", "lambada_openai": FIXTURES / "lambada"}
    public = {"openbookqa": "arc_challenge", "commonsense_qa": "commonsenseqa"}
    if name in own:
        return own[name]
    folder = "bbh" if name.startswith("bbh") else "truthfulqa" if name.startswith("truthful") else name
    return data / public.get(folder, folder)


class Shortening(NamedTuple):
    """What makes a comparison cheap: at most so many tokens generated and solved examples shown."""

    tokens: int | None = None
    shots: int | None = None


WHOLE = Shortening()


def shortened(name: str, folder: Path, short: Shortening) -> str:
    """A bundled configuration, or a copy of it that generates fewer tokens."""
    config = read_config(config_file(name))
    if short.tokens is None or config.output_type != "generate_until":
        return name
    written = config.model_dump(mode="json", exclude_defaults=True)
    written["generation_kwargs"]["max_gen_toks"] = short.tokens
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(written, allow_unicode=True), encoding="utf-8")
    return str(file)


def pair(name: str, data: Path, folder: Path, *, limit: int | None, short: Shortening = WHOLE) -> Pair:
    """Both tasks over ``limit`` documents (None: all): those with the fewest choices, or the first."""
    config = read_config(config_file(name))
    shots = None if short.shots is None else min(short.shots, config.num_fewshot)
    ours = lm_eval_harness(config=shortened(name, folder, short), data=str(source(name, data)), num_fewshot=shots)
    samples = sorted(ours.samples(), key=lambda s: len(s.data.get("choices", ())))[:limit]
    pool = list(ours.ask.__self__.prompter.pool)  # type: ignore[attr-defined]
    splits = {ours.settings["split"]: [sample.data["doc"] for sample in samples]}
    if config.fewshot_split and not name.startswith("bbh"):
        splits[config.fewshot_split] = pool or splits[ours.settings["split"]]  # an empty split cannot be read
    return Pair(ours, their_task(name, splits, folder, short), tuple(sample.id for sample in samples))


def their_task(name: str, splits: Mapping[str, Sequence[Any]], folder: Path, short: Shortening) -> Any:
    """The harness's task of its own file, over documents written to ``folder``."""
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    files = {}
    for split, documents in splits.items():
        file = folder / f"{name}-{split}.jsonl"
        lines = [json.dumps(document, ensure_ascii=False) + "\n" for document in documents]
        file.write_text("".join(lines), encoding="utf-8")
        files[split] = str(file)
    config = load_yaml(Path(lm_eval.__path__[0]) / "tasks" / THEIR_FILES[name])
    config |= {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        "training_split": "train" if "train" in splits else None,
        "validation_split": "validation" if "validation" in splits else None,
        "test_split": "test" if "test" in splits else None,
    }
    if short.tokens is not None and config["output_type"] == "generate_until":
        config["generation_kwargs"] = {**config["generation_kwargs"], "max_gen_toks": short.tokens}
    if short.shots is not None and config.get("num_fewshot"):
        config["num_fewshot"] = min(short.shots, config["num_fewshot"])
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(seed=1234)
    return task


def their_requests(task: Any, limit: int) -> list[list[tuple[Any, ...]]]:
    """The arguments of the harness's requests, a list a document."""
    task.build_all_requests(limit=limit)
    grouped: dict[int, list[tuple[Any, ...]]] = {}
    for instance in task.instances:
        grouped.setdefault(instance.doc_id, []).append(instance.args)
    return list(grouped.values())


class Compared(NamedTuple):
    """One task measured by both.

    ``differing`` names the samples and metrics whose marks differ, ``largest_gap`` is the largest difference of a
    log-likelihood in nats, ``texts`` how many generated texts differ, ``ours`` and ``theirs`` the task's results.
    """

    samples: int
    differing: tuple[str, ...]
    largest_gap: float
    texts: int
    ours: Mapping[str, float]
    theirs: Mapping[str, float]


def compared(pairs: Sequence[Pair], model: Any) -> dict[str, Compared]:
    """Every pair measured by both on one model, as many samples as the harness's task has."""
    from lm_eval.evaluator import evaluate as their_evaluate
    from lm_eval.models.huggingface import HFLM

    length = model.engine.context_length
    lm = HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=4, max_length=length)
    tasks = {one.theirs.config.task: one.theirs for one in pairs}
    done = their_evaluate(lm, {"tasks": tasks, "groups": {}, "group_map": {}}, bootstrap_iters=100)
    return {one.ours.name: _compare(one, model, done) for one in pairs}


def _compare(one: Pair, model: Any, done: Mapping[str, Any]) -> Compared:
    logged = done["samples"][one.ours.name]
    mine = evaluate(model, one.ours, sample_ids=one.ids)
    by_id = {result.sample_id: result for result in mine.results}
    differing: list[str] = []
    gap, texts = 0.0, 0
    for record in logged:
        result = by_id[one.ids[record["doc_id"]]]
        for name in record["metrics"]:
            key = name if record["filter"] == "none" else f"{name},{record['filter']}"
            if abs(_plain(record[name], name) - result.marks.values[key]) > 2e-3:
                differing.append(f"{result.sample_id} {key}")
        for response, theirs in zip(result.responses, record["resps"], strict=True):
            if response["kind"] == "generate":
                texts += response["text"] != theirs[0]
            else:
                value = theirs[0][0] if isinstance(theirs[0], tuple | list) else theirs[0]
                gap = max(gap, abs(float(response["logprob"]) - float(value)))
    results = {k: v for k, v in done["results"][one.ours.name].items() if isinstance(v, float)}
    own = results_record(one.ours, mine)["results"][one.ours.name]
    return Compared(len(one.ids), tuple(differing), gap, texts, own, results)


def _plain(value: Any, name: str) -> float:
    """A harness's per-sample value as Steelyard's: surprisal per unit for the perplexities."""
    if isinstance(value, tuple | list):
        logprob, size = value
        return float(-logprob / size / (math.log(2) if name == "bits_per_byte" else 1))
    return -float(value) if name == "perplexity" else float(value)
