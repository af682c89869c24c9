"""Evidence for SLEB: does it beat simpler ways to choose blocks, and do fewer blocks mean less time?

    python tests/compression/evidence_sleb.py        # writes evidence/sleb.json; about twelve minutes on two cores

SmolLM2-135M-Instruct, WikiText-2 (validation): blocks are chosen on windows of its first half and perplexity is
measured on windows of its second half. Against it, on the same windows: random blocks (five seeds), the last
blocks, and one-shot similarity (the blocks whose output is most similar to their input, cosine averaged over the
same calibration tokens), all under the same barriers. Differences are paired by window. The setting ``fast`` is
measured beside it and has no part in the verdict.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steelyard.compression.block_replay import BlockReplay, next_token_nll
from steelyard.compression.calibration import read_calibration, token_windows
from steelyard.compression.sleb import sleb, without_blocks
from steelyard.runs.environment import environment
from steelyard.systems.loading import load

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data"))
REMOVALS = (3, 4, 5, 6)
TOKENS, WINDOW, TESTED = 1024, 256, 16
RANDOM_SEEDS = range(5)
RESAMPLES = 5000
LATENCY_REMOVALS, LATENCY_ROUNDS, LATENCY_TOKENS = (3, 6), 25, 256
LATENCY_TOLERANCE = 0.05
RIVALS = ("random", "last", "similarity")


def measure() -> dict[str, Any]:
    """Run everything and return the record that ``main`` writes."""
    began = time.monotonic()
    model: Any = load("smollm2-135m")
    whole = read_calibration(DATA / "wikitext2" / "valid.txt")[0]
    cut = whole.index("\n", len(whole) // 2)
    first, second = [whole[:cut]], [whole[cut:]]
    depth = len(model.family.layers(model.module))
    ids = token_windows(model.tokenizer, first, window=WINDOW, tokens=TOKENS, seed=0)
    tested = token_windows(model.tokenizer, second, window=WINDOW, tokens=TESTED * WINDOW, seed=0)

    searched = time.monotonic()
    chosen = sleb(model, first, remove=max(REMOVALS), tokens=TOKENS, window=WINDOW, seed=0)
    orders: dict[str, list[int]] = {"sleb": list(chosen.card.parts[-1].settings["blocks"])}
    seconds_of_search = time.monotonic() - searched
    searched = time.monotonic()
    quick = sleb(model, first, remove=max(REMOVALS), tokens=TOKENS, window=WINDOW, seed=0, fast=True)
    orders["sleb-fast"] = list(quick.card.parts[-1].settings["blocks"])
    seconds_of_fast_search = time.monotonic() - searched
    orders["last"] = list(range(depth - 2, 0, -1))
    orders["similarity"] = most_similar(model, ids)
    for seed in RANDOM_SEEDS:
        orders[f"random-{seed}"] = random.Random(seed).sample(range(1, depth - 1), max(REMOVALS))
    nll = {name: {k: window_nll(model, order[:k], tested) for k in REMOVALS} for name, order in orders.items()}
    dense = window_nll(model, [], tested)

    removals = {str(k): compare({name: per[k] for name, per in nll.items()}) for k in REMOVALS}
    speed = latency(model, orders["sleb"], tested[0, :LATENCY_TOKENS][None])
    wins = {
        name: all(r["sleb_minus"][name]["high"] < 0 for r in removals.values())  # at every removal count
        for name in RIVALS
    }
    faster = all(
        s["ratio"]["high"] < 1 and abs(s["ratio"]["value"] - s["expected"]) <= LATENCY_TOLERANCE
        for s in speed.values()
    )
    return {
        "part": "sleb",
        "verdict": "shown" if all(wins.values()) and faster else "null result",
        "claims": {
            **{
                f"lower held-out perplexity than {name}, at every removal count": won for name, won in wins.items()
            },
            f"latency ratio below 1 and within {LATENCY_TOLERANCE} of the share of computation left": faster,
        },
        "date": datetime.date.today().isoformat(),
        "model": {"name": model.card.name, "fingerprint": model.card.fingerprint, "blocks": depth},
        "data": {
            "name": "WikiText-2, validation",
            "calibration": f"first half, {ids.shape[0]} windows of {WINDOW} tokens, seed 0",
            "held_out": f"second half, {len(tested)} windows of {WINDOW} tokens, seed 0",
        },
        "seeds": {"calibration": 0, "held_out": 0, "random_blocks": list(RANDOM_SEEDS), "bootstrap": 0},
        "orders": {name: order[: max(REMOVALS)] for name, order in orders.items()},
        "perplexity_dense": perplexity(dense),
        "removals": removals,
        "latency": speed,
        "search_seconds": {"sleb": round(seconds_of_search, 1), "sleb-fast": round(seconds_of_fast_search, 1)},
        "seconds": round(time.monotonic() - began, 1),
        "environment": environment(),
    }


def most_similar(model: Any, ids: torch.Tensor) -> list[int]:
    """Inner blocks by mean cosine between input and output, most similar first, all measured in one pass."""
    replay = BlockReplay(model)
    totals = dict.fromkeys(range(1, len(replay.blocks) - 1), 0.0)
    for rows in torch.split(ids, 1):
        batch = replay.record(rows)
        hidden = batch.hidden
        for block in range(len(replay.blocks)):
            output = replay.run(batch, hidden, [block])
            if block in totals:
                totals[block] += float(torch.nn.functional.cosine_similarity(hidden, output, dim=-1).sum())
            hidden = output
    return sorted(totals, key=lambda block: -totals[block])


def window_nll(model: Any, blocks: Sequence[int], windows: torch.Tensor) -> np.ndarray:
    """Mean nats per predicted token of each window, from the genuinely shallower model."""
    module = (without_blocks(model, blocks) if blocks else model).module
    with torch.no_grad():
        return np.array([next_token_nll(module(input_ids=row[None]).logits, row[None]) for row in windows]) / (
            WINDOW - 1
        )


def compare(nll: dict[str, np.ndarray]) -> dict[str, Any]:
    """Perplexities, and paired differences sleb - other in nats per token (random: mean over the seeds)."""
    merged = {name: values for name, values in nll.items() if not name.startswith("random-")}
    merged["random"] = np.mean([values for name, values in nll.items() if name.startswith("random-")], axis=0)
    return {
        "perplexity": {name: perplexity(values) for name, values in merged.items()},
        "random_seeds": {
            name: round(math.exp(v.mean()), 3) for name, v in nll.items() if name.startswith("random-")
        },
        "sleb_minus": {
            name: interval(merged["sleb"] - values, np.mean) for name, values in merged.items() if name != "sleb"
        },
    }


def perplexity(values: np.ndarray) -> dict[str, float]:
    return interval(values, lambda rows, axis=None: np.exp(np.mean(rows, axis=axis)))


def interval(values: np.ndarray, statistic: Callable[..., Any]) -> dict[str, float]:
    """A statistic over windows with its 95% bootstrap interval."""
    picks = np.random.default_rng(0).integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(statistic(values[picks], axis=1), [0.025, 0.975])
    figures = {"value": float(statistic(values)), "low": float(low), "high": float(high)}
    return {name: round(figure, 4) for name, figure in figures.items()} | {"n": len(values)}


def latency(model: Any, order: Sequence[int], ids: torch.Tensor) -> dict[str, Any]:
    """Time of one pass, pruned / dense, measured in turn in this process; the median of the paired ratios.

    ``expected`` is the share of multiplications left: blocks and head, which does not shrink.
    """
    modules = {0: model.module} | {k: without_blocks(model, order[:k]).module for k in LATENCY_REMOVALS}
    times: dict[int, list[float]] = {k: [] for k in modules}
    for turn in range(LATENCY_ROUNDS + 2):
        for k in random.Random(turn).sample(list(modules), len(modules)):
            start = time.perf_counter()
            with torch.no_grad():
                modules[k](input_ids=ids, use_cache=False)
            if turn >= 2:  # warm
                times[k].append(time.perf_counter() - start)
    layers = model.family.layers(model.module)
    block = sum(p.numel() for p in layers[0].parameters())
    head = model.family.head(model.module).weight.numel()
    total = len(layers) * block + head
    return {
        str(k): {
            "ratio": interval(np.array(times[k]) / np.array(times[0]), np.median),
            "expected": round((total - k * block) / total, 4),
            "blocks_left": round(1 - k / len(layers), 4),
            "dense_seconds": round(float(np.median(times[0])), 4),
            "tokens": int(ids.shape[1]),
        }
        for k in LATENCY_REMOVALS
    }


def main() -> int:
    """Write ``evidence/sleb.json``."""
    record = measure()
    file = ROOT / "evidence" / "sleb.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{file.relative_to(ROOT)}: {record['verdict']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
