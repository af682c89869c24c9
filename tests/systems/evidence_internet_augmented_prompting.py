"""Internet-augmented prompting on XQuAD: open book against closed book, and many passages against the top one.

All 120 English paragraphs are the corpus, searched with BM25. Examples, development and test questions come from
different articles. All ways of choosing are applied to the same candidates.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from evidence_record import Claim, write_evidence
from passages import Bm25Retriever, NothingRetriever
from steelyard.contracts import Hit, Sampling
from steelyard.evaluation.grading import exact_match
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.models.loading import load_model
from steelyard.systems.answer_scores import best_candidate, tune_weights
from steelyard.systems.evidence_passages import sentence_passages
from steelyard.systems.internet_augmented_prompting import (
    EvidenceExample,
    InternetAugmentedModel,
    internet_augmented_prompting,
)

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
PASSAGES, SAMPLES, SHOTS, DEVELOPMENT, TEST = 2, 2, 3, 10, 32


def main() -> None:
    """Measure and write ``evidence/internet-augmented-prompting.json``."""
    began = time.perf_counter()
    read = json.loads((DATA / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    model = load_model("smollm2-135m")
    corpus = [
        Hit(f"{a}-{p}", 0.0, paragraph["context"])
        for a, article in enumerate(read)
        for p, paragraph in enumerate(article["paragraphs"])
    ]
    asked = [
        [
            (p["context"], q["question"], q["answers"][0]["text"])
            for p in article["paragraphs"]
            for q in p["qas"][:2]
        ]
        for article in read
    ]
    shown = [min(article, key=lambda row: len(row[0])) for article in asked[:SHOTS]]
    shots = [EvidenceExample(sentence_passages(e, 2)[0], q, a) for e, q, a in shown]
    rest = [article[i] for i in range(10) for article in asked[SHOTS:] if i < len(article)]
    development, test = rest[:DEVELOPMENT], rest[DEVELOPMENT : DEVELOPMENT + TEST]
    settings: dict[str, Any] = {"passages": PASSAGES, "samples": SAMPLES, "temperature": 0.5}
    grounded: Any = internet_augmented_prompting(model, Bm25Retriever(corpus), shots, **settings)
    closed = internet_augmented_prompting(model, NothingRetriever(), shots, samples=1, scoring="direct")

    def measured(made: InternetAugmentedModel, rows: list[tuple[str, str, str]]) -> tuple[Any, Any]:
        found = made.candidates([q for _, q, _ in rows], [Sampling(max_tokens=12)] * len(rows))
        right = [
            np.array([exact_match(answer.text.strip(), [row[2]]) > 0 for answer in each.answers])
            for each, row in zip(found, rows, strict=True)
        ]
        return made.pair_scores(found, whole=True), right

    weights = tune_weights(*measured(grounded, development))
    pairs, right = measured(grounded, test)
    matches = {
        scoring: [
            float(r[best_candidate(p, scoring, weights)])  # type: ignore[arg-type]
            for p, r in zip(pairs, right, strict=True)
        ]
        for scoring in ("direct", "marginal", "noisy-channel", "product")
    }
    top = [
        float(r[best_candidate(p._replace(sampled=p.sampled & (p.place == 0)), "direct")])
        for p, r in zip(pairs, right, strict=True)
    ]
    answers = closed.generate([q for _, q, _ in test], Sampling(max_tokens=12))
    alone = [exact_match(answer.text.strip(), [row[2]]) for answer, row in zip(answers, test, strict=True)]
    gains = {scoring: paired_difference(values, alone) for scoring, values in matches.items()}
    over_top = {scoring: paired_difference(values, top) for scoring, values in matches.items()}
    claims = [
        Claim(
            "open-book exact match beats closed book for the same model (product, tuned on other questions)",
            {"closed book": mean_interval(alone), **{k: mean_interval(v) for k, v in matches.items()}}
            | {"product - closed book": gains["product"]},
            gains["product"].low > 0,
        ),
        Claim(
            f"reranking over {PASSAGES} passages is at least as accurate as the top passage alone",
            {"top passage, direct": mean_interval(top)}
            | {f"{scoring} - top passage": value for scoring, value in over_top.items()},
            over_top["product"].value >= 0,
        ),
    ]
    write_evidence(
        "internet-augmented-prompting",
        claims,
        data=f"XQuAD English: 120 paragraphs as the corpus, {DEVELOPMENT} development and {TEST} test questions",
        model="SmolLM2-135M-Instruct",
        settings={**settings, "examples": SHOTS, "weights": [round(w, 3) for w in weights]},
        oracle=mean_interval([float(r.any()) for r in right]).value,
        seeds=[0],
        seconds=round(time.perf_counter() - began),
    )


if __name__ == "__main__":
    main()
