"""Log-likelihoods computed the long way: one forward pass of transformers for each token, nothing shared."""

from __future__ import annotations

from typing import Any

import torch


def logprob(model: Any, context: str, continuation: str) -> tuple[float, int]:
    """log P(continuation | context), and the number of its tokens."""
    before = model.tokenizer(context, add_special_tokens=True)["input_ids"]
    whole = model.tokenizer(context + continuation, add_special_tokens=True)["input_ids"]
    total = 0.0
    for place in range(len(before), len(whole)):
        with torch.no_grad():
            logits = model.module(input_ids=torch.tensor([whole[:place]])).logits[0, -1].double()
        total += float(torch.log_softmax(logits, -1)[whole[place]])
    return total, len(whole) - len(before)
