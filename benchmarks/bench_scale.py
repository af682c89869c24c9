"""Scoring more and more requests: the rate must not fall, and memory must not grow with their number.

    python benchmarks/bench_scale.py --sizes 1000 10000 100000

A tiny model with random weights, so that what is measured is the work around the model: encoding, trees, packs.
Requests are four-choice questions behind a header that all share. Memory is what the process holds at most while
scoring, less what requests and results themselves take.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from tables import section
from timing import seconds

from steelyard.contracts import Continuation
from steelyard.models.loading import load_model

TEXT = "the quick brown fox jumps over a lazy dog while wizards pack my box with five jugs"


def tiny(folder: Path) -> Any:
    """A two-layer Llama of width 64 with SmolLM2's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_model("smollm2-135m").tokenizer  # type: ignore[attr-defined]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def requests(count: int) -> Iterator[Continuation]:
    """Four requests a question."""
    words = TEXT.split()
    for number in range(count // 4):
        asked = " ".join(words[(number * step + 3 * step) % len(words)] for step in range(1, 13))
        context = f"Answer the question.\n\nQuestion {number}: {asked}?\nAnswer:"
        for choice in range(4):
            yield Continuation(context, f" {words[(number + choice) % len(words)]} {choice}")


def peak() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    """One row a size; the smallest size is measured between the others again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, section("bench_scale", write=chosen.write):
        model = tiny(Path(folder))
        least = list(requests(min(chosen.sizes)))
        model.score(least)
        print(
            "| requests | per second | over the smallest's rate | peak memory, MB | of it requests and results |"
        )
        print("| --- | --- | --- | --- | --- |")
        for size in chosen.sizes:
            asked = list(requests(size))
            before = seconds(lambda: model.score(least))
            found: list[Any] = []
            taken = seconds(lambda into=found, asked=asked: into.extend(model.score(asked)))
            after = seconds(lambda: model.score(least))
            small = len(least) / statistics.mean([before, after])
            held = size * held_bytes(asked[0], found[0]) / 1e6
            print(f"| {size:,} | {size / taken:.0f} | {size / taken / small:.2f} | {peak():.0f} | {held:.0f} |")


def held_bytes(request: Continuation, score: Any) -> int:
    """Bytes of one request and its result, strings and numbers included."""
    import sys

    fields = [request, request.context, request.text, score, score.logprob, score.tokens, score.token_logprobs]
    return sum(sys.getsizeof(one) for one in [*fields, *score.tokens, *score.token_logprobs])


if __name__ == "__main__":
    main()
