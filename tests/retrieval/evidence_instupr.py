"""InstUPR with SmolLM2-135M on BM25's ten best: ratings, then pairs of three, against other orders."""

from __future__ import annotations

import time
from dataclasses import replace

from evidence_record import Claim, write_evidence
from retrieval.candidates import WORDS, Candidates, compare, facts
from steelyard.contracts import Hit
from steelyard.models.loading import load_model
from steelyard.retrieval.rerankers.instupr import (
    PAIRWISE,
    POINTWISE,
    best_rated,
    both_scores,
    preferred,
    rated,
)
from steelyard.retrieval.rerankers.model_reranker import sorted_hits
from steelyard.retrieval.rerankers.template import Template, first_words

PAIRED = 3


def main() -> None:
    """Measure and write ``evidence/instupr.json``."""
    model = load_model("smollm2-135m")
    began = time.perf_counter()
    rate, compare_two = Template(POINTWISE), Template(PAIRWISE)
    known: dict[str, list[list[float]]] = {}

    def shown(given: Candidates) -> list[list[Hit]]:
        return [[replace(hit, text=first_words(hit.text, WORDS)) for hit in each] for each in given.hits]

    def ratings(given: Candidates) -> list[list[Hit]]:
        """Ratings only; the pairs start from them, so they are asked once."""
        queries = list(given.queries.values())
        known[queries[0]] = rated(model, rate, queries, shown(given), soft=True)[0]
        zeros = [[0.0] * len(each) for each in given.hits]
        return [sorted_hits(*each) for each in zip(given.hits, known[queries[0]], zeros, strict=True)]

    def whole(given: Candidates) -> list[list[Hit]]:
        queries, lists = list(given.queries.values()), shown(given)
        scores = known[queries[0]]
        best = [best_rated(each, some, PAIRED) for each, some in zip(lists, scores, strict=True)]
        wins, _ = preferred(model, compare_two, queries, lists, best)
        return [
            sorted_hits(each, both_scores(some, won), some)
            for each, some, won in zip(given.hits, scores, wins, strict=True)
        ]

    found = compare({"ratings": ratings, "instupr": whole})
    over = {name: found.gain("instupr", name) for name in ("bm25", "random", "ratings")}
    write_evidence(
        "instupr",
        [
            Claim("nDCG@10 above BM25's order", {**found.means(), "gain": over["bm25"]}, over["bm25"].low > 0),
            Claim("nDCG@10 above random order", {"gain": over["random"]}, over["random"].low > 0),
            Claim("pairs after ratings above ratings", {"gain": over["ratings"]}, over["ratings"].low > 0),
        ],
        seconds=round(time.perf_counter() - began, 1),
        **facts(10),
    )


if __name__ == "__main__":
    main()
