"""What the checks of compression share: the two halves of WikiText-2 (validation), and perplexity on windows."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.compression.block_replay import next_token_nll
from steelyard.compression.calibration import read_calibration, token_windows
from steelyard.contracts import Interval

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def halves() -> tuple[list[str], list[str]]:
    """The text to calibrate on and the text to measure on, cut at the end of a line."""
    whole = read_calibration(DATA / "wikitext2" / "valid.txt")[0]
    cut = whole.index("\n", len(whole) // 2)
    return [whole[:cut]], [whole[cut:]]


def windows_of(model: Any, texts: list[str], count: int, window: int) -> torch.Tensor:
    """``count`` windows of ``window`` tokens, drawn by seed 0: (count, window)."""
    return token_windows(model.tokenizer, texts, window=window, tokens=count * window, seed=0)


def window_nll(module: Any, windows: torch.Tensor) -> NDArray[np.float64]:
    """Mean nats per predicted token of each window."""
    with torch.no_grad():
        sums = [next_token_nll(module(input_ids=row[None]).logits, row[None]) for row in windows]
    return np.array(sums) / (windows.shape[1] - 1)


def exponential(nats: Interval) -> Interval:
    """Nats a token as perplexity, and their differences as ratios of perplexities."""
    return Interval(*(math.exp(end) for end in nats[:3]), nats.n)
