"""Evidence for the exams: are the choices lm-evaluation-harness', item by item, and the intervals at chance?

    python tests/evaluation/evidence_mcq_exam_benchmark.py     # writes evidence/mcq-exam-benchmark.json

SmolLM2-135M-Instruct on hand-written questions in the official layouts of TMMLU+, TMLU and AstroMLab-1
(tests/evaluation/fixtures); the published questions are not redistributed and were not used.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from evaluation.benchmarks.harness_tasks import harness_samples
from evidence_record import Claim, write_evidence
from steelyard.evaluation.benchmarks.exams.mcq_exam_benchmark import mcq_exam_benchmark
from steelyard.evaluation.evaluate import evaluate
from steelyard.models.loading import load_model

DATA = Path(__file__).parent / "fixtures" / "mcq-exam-benchmark"
COMPARED: tuple[tuple[str, str, str, str, str], ...] = (
    ("tmmlu-plus", "geography_of_taiwan", "tmmluplus", "data", "csv"),
    ("tmlu", "AST_chemistry", "tmlu", ".", "jsonl"),
)


def compare(model: Any, exam: Any, subject: str, group: str, place: str, suffix: str) -> Claim:
    """Choices of both sides on one subject."""
    suite = mcq_exam_benchmark(exam=exam, data=str(DATA / exam), subjects=subject, shots=1, template="harness")
    found = evaluate(model, suite.tasks[0])
    examples = "train" if exam == "tmmlu-plus" else "dev"
    splits = {split: DATA / exam / place / f"{subject}_{split}.{suffix}" for split in ("test", examples)}
    expected = harness_samples(model, f"{group}/default/{group}_{subject}.yaml", splits, 1)
    own = [[response["logprob"] for response in result.responses] for result in found.results]
    equal = sum(
        max(range(len(a)), key=a.__getitem__) == max(range(len(b)), key=b.__getitem__)
        for a, (b, _) in zip(own, expected, strict=True)
    )
    apart = max(abs(x - y) for a, (b, _) in zip(own, expected, strict=True) for x, y in zip(a, b, strict=True))
    measured = {
        "items": len(own),
        "equal choices": equal,
        "largest difference of log-likelihoods": round(apart, 6),
    }
    return Claim(f"{exam}, {subject}: choices equal lm-evaluation-harness'", measured, equal == len(own))


def main() -> None:
    """Write ``evidence/mcq-exam-benchmark.json``."""
    began = time.monotonic()
    model: Any = load_model("smollm2-135m")
    claims = [compare(model, *one) for one in COMPARED]
    suite = mcq_exam_benchmark(exam="astromlab-1", data=str(DATA / "astromlab-1"))
    found = suite.summary(suite.name, [evaluate(model, suite.tasks[0])])
    write_evidence(
        "mcq-exam-benchmark",
        claims,
        data={"questions": "hand-written, in the official layouts; one example a prompt"},
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        astromlab={name: [value.value, value.low, value.high, value.n] for name, value in found.values.items()},
        seeds={},
        seconds=round(time.monotonic() - began, 1),
    )


if __name__ == "__main__":
    main()
