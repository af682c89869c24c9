"""In-context RALM on WikiText-2: perplexity with passages by BM25, by chance, by other strides and reranked.

The scored texts are the beginnings of single paragraphs; their paragraphs are taken out of the corpus, which is
all other paragraphs of the same file, those of the same articles included.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import numpy as np

from evidence_record import Claim, write_evidence
from passages import Bm25Retriever, NothingRetriever, RandomRetriever
from steelyard.contracts import Continuation, Hit, LanguageModel
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.models.loading import load_model
from steelyard.systems.in_context_ralm import in_context_ralm
from steelyard.systems.token_strides import shortened

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
TEXTS, TOKENS, PASSAGE = 10, 96, 80


def articles(text: str) -> list[tuple[str, list[str]]]:
    """Articles of a WikiText file: title, and paragraphs of 50 words or more."""
    found: list[tuple[str, list[str]]] = []
    for line in map(str.strip, text.splitlines()):
        if heading := re.fullmatch(r"= ([^=].*[^=]) =", line):
            found.append((heading[1], []))
        elif found and not line.startswith("=") and len(line.split()) >= 50:
            found[-1][1].append(line)
    return found


def main() -> None:
    """Measure and write ``evidence/in-context-ralm.json``."""
    began = time.perf_counter()
    model = load_model("smollm2-135m")
    found = articles((DATA / "wikitext2" / "valid.txt").read_text(encoding="utf-8"))
    held = {(a, len(found[a][1]) // 2) for a in range(0, len(found), len(found) // TEXTS)}
    requests = [
        Continuation("", shortened(model.tokenizer, found[a][1][p], TOKENS).text) for a, p in sorted(held)
    ][:TEXTS]
    corpus = [
        Hit(f"{a}-{p}", 0.0, paragraph)
        for a, (_, paragraphs) in enumerate(found)
        for p, paragraph in enumerate(paragraphs)
        if (a, p) not in held
    ]
    bm25 = Bm25Retriever(corpus)

    def nll(grounded: LanguageModel) -> np.ndarray:
        """Nats per token of each text."""
        scores = grounded.score(requests)
        return np.array([-score.logprob / count for score, count in zip(scores, counts, strict=True)])

    counts = [len(score.tokens) for score in model.score(requests)]
    plain = nll(model)
    nothing = nll(in_context_ralm(model, NothingRetriever(corpus), stride=16, passage_tokens=PASSAGE))
    chance = nll(in_context_ralm(model, RandomRetriever(corpus), stride=16, passage_tokens=PASSAGE))
    strides = {s: nll(in_context_ralm(model, bm25, stride=s, passage_tokens=PASSAGE)) for s in (32, 16, 8)}
    reranked = nll(in_context_ralm(model, bm25, stride=32, passage_tokens=PASSAGE, candidates=16))
    gain, by_chance = paired_difference(strides[16], plain), paired_difference(chance, plain)
    rerank_gain = paired_difference(reranked, strides[32])
    means = [float(strides[s].mean()) for s in (8, 16, 32)]
    claims = [
        Claim(
            "a retriever that finds nothing gives the unmodified perplexity",
            {"largest difference, nats a token": float(abs(nothing - plain).max())},
            bool(np.array_equal(nothing, plain)),
        ),
        Claim(
            "with BM25 over held documents perplexity drops (stride 16)",
            {
                "perplexity alone": float(np.exp(plain.mean())),
                "perplexity with BM25": float(np.exp(strides[16].mean())),
                "difference, nats a token": gain,
            },
            gain.high < 0,
        ),
        Claim(
            "random passages do not help (stride 16)",
            {"perplexity": float(np.exp(chance.mean())), "difference, nats a token": by_chance},
            by_chance.high >= 0,
        ),
        Claim(
            "a smaller stride is no worse on average",
            {f"nats a token at stride {s}": mean_interval(strides[s]) for s in (8, 16, 32)}
            | {
                "stride 8 - stride 16": paired_difference(strides[8], strides[16]),
                "stride 16 - stride 32": paired_difference(strides[16], strides[32]),
            },
            means[0] <= means[1] <= means[2],
        ),
        Claim(
            "likelihood reranking of the top 16 beats the top passage of BM25 (stride 32)",
            {
                "perplexity top passage": float(np.exp(strides[32].mean())),
                "perplexity reranked": float(np.exp(reranked.mean())),
                "difference, nats a token": rerank_gain,
            },
            rerank_gain.high < 0,
        ),
    ]
    write_evidence(
        "in-context-ralm",
        claims,
        data=f"WikiText-2 validation: {len(requests)} texts of {TOKENS} tokens, each from another article; "
        f"{len(corpus)} other paragraphs as the corpus",
        model="SmolLM2-135M-Instruct",
        settings={"query_tokens": 32, "passage_tokens": PASSAGE, "recent_tokens": 16},
        seeds=[0],
        seconds=round(time.perf_counter() - began),
    )


if __name__ == "__main__":
    main()
