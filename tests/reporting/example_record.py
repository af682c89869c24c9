"""A realistic tune record, simulated: weights x prompt styles of one model on a task with groups."""

from __future__ import annotations

import math
import random
from statistics import NormalDist
from typing import Any

GROUPS = ["history", "science", "travel", "kitchen", "law"]
WEIGHTS: list[tuple[str, list[dict[str, Any]], float, float, int, int]] = [
    # label, parts, quality lost, speed, parameters, bytes
    ("", [], 0.0, 1.0, 134_515_008, 538_060_032),
    ("int8", [{"int8": {}}], 0.006, 0.43, 134_515_008, 163_000_000),
    ("sleb remove 3", [{"sleb": {"remove": 3}}], 0.06, 0.9, 123_896_000, 495_584_000),
    ("sleb remove 3 + int8", [{"sleb": {"remove": 3}}, {"int8": {}}], 0.07, 0.385, 123_896_000, 151_000_000),
]
STYLES = [("plain", 0, 0.49, 0.060), ("chat", 0, 0.44, 0.081), ("plain", 2, 0.61, 0.118)]


def interval(values: list[float], low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    """A mean with a Wilson interval: near enough for an example of fractions."""
    n, mean = len(values), sum(values) / len(values)
    z = NormalDist().inv_cdf(0.975)
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return {"value": mean, "low": max(low, centre - half), "high": min(high, centre + half), "n": n}


def make_record(samples: int = 120, seed: int = 5, *, raw: bool = True) -> dict[str, Any]:
    """Twelve candidates on ``samples`` samples; ``raw`` keeps requests and responses."""
    rng = random.Random(seed)
    difficulty = [rng.gauss(0, 0.24) for _ in range(samples)]
    candidates, answers = [], {}
    for number, (style, weight) in enumerate((s, w) for s in STYLES for w in WEIGHTS):
        name, (label, parts, lost, speed, parameters, memory) = f"c{number + 1:02d}", weight
        form, shots, ability, seconds = style
        values = [float(rng.random() < ability - lost + difficulty[i]) for i in range(samples)]
        pieces = ["smollm2-135m", label, form, f"{shots} shots" if shots else "zero-shot"]
        p50 = seconds * speed * rng.uniform(0.97, 1.03)
        candidates.append(
            {
                "id": name,
                "label": ", ".join(p for p in pieces if p),
                "model": "smollm2-135m",
                "weights": parts,
                "style": {"style": form, "shots": shots, "seed": 7},
                "parameters": parameters,
                "memory_bytes": memory,
                "latency": {
                    "p50": p50,
                    "p95": 1.35 * p50,
                    "low": 0.96 * p50,
                    "high": 1.05 * p50,
                    "n": 24,
                    "ratio": {"value": p50 / 0.06, "low": 0.96 * p50 / 0.06, "high": 1.05 * p50 / 0.06, "n": 24},
                },
                "operations": 2.0 * parameters * (60 + 110 * shots),
                "status": "kept",
                "reason": "measured in full",
                "round": None,
                "key": {"model": "f" * 16, "task": "t" * 16, "settings": "s" * 16},
            }
        )
        answers[name] = values
    return _finish(candidates, answers, samples, rng, raw)


def _finish(
    candidates: list[dict[str, Any]], answers: dict[str, list[float]], samples: int, rng: random.Random, raw: bool
) -> dict[str, Any]:
    groups = [GROUPS[i % len(GROUPS)] for i in range(samples)]
    cut = {"c05": 16, "c06": 32, "c07": 16, "c08": 16, "c11": 64}
    for candidate in candidates:
        values = answers[candidate["id"]][: cut.get(candidate["id"], samples)]
        answers[candidate["id"]] = values
        candidate["quality"] = interval(values)
        candidate["metrics"] = {
            "accuracy": interval(values),
            "accuracy_normalised": interval([v * (rng.random() < 0.95) for v in values]),
        }
        candidate["groups"] = {
            g: interval(chosen)
            for g in GROUPS
            if (chosen := [v for v, h in zip(values, groups, strict=False) if g == h])
        }
    full = [c for c in candidates if c["id"] not in cut]
    leader, winner = _settle(candidates, full, cut)
    measured = sum(len(v) for v in answers.values())
    return {
        **_frame(samples, measured, leader, winner),
        "candidates": [*candidates, _refused(candidates[0])],
        "frontier": [c["id"] for c in full if c["status"] in ("frontier", "winner")],
        "winner": winner["id"],
        "samples": [_sample(i, groups[i], candidates, answers, raw) for i in range(samples)],
    }


def _settle(
    candidates: list[dict[str, Any]], full: list[dict[str, Any]], cut: dict[str, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compare with the leader and set statuses; returns leader and winner."""
    leader = max(full, key=lambda c: c["quality"]["value"])
    winner = next(c for c in full if c["id"] == "c10")
    for candidate in candidates:
        difference = candidate["quality"]["value"] - leader["quality"]["value"]
        n = candidate["quality"]["n"]
        half = 1.4 / math.sqrt(n)
        candidate["against_leader"] = (
            None
            if candidate is leader
            else {
                "leader": leader["id"],
                "p_value": min(1.0, 2 * NormalDist().cdf(-abs(difference) / half * 1.96)),
                "difference": {"value": difference, "low": difference - half, "high": difference + half, "n": n},
            }
        )
        if candidate["id"] in cut:
            candidate["round"] = {16: 1, 32: 2, 64: 3}[cut[candidate["id"]]]
            candidate.update(
                status="dropped", reason=f"{leader['label']} is better and no dearer (round {candidate['round']})."
            )
    winner.update(status="winner", reason="Fastest within 2.0 points of the best.")
    for candidate in full:
        dominated = any(
            o["quality"]["value"] >= candidate["quality"]["value"]
            and o["latency"]["p50"] < candidate["latency"]["p50"]
            for o in full
        )
        if candidate is not winner and not dominated:
            candidate.update(status="frontier", reason="No measured system is both better and faster.")
    return leader, winner


def _refused(like: dict[str, Any]) -> dict[str, Any]:
    return dict(
        like,
        id="c13",
        label="gemma3-270m, plain, zero-shot",
        model="gemma3-270m",
        parameters=268_098_176,
        memory_bytes=1_072_000_000,
        latency=None,
        quality=None,
        metrics={},
        groups={},
        against_leader=None,
        status="refused",
        reason="Needs 1.07 GB of memory, the limit is 600 MB.",
    )


def _frame(samples: int, measured: int, leader: dict[str, Any], winner: dict[str, Any]) -> dict[str, Any]:
    """Everything of a record but its candidates and samples."""
    return {
        "format": 1,
        "kind": "tune",
        "run": {
            "id": "t-7f3k2a",
            "created": "2026-11-23T09:14:05Z",
            "finished": "2026-11-23T09:20:57Z",
            "seconds": 412.3,
            "command": "steelyard tune handbook.jsonl --model smollm2-135m",
            "seed": 7,
        },
        "task": {
            "name": "handbook",
            "path": "handbook.jsonl",
            "fingerprint": "9c1f" * 8,
            "metric": "accuracy",
            "higher_is_better": True,
            "n": samples,
            "groups": GROUPS,
        },
        "limits": {"memory_bytes": 600_000_000, "latency_seconds": 0.15},
        "by": "latency",
        "tolerance": 0.02,
        "target": None,
        "budget": {
            "cells_total": 12 * samples,
            "cells_measured": measured,
            "rounds": [
                {"round": 1, "samples": 16, "alive": 9, "dropped": ["c05", "c07", "c08"]},
                {"round": 2, "samples": 32, "alive": 8, "dropped": ["c06"]},
                {"round": 3, "samples": 64, "alive": 7, "dropped": ["c11"]},
                {"round": 4, "samples": samples, "alive": 7, "dropped": []},
            ],
        },
        "exhaustive": {
            "budgeted_winner": "c10",
            "exhaustive_winner": "c10",
            "budgeted_cells": measured,
            "exhaustive_cells": 12 * samples,
            "agree": True,
        },
        "system_file": "model: smollm2-135m\nweights:\n- int8: {}\nprompt: {style: plain, shots: 2, seed: 7}\n",
        "findings": [
            f"{winner['label']} answers {100 * winner['quality']['value']:.1f}% of the 120 questions, "
            "in less than half the time of the unchanged model.",
            f"No difference to the best system, {leader['label']}, is shown on these samples.",
            f"The search measured {measured} of {12 * samples} cells and dropped 5 candidates early.",
        ],
        "commands": [
            "steelyard tune handbook.jsonl --model smollm2-135m --limit memory=600MB,latency=150ms --seed 7",
            "steelyard eval best.yaml --task handbook.jsonl",
            "steelyard serve best.yaml",
        ],
        "environment": {
            "steelyard": "0.1.0",
            "python": "3.11.7",
            "platform": "Linux 6.1 x86_64",
            "cpu": "Intel Xeon 2.8 GHz",
            "cores": 2,
            "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
        },
    }


def _sample(
    i: int, group: str, candidates: list[dict[str, Any]], answers: dict[str, list[float]], raw: bool
) -> dict[str, Any]:
    rule = f"rule {i + 1} of chapter {i % 9 + 1}"
    prompt = f"According to the {group} handbook, in which of the listed cases does {rule} apply?"
    reference = f"when the {group} office is closed"
    found = {}
    for candidate in candidates:
        if i >= len(answers[candidate["id"]]):
            continue
        value = answers[candidate["id"]][i]
        prediction = reference if value else f"never, unless rule {i} is waived"
        header = "Question: what is the capital of Norway?\nAnswer: Oslo\n\n" * candidate["style"]["shots"]
        options = (reference, f"never, unless rule {i} is waived", "on Sundays")
        found[candidate["id"]] = {
            "prediction": prediction,
            "value": value,
            "requests": [{"context": f"{header}Question: {prompt}\nAnswer:", "text": f" {o}"} for o in options]
            if raw
            else [],
            "responses": [
                {"logprob": round(-5.2 - 3 * k - i % 7 / 10, 3), "greedy": k == 0, "utf8_bytes": len(o)}
                for k, o in enumerate(options)
            ]
            if raw
            else [],
        }
    return {
        "id": f"{group}-{i + 1:03d}",
        "group": group,
        "prompt": prompt,
        "reference": reference,
        "answers": found,
    }


def make_eval_record() -> dict[str, Any]:
    """An eval record: the winner of :func:`make_record` alone."""
    record = make_record()
    chosen = next(c for c in record["candidates"] if c["id"] == record["winner"])
    chosen = dict(chosen, id="c01", status="kept", reason="", against_leader=None, latency=None)
    samples = [dict(s, answers={"c01": s["answers"]["c10"]}) for s in record["samples"]]
    return dict(
        record,
        kind="eval",
        candidates=[chosen],
        samples=samples,
        budget=None,
        frontier=None,
        winner=None,
        exhaustive=None,
        by=None,
        limits=None,
        system_file=None,
        tolerance=None,
        findings=["Accuracy is 61.7% on 120 samples."],
        commands=["steelyard eval best.yaml --task handbook.jsonl"],
    )
