"""In-context reranking with SmolLM2-135M on BM25's ten best, calibrated and not, by the query and the tail."""

from __future__ import annotations

import time

from evidence_record import Claim, write_evidence
from retrieval.candidates import WORDS, compare, facts, planted
from steelyard.models.loading import load_model
from steelyard.retrieval.rerankers.in_context_reranking import in_context_reranking


def main() -> None:
    """Measure and write ``evidence/in-context-reranking.json``."""
    model = load_model("smollm2-135m")
    began = time.perf_counter()
    settings = {"icr": {}, "uncalibrated": {"calibrate": False}, "tail": {"span": "tail"}}
    rerankers = {name: in_context_reranking(model, passage_words=WORDS, **each) for name, each in settings.items()}
    found = compare({name: lambda given, one=one: given.reranked(one) for name, one in rerankers.items()})
    answers = compare(
        {name: lambda given, one=rerankers[name]: given.reranked(one) for name in ("icr", "uncalibrated")},
        given=[planted()],
    )
    among = {name: answers.gain("icr", name) for name in ("random", "uncalibrated")}
    over = {name: found.gain("icr", name) for name in ("random", "uncalibrated", "bm25")}
    write_evidence(
        "in-context-reranking",
        [
            Claim(
                "the paragraph with the answer, among nine others: nDCG@10 above random order",
                {**answers.means(), "gain": among["random"], "gain over uncalibrated": among["uncalibrated"]},
                among["random"].low > 0,
            ),
            Claim("nDCG@10 above random order", {**found.means(), "gain": over["random"]}, over["random"].low > 0),
            Claim("nDCG@10 above BM25's order", {"gain": over["bm25"]}, over["bm25"].low > 0),
            Claim("calibrated above uncalibrated", {"gain": over["uncalibrated"]}, over["uncalibrated"].low > 0),
        ],
        planted="XQuAD (English), ten questions whose answer is in the words shown, other articles' paragraphs",
        note="tail: attention averaged over all tokens behind the passages, as the released code does",
        seconds=round(time.perf_counter() - began, 1),
        **facts(10),
    )


if __name__ == "__main__":
    main()
