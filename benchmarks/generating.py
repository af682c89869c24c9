"""Generating short answers: Steelyard against transformers' generate, one prompt and a batch of sixteen.

python benchmarks/generating.py
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
from timing import compare

from steelyard.contracts import Sampling
from steelyard.models.loading import load_model


def main() -> None:
    """Greedy, twenty-four tokens, prompts of different lengths."""
    model = load_model("smollm2-135m")
    tokenizer = model.tokenizer
    tokenizer.padding_side = "left"
    prompts = [f"Question: What is {n} plus {n * 7}?" + " Think." * (n % 5) + "\nAnswer:" for n in range(16)]
    for count in (1, 16):
        chosen = prompts[:count]

        def transformers(chosen: list[str] = chosen) -> None:
            batch = tokenizer(chosen, return_tensors="pt", padding=True)
            with torch.inference_mode():
                model.module.generate(**batch, max_new_tokens=24, do_sample=False)

        def steelyard(chosen: list[str] = chosen) -> None:
            model.generate(chosen, Sampling(max_tokens=24))

        compare(f"generate {count} x 24 tokens, over transformers", steelyard, transformers, rounds=3)


if __name__ == "__main__":
    main()
