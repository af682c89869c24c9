"""Scoring: Steelyard against lm-evaluation-harness, the same model and the same requests.

    python benchmarks/bench_score.py                       # all forms, about a quarter of an hour on two cores
    python benchmarks/bench_score.py --form "PIQA zero-shot" --questions 10 --rounds 1

For each form lm-evaluation-harness first shows which of its batch sizes is best; then the two take turns. Columns:

- ratio: its time over Steelyard's, the median of the rounds and their range;
- distinct tokens allow: tokens of the distinct inputs over tokens of their prefix tree, what computing nothing
  twice allows by itself; share: the ratio over it;
- recomputed: tokens that were computed more than once;
- of dense rate: the time of the best dense forward passes over as many tokens, with logits at as many positions,
  over Steelyard's;
- largest difference between two summed log-likelihoods.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from requests_from_data import DATA, questions, texts
from tables import section
from timing import seconds

from steelyard.contracts import Continuation
from steelyard.models.loading import load_model
from steelyard.models.prefix_tree import PrefixTree
from steelyard.models.requests import encode_continuations, windows_of

CASES: dict[str, tuple[str, str, int]] = {  # name: model, form, questions
    "zero-shot cloze": ("smollm2-135m", "arc cloze", 32),
    "long context, four endings": ("smollm2-135m", "long context, 4 endings", 6),
    "five-shot letters": ("smollm2-135m", "arc letters, 5 shots", 24),
    "PIQA zero-shot": ("smollm2-135m", "piqa", 60),
    "rolling perplexity": ("smollm2-135m", "wikitext", 1),
    "Gemma zero-shot cloze": ("gemma3-270m", "arc cloze", 16),
}


class Counts(NamedTuple):
    """Tokens of the distinct inputs one by one and of their prefix tree, tokens that a run computed without and
    with padding, and positions whose logits it read.
    """

    asked: int
    distinct: int
    computed: int
    padded: int
    read: int


def harness(model: Any, size: int) -> Any:
    """lm-evaluation-harness around the same module and tokenizer."""
    import logging

    from lm_eval.models.huggingface import HFLM

    logging.disable(logging.WARNING)
    length = model.engine.context_length
    return HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=size, max_length=length)


def answers(lm: Any, requests: Sequence[Continuation]) -> list[float]:
    """Its summed log-likelihoods."""
    from lm_eval.api.instance import Instance

    rolling = not requests[0].context
    kind = "loglikelihood_rolling" if rolling else "loglikelihood"
    made = [
        Instance(kind, {}, (r.text,) if rolling else (r.context, r.text), index)
        for index, r in enumerate(requests)
    ]
    found = getattr(lm, kind)(made, disable_tqdm=True)
    return [float(value if rolling else value[0]) for value in found]


def count(model: Any, requests: Sequence[Continuation]) -> Counts:
    """Count tokens in one run of Steelyard."""
    engine = model.engine
    encoded = encode_continuations(engine.tokenizer, requests)
    windows = [w for one in encoded for w in windows_of(one, engine.context_length, engine.name)]
    inputs = {(window.context + window.target)[:-1] for window in windows}
    nodes = {(w.context + w.target)[: len(w.context) + i] for w in windows for i in range(len(w.target))}
    padded = [0]

    def add(_: Any, arguments: Any, given: dict[str, Any]) -> None:
        padded[0] += given["input_ids"].numel()

    import steelyard.models.packing as packing

    computed = [0]
    original = packing.lay_out

    def laid(tree: Any, pack: Any, targets: Any) -> Any:
        computed[0] += pack.tokens
        return original(tree, pack, targets)

    handle = model.module.register_forward_pre_hook(add, with_kwargs=True)
    packing.lay_out = laid
    try:
        model.score(requests)
    finally:
        packing.lay_out = original
        handle.remove()
    distinct = PrefixTree.of(list(inputs)).distinct
    return Counts(sum(map(len, inputs)), distinct, computed[0], padded[0], len(nodes))


def dense(model: Any, counts: Counts) -> float:
    """Seconds of the fastest dense forward passes over as many tokens, with the head at as many positions."""
    found = []
    with torch.inference_mode():
        for width in (64, 128, 256):
            ids = torch.randint(0, 1000, (max(1, min(counts.distinct, 1024) // width), width))
            body = seconds(lambda ids=ids: model.module.base_model(input_ids=ids, use_cache=False))
            found.append(body / ids.numel())
        states = torch.randn(256, model.engine.head.weight.shape[1])
        head = seconds(lambda: model.engine.head(states)) / len(states)
    return min(found) * counts.distinct + head * counts.read


def case(name: str, model: Any, requests: list[Continuation], rounds: int) -> str:
    """Measure one form and return its row of the table."""
    rolling = not requests[0].context
    sizes = (1,) if rolling else (1, 4, 8, 16, 32)  # its rolling windows are one text at a time here
    probe = requests if rolling else requests[: max(16, len(requests) // 4)]
    harnesses = {size: harness(model, size) for size in sizes}
    times = {size: seconds(lambda lm=lm: answers(lm, probe)) for size, lm in harnesses.items()}
    best = min(times, key=lambda size: times[size])
    counts = count(model, requests)
    ratios, shares, worst = [], [], 0.0
    for _ in range(rounds):
        mine: list[Any] = []
        theirs: list[float] = []
        a = seconds(lambda into=mine: into.extend(model.score(requests)))
        b = seconds(lambda into=theirs: into.extend(answers(harnesses[best], requests)))
        ratios.append(b / a)
        shares.append(dense(model, counts) / a)
        worst = max(worst, *(abs(m.logprob - t) for m, t in zip(mine, theirs, strict=True)))
    ratio = statistics.median(ratios)
    allowed = counts.asked / counts.distinct
    return (
        f"| {name} | {len(requests)} | {best} | **{ratio:.2f}x** ({min(ratios):.2f} to {max(ratios):.2f}) "
        f"| {allowed:.2f}x | {ratio / allowed:.0%} | {counts.computed - counts.distinct} "
        f"| {counts.padded / counts.computed - 1:.1%} | {statistics.median(shares):.0%} | {worst:.1e} |"
    )


def main() -> None:
    """Print one row a form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the public data sets")
    parser.add_argument("--form", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--questions", type=int, help="questions a form")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    chosen = parser.parse_args()
    with section("bench_score", write=chosen.write):
        columns = "form | requests | its best batch | ratio | distinct tokens allow | share | recomputed | padding"
        print(f"| {columns} | of dense rate | largest difference |")
        print("|" + " --- |" * 10)
        for name in chosen.form or CASES:
            source, form, number = CASES[name]
            number = chosen.questions or number
            if form == "wikitext":
                requests = [Continuation("", text) for text in texts(chosen.data, number)]
            else:
                requests = [request for question in questions(form, chosen.data, number) for request in question]
            print(case(name, load_model(source, accept_licence=True), requests, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
