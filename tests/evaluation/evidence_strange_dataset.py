"""Evidence for I am a Strange Dataset: is a small model near chance, as all models of the paper but one were?

    python tests/evaluation/evidence_strange_dataset.py        # writes evidence/strange-dataset.json; two minutes

SmolLM2-135M-Instruct on this package's own items, whose truth a rule counts; the authors' items are published
encrypted and were not used.
"""

from __future__ import annotations

import time

from evidence_record import Claim, write_evidence
from steelyard.evaluation.benchmarks.strange.strange_dataset import ITEMS_FILE, strange_dataset
from steelyard.evaluation.suite import evaluate_suite
from steelyard.models.loading import load_model


def main() -> None:
    """Write ``evidence/strange-dataset.json``."""
    began = time.monotonic()
    model = load_model("smollm2-135m")
    suite = strange_dataset(subtasks=["generation", "zero-shot", "few-shot"])
    done = evaluate_suite(model, suite)
    found = suite.summary(suite.name, done)
    claims = [
        Claim(
            f"{name}: the interval of accuracy includes chance, 0.5",
            {"accuracy": value},
            value.low <= 0.5 <= value.high,
        )
        for name, value in found.values.items()
    ]
    write_evidence(
        "strange-dataset",
        claims,
        data={"items": f"{len(suite.tasks[0].samples())} own items in {ITEMS_FILE.name}, each with a control"},
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        relative={e.task: e.summary["relative"].value for e in done if "relative" in e.summary},
        seeds={"bootstrap": 0},
        seconds=round(time.monotonic() - began, 1),
    )


if __name__ == "__main__":
    main()
