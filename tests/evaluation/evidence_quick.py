"""The quick suite: SmolLM2-135M is profiled in under five minutes on two cores.

A run that is never idle takes no longer than its processor seconds, which other work on the machine hardly
stretches.
"""

from __future__ import annotations

import time

from evidence_record import Claim, write_evidence
from steelyard.contracts import Interval
from steelyard.evaluation.benchmarks.quick.quick import quick
from steelyard.evaluation.suite import evaluate_suite
from steelyard.models.loading import load_model

LIMIT = 300.0


def main() -> None:
    """Measure and write ``evidence/quick.json``."""
    model = load_model("smollm2-135m")
    suite = quick()
    began, busy = time.perf_counter(), time.process_time()
    done = evaluate_suite(model, suite)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    found = suite.summary("quick", done)
    rows = {str(row[1]): row for row in found.tables[0].rows}
    tasks = {name: row[4] for name, row in rows.items() if isinstance(row[4], Interval)}
    above = sum(row[-1] == "above" for row in rows.values())
    written = sum(result.usage.completion_tokens for one in done for result in one.results)
    read = sum(result.usage.prompt_tokens for one in done for result in one.results)
    claims = [
        Claim(
            "finishes on SmolLM2-135M in under five minutes on two cores",
            {
                "seconds": seconds,
                "processor seconds": busy,
                "items": sum(len(one.results) for one in done),
                "tokens written": written,
                "tokens read for answers": read,
            },
            min(seconds, busy) < LIMIT,
        ),
        Claim(
            "gives a one-page profile: a value with interval and chance level for every task",
            {**tasks, "tasks": len(rows), "above chance": above},
            len(rows) <= 40 and all(isinstance(row[4], Interval) for row in rows.values()),
        ),
    ]
    write_evidence(
        "quick",
        claims,
        model="SmolLM2-135M-Instruct, plain style",
        data="generated items, seed 0",
        seeds=[0],
        note="processor seconds are those of all cores together",
    )


if __name__ == "__main__":
    main()
