"""InstUPR with SmolLM2-135M on BM25's ten best: ratings, then pairs of three, against other orders."""

from __future__ import annotations

import time

from evidence_record import Claim, write_evidence
from retrieval.candidates import WORDS, compare, facts
from steelyard.models.loading import load_model
from steelyard.retrieval.rerankers.instupr import instupr


def main() -> None:
    """Measure and write ``evidence/instupr.json``."""
    model = load_model("smollm2-135m")
    began = time.perf_counter()
    ratings = instupr(model, pairwise=0, passage_words=WORDS)
    whole = instupr(model, pairwise=3, passage_words=WORDS)
    found = compare(
        {"ratings": lambda given: given.reranked(ratings), "instupr": lambda given: given.reranked(whole)}
    )
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
