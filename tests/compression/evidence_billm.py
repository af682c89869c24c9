"""Evidence for BiLLM: how far above sign times mean does SmolLM2 stay, same calibration, and at how many bits?

SmolLM2-135M-Instruct, WikiText-2 (validation): both are calibrated on the same windows of its first half, and
perplexity is measured on windows of its second half, paired.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from compression.wikitext_windows import exponential, halves, window_nll, windows_of
from evidence_record import Claim, write_evidence
from steelyard.compression.billm import average_bits, billm
from steelyard.compression.layerwise import layer_log
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.systems.loading import load

TOKENS, WINDOW, TESTED = 4096, 256, 16
FAR = 0.1
"""Far below: at most this share of the baseline's perplexity."""


def main() -> None:
    """Measure, and write ``evidence/billm.json``."""
    began = time.monotonic()
    model: Any = load("smollm2-135m")
    calibrated, held_out = halves()
    tested = windows_of(model, held_out, TESTED, WINDOW)
    made = {
        name: billm(model, calibrated, plain=plain, tokens=TOKENS, window=WINDOW)
        for name, plain in (("billm", False), ("sign times mean", True))
    }
    nll = {name: window_nll(one.module, tested) for name, one in (("dense", model), *made.items())}
    logs = {name: layer_log(one.card.parts[-1]) for name, one in made.items()}
    errors = {name: np.array([record.error for record in log]) for name, log in logs.items()}
    difference = paired_difference(nll["billm"], nll["sign times mean"])
    ratio = exponential(difference)
    bits = average_bits(logs["billm"])
    lower = paired_difference(errors["billm"], errors["sign times mean"])
    claims = [
        Claim(
            f"perplexity far below sign times mean's (at most {FAR:g} of it), same calibration",
            {name: exponential(mean_interval(values)) for name, values in nll.items()} | {"ratio": ratio},
            ratio.high < FAR,
        ),
        Claim(
            "about 1.1 bits a weight as the paper counts them",
            {"weight": bits.weight, "marks, apart": bits.marks, "scales, not counted there": bits.scales},
            bits.weight < 1.15,
        ),
        Claim(
            "layers' outputs are less wrong than sign times mean leaves them",
            {
                **{f"relative error, {name}": mean_interval(values) for name, values in errors.items()},
                "difference": lower,
                "layers less wrong": int((errors["billm"] < errors["sign times mean"]).sum()),
                "layers": len(errors["billm"]),
            },
            lower.high < 0,
        ),
    ]
    write_evidence(
        "billm",
        claims,
        model={"name": model.card.name, "fingerprint": model.card.fingerprint},
        data={
            "name": "WikiText-2, validation",
            "calibration": f"first half, {TOKENS} tokens in windows of {WINDOW}, seed 0",
            "held_out": f"second half, {len(tested)} windows of {WINDOW} tokens, seed 0",
        },
        settings={name: dict(one.card.parts[-1].settings) for name, one in made.items()},
        note=(
            "sign times mean has a scale a row and 128 columns, as BiLLM's blocks have; every linear layer of the"
            " blocks is binarised, embeddings and head are not"
        ),
        seeds=[0],
        seconds=round(time.monotonic() - began, 1),
    )
