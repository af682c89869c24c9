"""UPR with SmolLM2-135M on BM25's ten best: against BM25's order, random order, and mismatched passages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from evidence_record import Claim, write_evidence
from retrieval.candidates import WORDS, Candidates, compare, facts
from steelyard.contracts import Hit
from steelyard.models.loading import load_model
from steelyard.retrieval.rerankers.upr import upr


def main() -> None:
    """Measure and write ``evidence/upr.json``."""
    reranker = upr(load_model("smollm2-135m"), passage_words=WORDS)
    began = time.perf_counter()

    def mismatched(given: Candidates) -> Sequence[Sequence[Hit]]:
        """Each hit's text is that of the hit in its place of the next query."""
        moved = given.hits[1:] + given.hits[:1]
        texts = [
            [replace(hit, text=other.text) for hit, other in zip(each, others, strict=True)]
            for each, others in zip(given.hits, moved, strict=True)
        ]
        return reranker.rerank_all(list(given.queries.values()), texts)

    found = compare({"upr": lambda given: given.reranked(reranker), "mismatched": mismatched})
    over = {name: found.gain("upr", name) for name in ("bm25", "random", "mismatched")}
    write_evidence(
        "upr",
        [
            Claim("nDCG@10 above BM25's order", {**found.means(), "gain": over["bm25"]}, over["bm25"].low > 0),
            Claim("nDCG@10 above random order", {"gain": over["random"]}, over["random"].low > 0),
            Claim("mismatched passage texts lose it", {"gain": over["mismatched"]}, over["mismatched"].low > 0),
        ],
        not_measured="top-5 and top-20 accuracy of 50 candidates on paraphrased questions",
        seconds=round(time.perf_counter() - began, 1),
        **facts(10),
    )


if __name__ == "__main__":
    main()
