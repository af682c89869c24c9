"""Records of the other kinds: a suite, a comparison, a measure and a ranking, made by the project's own functions
from simulated answers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from reporting.example_compression import make_compression
from reporting.example_record import GROUPS, interval, make_eval_record, make_record
from steelyard.contracts import Interval, Marks, Result
from steelyard.evaluation.compare import compare
from steelyard.evaluation.measurement import Measurement, Table
from steelyard.evaluation.recorded_comparison import Side, comparison_record
from steelyard.evaluation.reliability import reliability
from steelyard.evaluation.significance import holm, mcnemar_exact, rank_stability
from steelyard.evaluation.statistics import interval_record, mean_interval, paired_difference

HEADER = {
    "paper": "Questions about a Handbook (2024)",
    "data_set": "HandbookQA",
    "licence": "CC BY 4.0",
    "metric": "accuracy of four choices",
    "hub": "example/handbook-qa",
}
ENVIRONMENT = {"steelyard": "0.1.0", "python": "3.11.7", "cores": 2}
SYSTEM = {
    "model": "smollm2-135m",
    "weights": [{"int8": {}}],
    "parameters": 134_515_008,
    "memory_bytes": 163_000_000,
    "style": {"style": "plain", "shots": 2, "seed": 7},
}
FIRST_WORDS = "The office closes at six in the evening, and on Fridays at four."
SECOND_WORDS = "The office closes at five in the evening, except on Fridays."


def task_facts(name: str, n: int, **changes: Any) -> dict[str, Any]:
    """The record of a task."""
    return {
        "name": name,
        "path": name,
        "fingerprint": "9c1f" * 16,
        "metric": "accuracy",
        "higher_is_better": True,
        "n": n,
        "groups": [],
        "form": "letters",
        "header": HEADER,
        "skipped": [],
        **changes,
    }


def calibration(n: int, seed: int = 3) -> dict[str, Any]:
    """An overconfident model's reliability."""
    rng = np.random.default_rng(seed)
    confidence = 0.25 + 0.75 * rng.random(n)
    return reliability(confidence, rng.random(n) < confidence - 0.12, resamples=200).to_record()


def make_suite(samples: int = 40, seed: int = 1) -> dict[str, Any]:
    """Eight tasks, one of them measured in bits per byte, one with a damaged file."""
    rng = random.Random(seed)
    tasks = [_suite_task(f"part-{i + 1}", samples, rng, 0.25 + 0.09 * i) for i in range(7)]
    tasks[0].update(
        by_group={g: interval([float(rng.random() < 0.4) for _ in range(12)]) for g in GROUPS},
        calibration=calibration(200),
        skipped=["damaged.jsonl:12: broken JSON at column 3; write one complete object a line"],
    )
    bits = {"value": 1.234, "low": 1.1, "high": 1.4, "n": samples}
    tasks.append(
        _suite_task("own-text", samples, rng, 0.5)
        | {"metric": "bits_per_byte", "higher_is_better": False, "quality": bits, "form": None, "header": None}
    )
    mean = Interval(0.487, 0.45, 0.52, 7 * samples)
    profile = Table(
        "Profile",
        ("scenario", "accuracy", "calibration error", "toxicity"),
        (
            ("questions", Interval(0.5, 0.4, 0.6, 80), Interval(0.12, 0.08, 0.2, 80), None),
            ("summaries", Interval(0.3, 0.2, 0.4, 80), None, Interval(0.01, 0.0, 0.04, 80)),
        ),
        "What is not defined for a scenario is missing.",
    )
    found = Measurement("quick", {"mean accuracy": mean}, (profile,), ("One task is measured in bits per byte.",))
    return {
        "format": 1,
        "kind": "suite",
        "run": {"id": "s-1", "created": "2026-11-23T09:14:05Z", "seed": 7, "seconds": 221.5},
        "suite": {"name": "quick", "source": "quick", "fingerprint": "f" * 64},
        **SYSTEM,
        "tasks": tasks,
        "measurement": found.to_record(),
        "findings": ["mean accuracy: 0.487 [0.450, 0.520]"],
        "commands": ["steelyard eval smollm2-135m --suite quick"],
        "environment": ENVIRONMENT,
    }


def _suite_task(name: str, samples: int, rng: random.Random, ability: float) -> dict[str, Any]:
    values = [float(rng.random() < ability) for _ in range(samples)]
    return {
        **task_facts(name, samples),
        "quality": interval(values),
        "metrics": {"accuracy": interval(values)},
        "by_group": {},
        "calibration": None,
        "seconds": 12.5,
        "samples": [
            {
                "id": f"{name}-{i}",
                "group": GROUPS[i % 5] if name == "part-1" else "",
                "prompt": f"Question {i} of {name}?",
                "reference": "yes",
                "answers": {
                    "c01": {"prediction": "yes" if v else "no", "value": v, "requests": [], "responses": []}
                },
            }
            for i, v in enumerate(values)
        ],
    }


def make_comparison(samples: int = 200, seed: int = 2) -> dict[str, Any]:
    """Two systems of which the first is better, with generated answers."""
    rng = random.Random(seed)
    hard = [rng.random() for _ in range(samples)]
    first = [float(rng.random() < 0.85 - 0.4 * h) for h in hard]
    second = [float(rng.random() < 0.65 - 0.4 * h) for h in hard]
    ids, groups = [f"q{i:04d}" for i in range(samples)], [GROUPS[i % 5] for i in range(samples)]
    shown = [
        {"id": i, "group": g, "prompt": f"When does the {g} office close ({i})?", "reference": FIRST_WORDS}
        for i, g in zip(ids, groups, strict=True)
    ]
    names = ("smollm2-135m, int8, plain, 2 shots", "smollm2-135m, int8, chat, 2 shots")
    facts = task_facts("handbook", samples, groups=GROUPS, form="cloze")
    sides = tuple(
        Side(
            name,
            [
                Result(i, Marks({"accuracy": v}, FIRST_WORDS if v else SECOND_WORDS), group=g)
                for i, v, g in zip(ids, values, groups, strict=True)
            ],
            {**SYSTEM, "style": dict(SYSTEM["style"], style=style)},
            facts,
            shown,
        )
        for name, values, style in zip(names, (first, second), ("plain", "chat"), strict=True)
    )
    record = comparison_record(
        compare(sides[0].results, sides[1].results, "accuracy", names=names), (sides[0], sides[1]), names, True
    )
    record |= {"commands": ["steelyard compare r1 r2 --out page.html"], "environment": ENVIRONMENT}
    record["samples"] = [
        sample | {"answers": {"first": _written(a), "second": _written(b)}}
        for sample, a, b in zip(shown, first, second, strict=True)
    ]
    return record


def _written(value: float) -> dict[str, Any]:
    text = FIRST_WORDS if value else SECOND_WORDS
    return {
        "prediction": text,
        "value": value,
        "requests": [{"kind": "generate", "prompt": "Question: ..."}],
        "responses": [{"kind": "generate", "text": f"{text}\nThat is all.", "finish_reason": "stop"}],
    }


def make_measure() -> dict[str, Any]:
    """A measure with shares, a number in nats, and a table."""
    values = {f"layer {i}": Interval(0.2 + 0.1 * i, 0.1 + 0.1 * i, 0.3 + 0.1 * i, 64) for i in range(6)}
    table = Table("By document", ("document", "nats", "count"), (("a", 3.25, 12), ("b", None, 4)), "Natural logs.")
    found = Measurement("similarity", values, (table,), ("No trend is shown.",), {"per_document": [1, 2]})
    return {
        "format": 1,
        "kind": "measure",
        "run": {"id": "m-1", "created": "2026-11-23T09:14:05Z", "seconds": 3.0},
        "measure": {"name": "similarity", "source": "similarity:layers=6"},
        "models": [{k: v for k, v in SYSTEM.items() if k != "style"}],
        "measurement": found.to_record(),
        "findings": ["No trend is shown."],
        "commands": ["steelyard eval smollm2-135m --task similarity:layers=6"],
        "environment": ENVIRONMENT,
    }


def make_ranking(samples: int = 150, seed: int = 4) -> dict[str, Any]:
    """Five systems ranked by win rate, with paired tests, wins, stability and a judge."""
    tune = make_record(samples=samples, seed=seed)
    chosen = [c for c in tune["candidates"] if c["quality"] and c["quality"]["n"] == samples][:5]
    values = {c["label"]: np.array([s["answers"][c["id"]]["value"] for s in tune["samples"]]) for c in chosen}
    order = sorted(values, key=lambda name: -values[name].mean())
    scores = [mean_interval(values[name]) for name in order]
    rows = [
        {"rank": i, "name": name, "score": score.value, "interval": interval_record(score)}
        for i, (name, score) in enumerate(zip(order, scores, strict=True), 1)
    ]
    stable = rank_stability(np.array(list(values.values())), resamples=100)
    share = interval_record(Interval(0.62, 0.5, 0.72, 90))
    table = Table("Agreement with people", ("pairs", "agreement"), (("all", Interval(0.55, 0.45, 0.65, 100)),))
    details = {
        "comparisons": _paired_tests(order, values, samples),
        "wins": [[float(((a > b) + 0.5 * (a == b)).sum()) for b in values.values()] for a in values.values()],
        "stability": {
            "first": dict(zip(values, stable.first.tolist(), strict=True)),
            "above": stable.above.tolist(),
        },
    }
    ids = {c["id"] for c in chosen}
    return {
        **{key: tune[key] for key in ("format", "environment")},
        "kind": "rank",
        "run": {"id": "k-1", "created": "2026-11-23T09:14:05Z", "seconds": 60.0},
        "by": "bradley-terry",
        "ranking": {
            "method": "bradley-terry",
            "score_name": "win rate",
            "rows": rows,
            "notes": [],
            "details": details,
        },
        "judges": [
            {
                "name": "smollm2-135m",
                "n": 300,
                "ties": share,
                "unreadable": share,
                "calibration": Measurement("judge", {}, (table,)).to_record(),
            }
        ],
        "candidates": [dict(c, latency=None, operations=None, status="kept") for c in chosen],
        "winner": next(c["id"] for c in chosen if c["label"] == order[0]),
        "task": task_facts("handbook", samples, form="cloze"),
        "samples": [
            {**s, "answers": {k: v for k, v in s["answers"].items() if k in ids}} for s in tune["samples"]
        ],
        "findings": [f"{order[0]} ranks first of 5 by bradley-terry."],
        "commands": ["steelyard rank handbook.jsonl --model a --model b --by bradley-terry"],
    }


def _paired_tests(order: list[str], values: dict[str, Any], n: int) -> list[dict[str, Any]]:
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    raw = [mcnemar_exact(values[a], values[b]) for a, b in pairs]
    return [
        {
            "first": a,
            "second": b,
            "p_value": p,
            "p_holm": corrected,
            "different": corrected <= 0.05,
            "n": n,
            "difference": interval_record(paired_difference(values[a], values[b])),
        }
        for (a, b), p, corrected in zip(pairs, raw, holm(raw), strict=True)
    ]


def make_eval() -> dict[str, Any]:
    """An eval with a data set, a calibration and a damaged row."""
    record = make_eval_record()
    record["candidates"][0] |= {"calibration": calibration(600), "style": SYSTEM["style"]}
    record["task"] |= {"header": HEADER, "form": "cloze", "skipped": ["handbook.jsonl:12: broken JSON; mend it"]}
    return record


PAGES = {
    "tune": make_record,
    "eval": make_eval,
    "suite": make_suite,
    "comparison": make_comparison,
    "measure": make_measure,
    "rank": make_ranking,
    "compress": make_compression,
}
