"""Evidence for SparseGPT: against magnitude pruning on SmolLM2, at one half of the weights and at 2:4.

WikiText-2 (validation): calibrated on 16 windows of 256 tokens of its first half; perplexity is measured on
windows of its second half and differences are paired by window. The reconstruction error of each layer is that of
both methods for the very same inputs, those that the layer gets in the walk of SparseGPT. About four minutes on
two quiet cores.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch

from compression.wikitext_windows import halves, window_nll, windows_of
from evidence_record import Claim, write_evidence
from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layer_matrices import matrices_of
from steelyard.compression.layerwise import LayerRecord, Solution, Walk, compress_layers, layer_log
from steelyard.compression.magnitude import magnitude, prune_smallest
from steelyard.compression.sparsegpt import prune
from steelyard.compression.sparsity_patterns import Sparsity
from steelyard.contracts import AppliedPart, Interval
from steelyard.models.loading import load_model

CALIBRATED, TESTED, WINDOW, RESAMPLES = 16, 16, 256, 5000
CASES = {"half": Sparsity(0.5), "2:4": Sparsity(0.5, 2, 4)}
NEARLY_EVERY = 0.95
"""The share of layers that counts as nearly every one; fixed before anything was measured."""


def main() -> None:
    """Measure and write ``evidence/sparsegpt.json``."""
    began = time.monotonic()
    model: Any = load_model("smollm2-135m")
    calibrated, held_out = halves()
    walk = Walk(tokens=CALIBRATED * WINDOW, window=WINDOW)
    tested = windows_of(model, held_out, TESTED, WINDOW)
    dense = window_nll(model.module, tested)
    claims, perplexities, errors = [], {"dense": perplexity(dense)}, {}
    for name, sparsity in CASES.items():
        pruned, log = both(model, calibrated, sparsity, walk)
        ours = window_nll(pruned.module, tested)
        theirs = window_nll(magnitude(model, sparsity=sparsity.share, pattern=sparsity.pattern).module, tested)
        perplexities |= {f"sparsegpt {name}": perplexity(ours), f"magnitude {name}": perplexity(theirs)}
        gap = interval(ours - theirs)
        claims.append(
            Claim(
                f"perplexity below magnitude pruning's, {name}, paired by window",
                {
                    "sparsegpt": perplexity(ours),
                    "magnitude": perplexity(theirs),
                    "dense": perplexity(dense),
                    "difference in nats a token": gap,
                },
                gap.high < 0,
            )
        )
        lower = [record.error < record.figures["magnitude"] for record in log]
        errors[name] = by_role(log)
        claims.append(
            Claim(
                f"reconstruction error below magnitude pruning's on nearly every layer, {name}",
                {"layers": len(lower), "lower": sum(lower), "asked": NEARLY_EVERY},
                sum(lower) >= NEARLY_EVERY * len(lower),
            )
        )
        if sparsity.of:
            matrices = [matrix for block in matrices_of(pruned, pruned.module) for matrix in block]
            before = [matrix for block in matrices_of(model, model.module) for matrix in block]
            exact = all(exactly(m.read(), old.read(), sparsity) for m, old in zip(matrices, before, strict=True))
            what = "exactly two zeros in every four, weights apart that were zero in the model as it comes"
            claims.append(Claim(what, {"layers": len(log)}, exact))
    write_evidence(
        "sparsegpt",
        claims,
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        data={
            "name": "WikiText-2, validation",
            "calibration": f"first half, {CALIBRATED} windows of {WINDOW} tokens, seed 0",
            "held_out": f"second half, {len(tested)} windows of {WINDOW} tokens, seed 0",
        },
        relative_errors=errors,
        seeds={"calibration": 0, "held_out": 0, "bootstrap": 0},
        seconds=round(time.monotonic() - began, 1),
    )


def both(model: Any, texts: list[str], sparsity: Sparsity, walk: Walk) -> tuple[Any, tuple[LayerRecord, ...]]:
    """Prune by SparseGPT and note, for the same inputs, what magnitude pruning would have got wrong."""

    def method(weight: torch.Tensor, inputs: Hessian) -> Solution:
        rival = inputs.error(weight, prune_smallest(weight, sparsity))
        return Solution(prune(weight, inputs, sparsity).weight, {"magnitude": rival})

    settings = {"sparsity": sparsity.share, "pattern": sparsity.pattern}
    result = compress_layers(model, texts, method, AppliedPart("sparsegpt-and-magnitude", settings), walk)
    return result, layer_log(result.card.parts[-1])


def by_role(log: tuple[LayerRecord, ...]) -> dict[str, dict[str, float]]:
    """Median relative errors of the layers of each role."""
    roles = dict.fromkeys(record.role for record in log)
    return {
        role: {
            "sparsegpt": round(float(np.median([r.error for r in log if r.role == role])), 5),
            "magnitude": round(float(np.median([r.figures["magnitude"] for r in log if r.role == role])), 5),
        }
        for role in roles
    }


def exactly(weight: torch.Tensor, before: torch.Tensor, sparsity: Sparsity) -> bool:
    """Whether each group has its zeros, and no more of them than those, or than it had before."""
    now, had = ((w == 0).reshape(-1, sparsity.of or 1).sum(-1) for w in (weight, before))
    zeros = sparsity.zeros or 0
    return bool(((now >= zeros) & (now <= torch.clamp(zeros + had, max=sparsity.of))).all())


def interval(values: np.ndarray) -> Interval:
    """A mean over windows with its 95% bootstrap interval."""
    picks = np.random.default_rng(0).integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def perplexity(values: np.ndarray) -> Interval:
    value, low, high, n = interval(values)
    return Interval(math.exp(value), math.exp(low), math.exp(high), n)
