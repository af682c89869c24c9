"""Evidence for ``qa-efficiency-benchmark``: SmolLM2 in float32, int8 and as GGUF on XQuAD's English questions."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence_record import Claim, write_evidence
from steelyard.compression.int8 import int8
from steelyard.contracts import Interval
from steelyard.evaluation.benchmarks.qa_efficiency_benchmark import STEADY, qa_efficiency_benchmark, spread
from steelyard.models.loading import load_model

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
QUESTIONS = 20


def main() -> None:
    """Measure and write ``evidence/qa-efficiency-benchmark.json``."""
    full: Any = load_model("smollm2-135m")
    models = [full, int8(full), load_model("llama.cpp:smollm2-135m")]
    found = qa_efficiency_benchmark(
        models, data=str(DATA / "xquad"), samples=QUESTIONS, max_tokens=16, readings=2, memory_readings=2
    )
    details = found.details["models"]
    labels = list(details)
    peaks = {label: [r["peak"] - r["before"] for r in details[label]["memory"]] for label in labels}
    rates = {label: details[label]["tokens_per_second"] for label in labels}
    rows = {str(row[0]): row for row in found.tables[0].rows}
    f1 = {label: found.values[f"F1, {label}"] for label in labels}
    change = f1[labels[1]].value - f1[labels[0]].value
    claims = [
        Claim(
            "Repeated readings of peak memory agree within 15 %",
            {label: spread([float(p) for p in peaks[label]]) for label in labels},
            all(spread([float(p) for p in peaks[label]]) <= STEADY for label in labels),
        ),
        Claim(
            "Repeated readings of throughput agree within 15 %",
            {label: spread(rates[label]) for label in labels},
            all(spread(rates[label]) <= STEADY for label in labels),
        ),
        Claim(
            "8-bit weights take less memory with a small change of quality (F1 within 0.05)",
            {
                "peak MB, float32": max(peaks[labels[0]]) / 1e6,
                "peak MB, int8": max(peaks[labels[1]]) / 1e6,
                "F1, float32": f1[labels[0]],
                "F1, int8": f1[labels[1]],
                "difference": change,
            },
            max(peaks[labels[1]]) < max(peaks[labels[0]]) and abs(change) <= 0.05,
        ),
        Claim(
            "No model on the front is dominated",
            {"on the front": ", ".join(label for label in labels if rows[label][-1] == "yes")},
            not any(dominated(label, rows, peaks, f1) for label in labels if rows[label][-1] == "yes"),
        ),
    ]
    write_evidence(
        "qa-efficiency-benchmark",
        claims,
        table={"columns": list(found.tables[0].columns), "rows": found.to_record()["tables"][0]["rows"]},
        notes=list(found.notes),
        model="SmolLM2-135M-Instruct: float32, int8 linear layers, GGUF Q4_1 by llama.cpp",
        data=f"XQuAD, English, first {QUESTIONS} questions",
        seeds={},
        machine="two shared cores, one thread; other work ran beside, which moves times",
    )


def dominated(label: str, rows: Any, peaks: Any, f1: dict[str, Interval]) -> bool:
    """Whether another model is at least as good in F1, latency and memory, and better in one."""

    def costs(name: str) -> tuple[float, float, float]:
        return -f1[name].value, rows[name][3].value, max(peaks[name])

    mine = costs(label)
    return any(
        all(a <= b for a, b in zip(costs(other), mine, strict=True)) and costs(other) != mine for other in rows
    )


if __name__ == "__main__":
    main()
