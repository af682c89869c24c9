"""Evidence for BiLLM: how far above sign times mean does SmolLM2 stay, same calibration, and at how many bits?

SmolLM2-135M-Instruct, WikiText-2 (validation): both are calibrated on the same windows of its first half, and
perplexity is measured on windows of its second half, paired.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence_record import Claim, write_evidence
from steelyard.compression.billm import average_bits, billm
from steelyard.compression.block_replay import next_token_nll
from steelyard.compression.calibration import read_calibration, token_windows
from steelyard.compression.layerwise import layer_log
from steelyard.contracts import Interval
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.systems.loading import load

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data"))
TOKENS, WINDOW, TESTED = 4096, 256, 16
FAR = 0.1
"""Far below: at most this share of the baseline's perplexity."""


def main() -> None:
    """Measure, and write ``evidence/billm.json``."""
    began = time.monotonic()
    model: Any = load("smollm2-135m")
    whole = read_calibration(DATA / "wikitext2" / "valid.txt")[0]
    cut = whole.index("\n", len(whole) // 2)
    tested = token_windows(model.tokenizer, [whole[cut:]], window=WINDOW, tokens=TESTED * WINDOW, seed=0)
    made = {
        name: billm(model, [whole[:cut]], plain=plain, tokens=TOKENS, window=WINDOW)
        for name, plain in (("billm", False), ("sign times mean", True))
    }
    nll = {name: window_nll(one, tested) for name, one in (("dense", model), *made.items())}
    logs = {name: layer_log(one.card.parts[-1]) for name, one in made.items()}
    errors = {name: np.array([record.error for record in log]) for name, log in logs.items()}
    difference = paired_difference(nll["billm"], nll["sign times mean"])
    ratio = exp(difference)
    bits = average_bits(logs["billm"])
    lower = paired_difference(errors["billm"], errors["sign times mean"])
    claims = [
        Claim(
            f"perplexity far below sign times mean's (at most {FAR:g} of it), same calibration",
            {name: exp(mean_interval(values)) for name, values in nll.items()} | {"ratio": ratio},
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


def window_nll(model: Any, windows: torch.Tensor) -> np.ndarray:
    """Mean nats per predicted token of each window."""
    with torch.no_grad():
        rows = [next_token_nll(model.module(input_ids=row[None]).logits, row[None]) for row in windows]
    return np.array(rows) / (windows.shape[1] - 1)


def exp(interval: Interval) -> Interval:
    """Nats a token as perplexity, and their differences as ratios of perplexities."""
    return Interval(*(math.exp(end) for end in interval[:3]), interval.n)
