"""Reranking: Steelyard against a straightforward loop over the same transformers module.

    python benchmarks/bench_rerank.py [--write]                           # some five minutes on two cores
    python benchmarks/bench_rerank.py --queries 1 --hits 4 --pair-hits 3 --rounds 1 --words 20

The loop asks what the part asks, one request after the other: a passage and a question for UPR, a question and a
label for pairwise ranking prompting (all pairs, both orders). A second loop batches its requests, padded on the
right, which is what a careful script does. Columns:

- ratio: the loop's time over Steelyard's, the median of the rounds and their range;
- tokens: of the loop over those that Steelyard's passes ran, what prefix sharing allows by itself;
- order: whether both put all passages into the same order, and the largest difference of two scores.

Passages are Cranfield's, the best of bm25s' Lucene variant for its first queries. UPR shares a passage among the
queries that it was found for, so there are two rows: every query with passages of its own, which share next to
nothing, and a batch of queries over one pool of candidates. Pairwise prompting shares the question and the first
passage of a pair among all its second passages and both labels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import torch
from tables import section
from timing import seconds

from retrieval.candidates import candidates
from steelyard.contracts import Continuation, Hit
from steelyard.models.loading import load_model
from steelyard.retrieval.rerankers.model_reranker import ModelReranker, sorted_hits
from steelyard.retrieval.rerankers.pairs import share
from steelyard.retrieval.rerankers.pairwise_ranking_prompting import LABELS, outcomes, pairwise_ranking_prompting
from steelyard.retrieval.rerankers.pairwise_ranking_prompting import TEMPLATE as PAIR
from steelyard.retrieval.rerankers.sorting import all_pairs
from steelyard.retrieval.rerankers.template import Template, first_words
from steelyard.retrieval.rerankers.upr import TEMPLATE as QUESTION
from steelyard.retrieval.rerankers.upr import question_requests, upr

Lists = list[list[Hit]]
Scorer = Callable[[Sequence[Continuation]], list[list[float]]]


def looped(model: Any, batch: int) -> Scorer:
    """Token log-likelihoods by the module itself, ``batch`` requests at a time in the order given."""

    def score(requests: Sequence[Continuation]) -> list[list[float]]:
        found = []
        pairs = [
            (model.tokenizer(r.context)["input_ids"], model.tokenizer(r.context + r.text)["input_ids"])
            for r in requests
        ]
        for start in range(0, len(pairs), batch):
            part = pairs[start : start + batch]
            width = max(len(whole) for _, whole in part)
            ids = torch.tensor([whole + [whole[-1]] * (width - len(whole)) for _, whole in part])
            with torch.inference_mode():
                logits = model.module(input_ids=ids, use_cache=False).logits.float()
            for row, (before, whole) in enumerate(part):
                targets = torch.tensor(whole[len(before) :])
                rows = torch.log_softmax(logits[row, len(before) - 1 : len(whole) - 1], -1)
                found.append(rows.gather(1, targets.unsqueeze(1)).squeeze(1).tolist())
        return found

    return score


def upr_loop(score: Scorer, queries: Sequence[str], hits: Lists) -> Lists:
    values = iter(sum(each) / len(each) for each in score(question_requests(Template(QUESTION), queries, hits)))
    return [sorted_hits(each, [next(values) for _ in each], [0.0] * len(each)) for each in hits]


def prp_loop(score: Scorer, queries: Sequence[str], hits: Lists) -> Lists:
    result = []
    for query, each in zip(queries, hits, strict=True):
        worker = all_pairs(len(each))
        asked = [
            Continuation(Template(PAIR).prompt(query=query, first=each[a].text, second=each[b].text), f" {label}")
            for i, j in next(worker)
            for a, b in ((i, j), (j, i))
            for label in LABELS
        ]
        sums = [sum(tokens) for tokens in score(asked)]
        shares = [share(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        try:
            worker.send([0.5 if o is None else o for o in outcomes(shares)])
        except StopIteration as stop:
            result.append(sorted_hits(each, stop.value, [0.0] * len(each)))
    return result


def bench(
    name: str, reranker: ModelReranker, loop: Callable[[], Lists], queries: Sequence[str], hits: Lists, rounds: int
) -> None:
    ours, theirs = reranker.run(queries, hits), loop()
    same = [[hit.id for hit in each] for each in ours.hits] == [[hit.id for hit in each] for each in theirs]
    scores = [{hit.id: hit.score for each in lists for hit in each} for lists in (ours.hits, theirs)]
    apart = max(abs(scores[0][id] - scores[1][id]) for id in scores[0])
    ratios = []
    for _ in range(rounds):
        mine = seconds(lambda: reranker.run(queries, hits))
        ratios.append(seconds(loop) / mine)
    cost = ours.cost
    tokens = cost.read_tokens / cost.computed_tokens if cost.computed_tokens else float("nan")
    print(
        f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {tokens:.2f} "
        f"({cost.read_tokens} / {cost.computed_tokens}) | {'same' if same else 'differs'}, {apart:.1e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--hits", type=int, default=8)
    parser.add_argument("--pair-hits", type=int, default=5, help="passages of one query, compared pair by pair")
    parser.add_argument("--words", type=int, default=80)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    with section("bench_rerank", write=options.write):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    model: Any = load_model(options.model)
    given = candidates("cranfield", options.queries, options.hits)
    queries = list(given.queries.values())
    hits = [
        [Hit(f"{q}/{hit.id}", hit.score, first_words(hit.text, options.words)) for hit in each]
        for q, each in enumerate(given.hits)
    ]
    print(f"{options.model}; UPR with {len(queries)} queries and {options.hits} passages each, prp with one query")
    print(f"and {options.pair_hits} passages; up to {options.words} words of each.\n")
    print("| part, loop | ratio | tokens | order |\n|---|---|---|---|")
    shared = [[replace(hit, id=f"{q}/{hit.id}") for hit in hits[0]] for q in range(len(queries))]
    pairs = [hits[0][: options.pair_hits]]
    cases: list[tuple[str, Any, Any, Lists]] = [
        ("upr, passages of its own for each query", upr, upr_loop, hits),
        ("upr, one pool for all queries", upr, upr_loop, shared),
        ("prp, all pairs", pairwise_ranking_prompting, prp_loop, pairs),
    ]
    for batch, loop_name in ((1, "one by one"), (options.batch, f"{options.batch} at a time")):
        score = looped(model, batch)
        for name, made, loop, lists in cases:
            reranker = made(model, passage_words=options.words)
            asked = queries[: len(lists)]
            work = partial(loop, score, asked, lists)
            bench(f"{name}; {loop_name}", reranker, work, asked, lists, options.rounds)


if __name__ == "__main__":
    main()
