"""lm-evaluation-harness on the same documents: its own task files, with only the data redirected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.lm_eval_harness import lm_eval_harness
from steelyard.evaluation.harness.config import config_file, read_config

FIXTURES = Path(__file__).parents[1] / "fixtures" / "lm_eval_harness"

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
    """One task as Steelyard builds it and as the harness does."""

    ours: BenchmarkTask
    theirs: Any


def source(name: str, data: Path) -> Path:
    """Where the documents of a task lie: public data, or own texts where there are none."""
    own = {"wikitext": FIXTURES / "wikitext", "lambada_openai": FIXTURES / "lambada"}
    public = {"openbookqa": "arc_challenge", "commonsense_qa": "commonsenseqa"}
    if name in own:
        return own[name]
    folder = "bbh" if name.startswith("bbh") else "truthfulqa" if name.startswith("truthful") else name
    return data / public.get(folder, folder)


def shortened(name: str, folder: Path, tokens: int | None) -> str:
    """A bundled configuration, or a copy of it that generates at most ``tokens`` tokens."""
    config = read_config(config_file(name))
    if tokens is None or config.output_type != "generate_until":
        return name
    written = config.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    written["generation_kwargs"]["max_gen_toks"] = tokens
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(written, allow_unicode=True), encoding="utf-8")
    return str(file)


def pair(name: str, data: Path, folder: Path, *, tokens: int | None = None, limit: int | None = None) -> Pair:
    """Both tasks over the first ``limit`` documents (all, where examples are drawn from other documents)."""
    ours = lm_eval_harness(config=shortened(name, folder, tokens), data=str(source(name, data)))
    documents = [sample.data["doc"] for sample in ours.samples()][:limit]
    config = read_config(config_file(name))
    pool = list(ours.ask.__self__.prompter.pool)  # type: ignore[attr-defined]
    splits = {ours.settings["split"]: documents}
    if config.fewshot_split and not name.startswith("bbh"):
        splits[config.fewshot_split] = pool
    return Pair(ours, their_task(name, splits, folder, tokens))


def their_task(name: str, splits: Mapping[str, Sequence[Any]], folder: Path, tokens: int | None = None) -> Any:
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
    if tokens is not None and config["output_type"] == "generate_until":
        config["generation_kwargs"] = {**config["generation_kwargs"], "max_gen_toks": tokens}
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
