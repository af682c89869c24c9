"""LameR with SmolLM2-135M around BM25, with candidates and without, against BM25 alone."""

from __future__ import annotations

import time
from dataclasses import replace

from evidence_record import Claim, write_evidence
from retrieval.candidates import BM25, WORDS, Candidates, compare, facts
from steelyard.contracts import Hit
from steelyard.models.loading import load_model
from steelyard.retrieval.retrievers.lamer import lamer

CANDIDATES, ANSWERS, TOKENS = 5, 3, 48


def main() -> None:
    """Measure and write ``evidence/lamer.json``."""
    model = load_model("smollm2-135m")
    began = time.perf_counter()

    def longer(given: Candidates, shown: int) -> list[list[Hit]]:
        retriever = lamer(BM25(given.passages), model, candidates=shown, answers=ANSWERS, max_tokens=TOKENS)
        retriever = replace(retriever, passage_words=WORDS)
        return retriever.search(list(given.queries.values()), 10)

    found = compare(
        {"lamer": lambda given: longer(given, CANDIDATES), "no candidates": lambda given: longer(given, 0)}
    )
    over = {name: found.gain("lamer", name) for name in ("bm25", "no candidates")}
    del found.values["random"]
    write_evidence(
        "lamer",
        [
            Claim("nDCG@10 above BM25's", {**found.means(), "gain": over["bm25"]}, over["bm25"].low > 0),
            Claim("candidates in the prompt help", {"gain": over["no candidates"]}, over["no candidates"].low > 0),
        ],
        settings={"candidates": CANDIDATES, "answers": ANSWERS, "max_tokens": TOKENS, "seed": 0},
        seconds=round(time.perf_counter() - began, 1),
        **facts(CANDIDATES),
    )


if __name__ == "__main__":
    main()
