"""Evidence for ``lm-eval-harness``: every bundled task through lm-eval and Steelyard on the same documents."""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from evaluation.benchmarks.harness.harness_peer import THEIR_FILES, Compared, Shortening, compared, pair
from evidence_record import Claim, write_evidence
from steelyard.evaluation.benchmarks.harness.logs import write_logs
from steelyard.evaluation.evaluate import evaluate
from steelyard.models.loading import load_model

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
LIMITS: Mapping[str, int] = {
    "arc_challenge": 20,
    "piqa": 20,
    "boolq": 20,
    "openbookqa": 12,
    "commonsense_qa": 20,
    "truthfulqa_mc1": 6,
    "truthfulqa_mc2": 6,
    "gsm8k": 2,
    "wikitext": 1,
    "lambada_openai": 3,
}
SHORT = Shortening(tokens=32)


def results_differ(one: Compared) -> list[str]:
    """Results (means and their standard errors) of a task that differ by more than 0.2 %; ``perplexity_stderr`` is
    a bootstrap with other random numbers there.
    """
    wrong = []
    for key, value in one.theirs.items():
        mine = one.ours[key]
        if "perplexity_stderr" not in key and math.isfinite(value) and abs(mine - value) > 2e-3 * max(1, value):
            wrong.append(key)
    return wrong


def main() -> None:
    """Measure, compare and write ``evidence/lm-eval-harness.json``."""
    logging.disable(logging.WARNING)
    model = load_model("smollm2-135m")
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for name in THEIR_FILES:
            own = Path(folder) / name
            own.mkdir()
            pairs.append(pair(name, DATA, own, limit=LIMITS.get(name, 2), short=SHORT))
        found = compared(pairs, model)
        logs = []
        for run in ("first", "second"):
            done = evaluate(model, pairs[2].ours, sample_ids=pairs[2].ids)
            files = write_logs(pairs[2].ours, done, Path(folder) / run)
            logs.append([file.read_bytes() for file in files])
    marks = sum(one.samples for one in found.values())
    differing = {name: list(one.differing) for name, one in found.items() if one.differing}
    per_task = {
        name: {
            "samples": one.samples,
            "samples_that_differ": len(one.differing),
            "largest_difference_of_a_log_likelihood": one.largest_gap,
            "generated_texts_that_differ": one.texts,
            "steelyard": {key: value for key, value in one.ours.items() if key in one.theirs},
            "lm_eval": dict(one.theirs),
        }
        for name, one in found.items()
    }
    claims = [
        Claim(
            "Every sample of every bundled task earns the marks that lm-eval gives it",
            {"tasks": len(found), "samples": marks, "samples that differ": sum(map(len, differing.values()))},
            not differing,
        ),
        Claim(
            "Metrics and standard errors of means equal lm-eval's to 0.2 %",
            {"results that differ": sum(len(results_differ(one)) for one in found.values())},
            not any(results_differ(one) for one in found.values()),
        ),
        Claim(
            "Running one configuration again writes byte-identical logs",
            {"bytes": sum(map(len, logs[0]))},
            logs[0] == logs[1],
        ),
    ]
    write_evidence(
        "lm-eval-harness",
        claims,
        per_task=per_task,
        differing=differing,
        model="SmolLM2-135M-Instruct, float32",
        data="public copies of each set, the first documents or those with fewest choices; wikitext, lambada: own",
        settings="the bundled configurations; 32 generated tokens at most",
        seeds={"fewshot": 1234},
    )


if __name__ == "__main__":
    main()
