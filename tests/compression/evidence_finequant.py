"""Evidence for FineQuant: does the group size found for each matrix keep SmolLM2 near full precision at few bits?

    python tests/compression/evidence_finequant.py     # writes evidence/finequant.json; five minutes on two cores

SmolLM2-135M-Instruct (whose published file is 4-bit already, Q4_1 in groups of 32: part of what rounding to four
bits costs is paid before), WikiText-2 (validation): perplexity on windows of its second half, the same for all.
Differences are paired by window. Linear layers and head are rounded; the embedding stays. What "near full
precision" means was set before: the upper end of the interval of the perplexity's increase is at most a tenth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from compression.wikitext_windows import exponential, halves, window_nll, windows_of
from evidence_record import Claim, write_evidence
from steelyard.compression.finequant import adaptive_group, finequant
from steelyard.contracts import Interval
from steelyard.evaluation.statistics import interval_record, mean_interval, paired_difference
from steelyard.models.grouped_linear import GroupedLinear
from steelyard.models.loading import load_model
from steelyard.models.quantized import linear_names

WINDOW, TESTED = 256, 24
ALPHA, MINIMUM = 1.2, 32
WAYS: Mapping[str, Mapping[str, Any]] = {
    "int4, column-wise": {"bits": 4, "group": "column"},
    "int4, adaptive": {"bits": 4, "alpha": ALPHA, "minimum": MINIMUM},
    "int4, groups of 128": {"bits": 4, "group": 128},
    "int4, groups of 64": {"bits": 4, "group": 64},
    "int4, groups of 32": {"bits": 4, "group": 32},
    "int8, column-wise": {"bits": 8, "group": "column"},
    "int8, adaptive": {"bits": 8, "alpha": ALPHA, "minimum": MINIMUM},
}
PLANTED, TIMES = 0.002, 20.0
NEAR = 1.1


def main() -> None:
    """Write ``evidence/finequant.json``."""
    began = time.monotonic()
    model: Any = load_model("smollm2-135m")
    windows = windows_of(model, halves()[1], TESTED, WINDOW)
    full = window_nll(model.module, windows)
    found: dict[str, np.ndarray] = {}
    sizes: dict[str, dict[str, Any]] = {}
    worst = 0.0
    for way, settings in WAYS.items():
        rounded = finequant(model, **settings)
        found[way] = window_nll(rounded.module, windows)
        sizes[way] = described(rounded)
        worst = max(worst, largest_error(model.module, rounded.module))
    adaptive, column = found["int4, adaptive"], found["int4, column-wise"]
    gain, cost = paired(adaptive, column), paired(adaptive, full)
    finer = planted_matrices(model.module)
    claims = [
        Claim(
            "the rounding error never exceeds half a scale", {"largest error over scale": worst}, worst <= 0.5001
        ),
        Claim(
            "matrices with planted outliers get finer groups than as they were, unless those are the finest",
            finer,
            finer["finer"] == finer["matrices"] - finer["already finest"],
        ),
        Claim(
            "adaptive int4: perplexity below that of column-wise int4",
            {
                "ratio of perplexities": exponential(gain),
                "bits per weight": sizes["int4, adaptive"]["bits per weight"],
            },
            gain.high < 0,
        ),
        Claim(
            f"adaptive int4: perplexity near full precision (at most {NEAR} times)",
            {
                "ratio of perplexities": exponential(cost),
                "bits per weight": sizes["int4, adaptive"]["bits per weight"],
            },
            exponential(cost).high <= NEAR,
        ),
    ]
    write_evidence(
        "finequant",
        claims,
        ways={
            "float32": {"perplexity": perplexity(full)},
            **{
                way: {
                    "perplexity": perplexity(nll),
                    "over float32": interval_record(exponential(paired(nll, full))),
                    "over adaptive int4": interval_record(exponential(paired(nll, adaptive))),
                    **sizes[way],
                }
                for way, nll in found.items()
            },
        },
        data={"name": "WikiText-2, validation, second half", "windows": TESTED, "tokens": WINDOW},
        model={"name": model.card.name, "fingerprint": model.card.fingerprint, "published as": "GGUF Q4_1"},
        seeds={"windows": 0, "planted": 0, "bootstrap": 0},
        seconds=round(time.monotonic() - began, 1),
    )


def paired(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """Ours minus theirs in nats per token, with its interval over windows."""
    return paired_difference(ours, theirs)


def perplexity(nll: np.ndarray) -> dict[str, Any]:
    return interval_record(exponential(mean_interval(nll)))


def described(model: Any) -> dict[str, Any]:
    """Bits per weight of the rounded layers, how many have which group size, and the memory of the whole model."""
    layers = [child for child in model.module.modules() if isinstance(child, GroupedLinear)]
    weights = [layer.in_features * layer.out_features for layer in layers]
    bits = sum(layer.bits_per_weight * count for layer, count in zip(layers, weights, strict=True)) / sum(weights)
    groups = [layer.group for layer in layers]
    return {
        "bits per weight": round(bits, 3),
        "group sizes": {str(size): groups.count(size) for size in sorted(set(groups))},
        "memory MB": round(model.card.memory_bytes / 1e6, 1),
    }


def largest_error(original: Any, rounded: Any) -> float:
    """Over all rounded weights, the largest error in units of its scale."""
    worst = 0.0
    for name, layer in rounded.named_modules():
        if isinstance(layer, GroupedLinear):
            steps = layer.scale.float().repeat_interleave(layer.group, dim=0)[: layer.in_features].t()
            error = (layer.weight - original.get_submodule(name).weight.detach()).abs_().div_(steps)
            worst = max(worst, float(error.max()))
    return worst


def planted_matrices(module: Any) -> dict[str, int | float | str]:
    """Group sizes of the model's matrices before and after a few of their weights are made much larger."""
    generator = torch.Generator().manual_seed(0)
    before, after = [], []
    for name in linear_names(module):
        weight = module.get_submodule(name).weight.detach()
        chosen = torch.rand(weight.shape, generator=generator) < PLANTED
        before.append(adaptive_group(weight, ALPHA, MINIMUM))
        after.append(adaptive_group(torch.where(chosen, TIMES * weight, weight), ALPHA, MINIMUM))
    finest = {
        name: adaptive_group(module.get_submodule(name).weight, 1.0, MINIMUM) for name in linear_names(module)
    }
    return {
        "matrices": len(before),
        "finer": sum(b < a for a, b in zip(before, after, strict=True)),
        "coarser": sum(b > a for a, b in zip(before, after, strict=True)),
        "already finest": sum(a == f for a, f in zip(before, finest.values(), strict=True)),
        "planted": f"{PLANTED:.1%} of the weights, {TIMES:.0f} times as large",
    }


if __name__ == "__main__":
    main()
