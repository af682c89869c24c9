"""Scoring multiple-choice requests: Steelyard against one transformers forward pass per request.

python benchmarks/scoring.py
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
from timing import compare

from steelyard.contracts import Continuation, PromptStyle
from steelyard.evaluation.task_files import load_task
from steelyard.models.loading import load_model

TASK = Path(__file__).resolve().parent.parent / "demo" / "handbook.jsonl"


def main() -> None:
    """Zero-shot and three-shot choice questions of the demo task on SmolLM2-135M-Instruct."""
    model = load_model("smollm2-135m")
    task = load_task(TASK)
    for shots, samples in ((0, 24), (3, 8)):
        style = task.resolved(PromptStyle(shots=shots))
        asked = [request for sample in task.samples() for request in task.requests(sample, style)]
        requests = [request for request in asked if isinstance(request, Continuation)][: 4 * samples]
        ids = [model.tokenizer(str(r.context) + r.text, return_tensors="pt").input_ids for r in requests]

        def one_by_one(ids: list[torch.Tensor] = ids) -> None:
            with torch.inference_mode():
                for row in ids:
                    model.module(row).logits.log_softmax(-1)

        def steelyard(requests: list[Continuation] = requests) -> None:
            model.score(requests)

        name = f"score {len(requests)} requests, {shots} shots, over one forward pass each"
        compare(name, steelyard, one_by_one, rounds=3)


if __name__ == "__main__":
    main()
