"""lm-evaluation-harness' own task definitions, run on local files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def harness_samples(
    model: Any, task_file: str, splits: Mapping[str, Path], shots: int
) -> list[tuple[list[float], float]]:
    """Log-likelihoods of the choices, and accuracy, of each document in order.

    Args:
        model: A model whose module and tokenizer the harness is given.
        task_file: The task's YAML file below the harness' ``tasks``.
        splits: Split -> file.
        shots: Examples in a prompt.
    """
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / task_file)
    config.pop("tag", None)
    files = {name: str(path) for name, path in splits.items()}
    kind = "csv" if next(iter(splits.values())).suffix == ".csv" else "json"
    config.update(dataset_path=kind, dataset_name=None, dataset_kwargs={"data_files": files}, num_fewshot=shots)
    if config.get("test_split") not in splits:
        config.update(test_split=next(iter(splits)), fewshot_split=next(iter(splits)))
    harness = HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=4)
    found = simple_evaluate(harness, tasks=[ConfigurableTask(config=config)], log_samples=True, bootstrap_iters=0)
    samples = sorted(next(iter(found["samples"].values())), key=lambda sample: sample["doc_id"])
    return [([float(reply[0]) for reply in s["filtered_resps"]], float(s["acc"])) for s in samples]
