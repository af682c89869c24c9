"""Logs of a harness task in the harness's own form: what was asked, what came back, hashes, standard errors.

The same configuration, data and model give the same bytes: a log holds no times and no dates.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steelyard.errors import UsageError
from steelyard.evaluation.benchmark_task import BenchmarkTask
from steelyard.evaluation.benchmarks.harness.aggregation import estimate
from steelyard.evaluation.benchmarks.harness.items import Items
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.statistics import interval_record


def hash_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal: the harness's hash."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def results_record(task: BenchmarkTask, done: Evaluation) -> dict[str, Any]:
    """The results of one evaluation: ``METRIC,FILTER`` with ``METRIC_stderr,FILTER``, version, shots and seeds.

    Standard errors are the harness's for means, s / sqrt(n); for perplexities and corpus metrics, where the
    harness has a bootstrap or none, see :mod:`steelyard.evaluation.benchmarks.harness.aggregation`. ``intervals``
    has Steelyard's.
    """
    items = _items(task)
    results: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for key, rule in items.rules.items():
        interval, stderr = estimate(key, rule, [result.marks for result in done.results])
        name, _, chosen = key.partition(",")
        chosen = chosen or "none"
        results[f"{name},{chosen}"] = interval.value
        results[f"{name}_stderr,{chosen}"] = stderr if math.isfinite(stderr) else None
        intervals[f"{name},{chosen}"] = interval_record(interval)
    return {
        "results": {task.name: results},
        "intervals": {task.name: intervals},
        "versions": {task.name: items.config.version},
        "n-shot": {task.name: items.config.num_fewshot},
        "n-samples": {task.name: {"original": len(task.samples()), "effective": len(done.results)}},
        "higher_is_better": {task.name: {metric.name: metric.higher_is_better for metric in items.metrics}},
        "configs": {task.name: task.settings["config"]},
        "split": task.settings["split"],
        "fewshot_seed": task.settings["fewshot_seed"],
        "task_hash": hash_text("".join(record["prompt_hash"] for record in sample_records(task, done))),
        "task_fingerprint": task.fingerprint,
        "model": done.card.name,
        "model_fingerprint": done.card.fingerprint,
    }


def sample_records(task: BenchmarkTask, done: Evaluation) -> Iterator[dict[str, Any]]:
    """One record a sample: document, target, what was asked and answered, marks, the harness's three hashes."""
    data = {sample.id: sample.data for sample in task.samples()}
    for result in done.results:
        own = data[result.sample_id]
        asked = result.requests[0].get("context", result.requests[0].get("prompt"))
        rolling = _items(task).config.output_type == "loglikelihood_rolling"
        prompt = result.requests[0]["text"] if rolling else asked
        if not isinstance(prompt, str):
            prompt = json.dumps(prompt, ensure_ascii=False)
        yield {
            "doc_id": int(result.sample_id),
            "doc": own["doc"],
            "target": own["target"],
            "shots": own["shots"],
            "requests": [dict(request) for request in result.requests],
            "responses": [dict(response) for response in result.responses],
            "prediction": result.marks.prediction,
            "values": dict(result.marks.values),
            "weights": dict(result.marks.weights),
            "doc_hash": hash_text(json.dumps(own["doc"], indent=2, ensure_ascii=False)),
            "prompt_hash": hash_text(prompt),
            "target_hash": hash_text(str(own["target"])),
        }


def write_logs(task: BenchmarkTask, done: Evaluation, folder: Path) -> tuple[Path, Path]:
    """Write ``results_TASK.json`` and ``samples_TASK.jsonl`` into a folder; returns both paths.

    Raises:
        UsageError: The task is not one of ``lm-eval-harness``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results, samples = folder / f"results_{task.name}.json", folder / f"samples_{task.name}.jsonl"
    record = json.dumps(results_record(task, done), indent=1, sort_keys=True, ensure_ascii=False)
    results.write_text(record + "\n", encoding="utf-8")
    lines = [json.dumps(one, sort_keys=True, ensure_ascii=False) + "\n" for one in sample_records(task, done)]
    samples.write_text("".join(lines), encoding="utf-8")
    return results, samples


def _items(task: BenchmarkTask) -> Items:
    items = getattr(task.ask, "__self__", None)
    if not isinstance(items, Items):
        raise UsageError(f"{task.name} is not a task of lm-eval-harness; its results are in the run store")
    return items
