"""Evidence for Belebele: are scores lm-evaluation-harness', question by question?

    python tests/evaluation/evidence_belebele.py     # writes evidence/belebele.json; a minute

SmolLM2-135M-Instruct on hand-written questions in the official layout (tests/evaluation/fixtures/belebele); the
published questions were not at hand.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from evaluation.benchmarks.harness_tasks import harness_samples
from evidence_record import Claim, write_evidence
from steelyard.evaluation.benchmarks.belebele.parallel import belebele_parallel
from steelyard.evaluation.suite import evaluate_suite
from steelyard.models.loading import load_model

DATA = Path(__file__).parent / "fixtures" / "belebele"
SHOTS = 1


def main() -> None:
    """Write ``evidence/belebele.json``."""
    began = time.monotonic()
    model: Any = load_model("smollm2-135m")
    suite = belebele_parallel(languages=["eng_Latn", "swh_Latn"], data=str(DATA), shots=SHOTS)
    done = evaluate_suite(model, suite)
    claims = []
    for evaluation in done:
        code = evaluation.task.removeprefix("belebele-")
        expected = harness_samples(model, f"belebele/belebele_{code}.yaml", {code: DATA / f"{code}.jsonl"}, SHOTS)
        own = [result.marks.values["accuracy"] for result in evaluation.results]
        equal = sum(a == b for a, (_, b) in zip(own, expected, strict=True))
        claims.append(
            Claim(
                f"{code}: right and wrong as in lm-evaluation-harness",
                {"questions": len(own), "equal": equal, "accuracy": evaluation.summary["accuracy"]},
                equal == len(own),
            )
        )
    write_evidence(
        "belebele",
        claims,
        data={"questions": f"hand-written, six in each of two languages; {SHOTS} example a prompt"},
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        seeds={},
        seconds=round(time.monotonic() - began, 1),
    )


if __name__ == "__main__":
    main()
