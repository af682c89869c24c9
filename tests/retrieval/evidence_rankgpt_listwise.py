"""RankGPT with SmolLM2-135M on BM25's ten best, against BM25's and random order."""

from __future__ import annotations

import time
from dataclasses import asdict

from evidence_record import Claim, write_evidence
from retrieval.candidates import WORDS, Candidates, compare, facts
from steelyard.contracts import Hit
from steelyard.models.loading import load_model
from steelyard.retrieval.rerankers.asking import RerankCost
from steelyard.retrieval.rerankers.rankgpt_listwise import rankgpt_listwise


def main() -> None:
    """Measure and write ``evidence/rankgpt-listwise.json``."""
    model = load_model("smollm2-135m")
    began = time.perf_counter()
    reranker = rankgpt_listwise(model, passage_words=WORDS, unread="keep")
    costs = []

    def reranked(given: Candidates) -> list[list[Hit]]:
        hits, cost = reranker.run(list(given.queries.values()), given.hits)
        costs.append(cost)
        return hits

    found = compare({"rankgpt": reranked}, k=10)
    over = {name: found.gain("rankgpt", name) for name in ("bm25", "random")}
    cost = sum(costs, RerankCost())
    write_evidence(
        "rankgpt-listwise",
        [
            Claim("nDCG@10 above BM25's order", {**found.means(), "gain": over["bm25"]}, over["bm25"].low > 0),
            Claim("nDCG@10 above random order", {"gain": over["random"]}, over["random"].low > 0),
        ],
        cost=asdict(cost),
        seconds=round(time.perf_counter() - began, 1),
        **facts(10),
    )


if __name__ == "__main__":
    main()
