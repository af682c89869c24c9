"""Evidence for the multi-metric suite: do its worst cases show what clean accuracy hides, on real sets?

    python tests/evaluation/evidence_helm_multi_metric.py     # writes evidence/helm-multi-metric.json; six minutes

SmolLM2-135M-Instruct on BoolQ, PIQA and CommonsenseQA (multiple choice) and Natural Questions (short answers),
with three examples a prompt, and beside the same model with its weights in eight bits.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from evidence_record import Claim, write_evidence
from steelyard.compression.int8 import int8
from steelyard.evaluation.benchmarks.helm.helm_multi_metric import helm_multi_metric
from steelyard.evaluation.benchmarks.helm.summary import METRICS, compare_systems
from steelyard.evaluation.suite import evaluate_suite
from steelyard.models.loading import load_model

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data"))
SCENARIOS = ["boolq", "piqa", "commonsenseqa", "nq_open"]
SAMPLES, SHOTS = 24, 3


def main() -> None:
    """Write ``evidence/helm-multi-metric.json``."""
    began = time.monotonic()
    model: Any = load_model("smollm2-135m")
    suite = helm_multi_metric(scenarios=SCENARIOS, data=str(DATA), samples=SAMPLES, shots=SHOTS)
    found = suite.summary(suite.name, evaluate_suite(model, suite))
    grid = {row[0]: dict(zip(METRICS, row[1:], strict=True)) for row in found.tables[0].rows}
    claims = []
    for scenario in SCENARIOS:
        row: dict[str, Any] = grid[scenario]
        worst = {metric: row[metric] for metric in ("robustness", "fairness") if row[metric] is not None}
        claims.append(
            Claim(
                f"{scenario}: worst cases do not exceed clean accuracy",
                {"accuracy": row["accuracy"], **worst},
                all(value.value <= row["accuracy"].value for value in worst.values()),
            )
        )
    small = helm_multi_metric(
        scenarios=SCENARIOS[:2], data=str(DATA), samples=8, shots=SHOTS, perturbations=["typos"]
    )
    systems = {
        name: small.summary(small.name, evaluate_suite(system, small))
        for name, system in (("bf16 or f32", model), ("int8", int8(model)))
    }
    rates = compare_systems(systems).tables[0]
    same = compare_systems({"one": found, "again": found}).tables[0]
    claims.append(
        Claim(
            "a system against itself has the mean win rate 0.5 on every metric",
            {metric: value for metric, value in zip(METRICS, same.rows[0][1:], strict=True) if value is not None},  # type: ignore[misc]
            all(value in (0.5, None) for row in same.rows for value in row[1:]),
        )
    )
    record = found.to_record()
    write_evidence(
        "helm-multi-metric",
        claims,
        data={"scenarios": SCENARIOS, "samples": SAMPLES, "shots": SHOTS},
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        tables=record["tables"],
        notes=record["notes"],
        win_rates_against_int8=[list(row) for row in rates.rows],
        seeds={"examples and perturbations": 0},
        seconds=round(time.monotonic() - began, 1),
    )


if __name__ == "__main__":
    main()
