"""Evidence for the LLM Surgeon: are rows and columns removed better than by magnitude, and than without updates?

    make evidence PART=llm-surgeon        # writes evidence/llm-surgeon.json

SmolLM2-135M-Instruct, WikiText-2 (validation): a quarter of the blocks' weights is removed in rows and columns,
with calibration windows from the first half of the text, and perplexity is measured on windows of the second half.
Against it, on the same windows: rows and columns of least norm under one threshold for all layers (magnitude), and
the same curvature, shots and windows without correlations, where weights that stay keep their values (the paper's
Kronecker-factored Optimal Brain Damage). Differences are paired by window.
"""

from __future__ import annotations

import math
import time
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compression.wikitext_windows import halves, window_nll, windows_of
from evidence_record import Claim, write_evidence
from steelyard.compression.block_replay import share
from steelyard.compression.global_threshold import RowsAndColumns, cheapest_rows_and_columns
from steelyard.compression.layer_matrices import matrices_of, write_matrices
from steelyard.compression.llm_surgeon import llm_surgeon
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.systems.loading import load

SPARSITY, SHOTS = 0.25, 2
TOKENS, WINDOW, TESTED = 2048, 256, 16


def main() -> None:
    """Measure, and write ``evidence/llm-surgeon.json``."""
    began = time.monotonic()
    model: Any = load("smollm2-135m")
    calibrated, held_out = halves()
    tested = windows_of(model, held_out, TESTED, WINDOW)
    settings: dict[str, Any] = {
        "sparsity": SPARSITY,
        "shots": SHOTS,
        "tokens": TOKENS,
        "window": WINDOW,
        "seed": 0,
    }
    started = time.monotonic()
    surgeon = llm_surgeon(model, calibrated, blocks_at_once=30, **settings).module
    seconds = time.monotonic() - started
    modules = {
        "dense": model.module,
        "llm-surgeon": surgeon,
        "magnitude": least_norms_removed(model),
        "no update": llm_surgeon(model, calibrated, blocks_at_once=30, independent=True, **settings).module,
    }
    nats = {name: window_nll(module, tested) for name, module in modules.items()}
    zeros = {name: share_of_zeros(model, module) for name, module in modules.items()}
    perplexity = {name: round(math.exp(values.mean()), 3) for name, values in nats.items()}
    claims = [against(rival, nats, perplexity) for rival in ("magnitude", "no update")]
    write_evidence(
        "llm-surgeon",
        claims,
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        data={
            "name": "WikiText-2, validation",
            "calibration": f"first half, {TOKENS // WINDOW} windows of {WINDOW} tokens",
            "held_out": f"second half, {len(tested)} windows of {WINDOW} tokens",
        },
        settings={**settings, "pattern": "structured"},
        perplexity=perplexity,
        nats_per_token={
            name: {"value": round(i.value, 4), "low": round(i.low, 4), "high": round(i.high, 4), "n": i.n}
            for name, i in ((name, mean_interval(values)) for name, values in nats.items())
        },
        share_of_zeros=zeros,
        seeds={"calibration": 0, "held_out": 0},
        seconds={"llm-surgeon": round(seconds, 1), "all": round(time.monotonic() - began, 1)},
    )


def against(rival: str, nats: dict[str, NDArray[np.float64]], perplexity: dict[str, float]) -> Claim:
    """Whether the surgeon's loss is below a rival's, paired by window: the whole interval must be below zero."""
    difference = paired_difference(nats["llm-surgeon"], nats[rival])
    return Claim(
        f"at {SPARSITY:.0%} structured sparsity perplexity is below {rival}'s on the same calibration windows",
        {
            "llm-surgeon minus rival, nats per token": difference,
            "perplexity of llm-surgeon": perplexity["llm-surgeon"],
            f"perplexity of {rival}": perplexity[rival],
        },
        difference.high < 0,
    )


def least_norms_removed(model: Any) -> torch.nn.Module:
    """Rows and columns of least norm set to zero, one threshold for all layers; no data is looked at."""
    module = share(model.module)
    matrices = list(chain(*matrices_of(model, module)))
    norms = [RowsAndColumns(m.read().norm(dim=1), m.read().norm(dim=0)) for m in matrices]
    masks = cheapest_rows_and_columns(norms, SPARSITY)
    write_matrices(
        (matrix, matrix.read() * torch.outer(~mask.rows, ~mask.columns))
        for matrix, mask in zip(matrices, masks, strict=True)
    )
    return module


def share_of_zeros(model: Any, module: torch.nn.Module) -> float:
    """The share of zeros among the weights of the blocks' linear layers."""
    weights = [matrix.read() for matrix in chain(*matrices_of(model, module))]
    return round(sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights), 4)
