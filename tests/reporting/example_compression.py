"""The record of a compression, made by the project's own functions from simulated answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steelyard.compression.sizes import Sizes
from steelyard.contracts import AppliedPart, Marks, ModelCard, PromptStyle, Result, ResultKey, Sample, Task
from steelyard.evaluation.evaluate import Evaluation
from steelyard.evaluation.question_task import QuestionTask
from steelyard.tuning.compressing.metric_card import MetricCard
from steelyard.tuning.compressing.quality import CheckPlan, quality_of
from steelyard.tuning.compressing.record import Handover, build_record
from steelyard.tuning.compressing.speed import Speed
from steelyard.tuning.latency import summarise

DENSE = Sizes(134_515_008, 134_000_000, 538_060_032, 538_060_032, 32.0, 2.69e8, 0)
SMALL = Sizes(124_000_000, 61_000_000, 170_000_000, 171_000_000, 11.0, 2.48e8, 190)


def _question(name: str, count: int) -> QuestionTask:
    rows = tuple(Sample(str(n), {"prompt": f"Question {n} of {name}?", "answers": ["yes"]}) for n in range(count))
    return QuestionTask(name, rows, "accuracy")


def _done(task: Task, side: str, values: Sequence[float]) -> Evaluation:
    results = []
    for sample, value in zip(task.samples(), values, strict=True):
        marks = Marks({"accuracy": value}, "yes" if value else "no")
        response: dict[str, Any] = {"kind": "generate", "text": "yes" if value else "no"}
        if task.metric == "bits_per_byte":
            marks = Marks({"bits_per_byte": value}, weights={"bits_per_byte": 1000.0})
            response = {"kind": "score", "logprob": -693.0 * value, "token_logprobs": [0.0] * 250}
        results.append(
            Result(sample.id, marks, requests=({"kind": "score", "text": "..."},), responses=(response,))
        )
    summary = task.summarise([r.marks for r in results], [1.0] * len(results))
    key = ResultKey(side, task.fingerprint, "plain")
    card = ModelCard(side, side)
    return Evaluation(
        card, task.name, key, results, summary, {}, 1.0, task.metric, task.higher_is_better, PromptStyle()
    )


def make_compression(seed: int = 5) -> dict[str, Any]:
    """A compression that costs some quality on texts and on one of three tasks."""
    rng = random.Random(seed)
    texts = QuestionTask(
        "held-out texts", tuple(Sample(str(n), {"text": f"Text {n}."}) for n in range(24)), "bits_per_byte"
    )
    tasks = tuple(_question(name, 30) for name in ("knowledge", "arithmetic", "copying"))
    bits = [rng.uniform(0.8, 1.4) for _ in range(24)]
    worse = [value * rng.uniform(1.02, 1.06) for value in bits]
    right = [[float(rng.random() < 0.6) for _ in range(30)] for _ in tasks]
    kept = [[v * float(rng.random() < (0.6 if n == 1 else 0.97)) for v in row] for n, row in enumerate(right)]
    before = [_done(task, "before", row) for task, row in zip((texts, *tasks), (bits, *right), strict=True)]
    after = [_done(task, "after", row) for task, row in zip((texts, *tasks), (worse, *kept), strict=True)]
    quality = quality_of({"before": before, "after": after})
    timing = summarise([0.05, 0.06, 0.055], [0.1, 0.1, 0.12], [24, 24, 24])
    plan = CheckPlan(texts, "held-out.txt", tasks, 30)
    facts = {"source": "held-out.txt", "fingerprint": "9c1f9c1f", "texts": 1, "characters": 24_000}
    original = ModelCard("smollm2-135m", "a" * 32, 134_515_008, 538_060_032, licence="apache-2.0")
    parts = (AppliedPart("sleb", {"blocks": [10, 12]}), AppliedPart("int8", {"head": True}))
    small = ModelCard("smollm2-135m", "b" * 32, 124_000_000, 171_000_000, parts=parts)
    done = Handover(
        before=original,
        after=small,
        card=MetricCard(DENSE, SMALL, Speed(timing, timing), quality),
        plan=plan,
        calibration={**facts, "source": "documents/"},
        held_out={**facts, "windows": 24},
        max_loss=0.02,
        problems=["bits per byte: a rise of +4.0% [+3.5%, +4.5%] on 24 samples is not shown to be at most 2.0%"],
        forced=True,
        folder=Path("small"),
    )
    run = {"id": "z-1", "created": "2026-11-23T09:14:05Z", "seconds": 80.0}
    record = build_record(done, run, "steelyard compress smollm2-135m --with int8 --out small")
    for task, one, two in zip(record["tasks"], before[1:] + before[:1], after[1:] + after[:1], strict=True):
        for sample, first, second in zip(task["samples"], one.results, two.results, strict=True):
            sample["answers"] = {
                side: {
                    "prediction": result.marks.prediction,
                    "value": result.marks.values[task["metric"]],
                    "requests": list(result.requests),
                    "responses": list(result.responses),
                }
                for side, result in (("before", first), ("after", second))
            }
    return record
