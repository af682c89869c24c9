"""In-context reranking with SmolLM2-135M, calibrated and not: BM25's ten best, and planted answers.

Both orders come from one reading of query and "N/A", so each costs no more than the other alone.
"""

from __future__ import annotations

import time
from typing import Any

from evidence_record import Claim, write_evidence
from retrieval.candidates import WORDS, Candidates, compare, facts, planted
from steelyard.contracts import Hit
from steelyard.models.loading import load_model
from steelyard.retrieval.rerankers.in_context_reranking import CALIBRATION, layout
from steelyard.retrieval.rerankers.model_reranker import sorted_hits
from steelyard.retrieval.rerankers.query_attention import passage_score, query_attention
from steelyard.retrieval.rerankers.template import first_words


class Orders:
    """Calibrated and uncalibrated orders of candidates, each read once."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.known: dict[str, tuple[list[Hit], list[Hit]]] = {}

    def both(self, query: str, hits: list[Hit]) -> tuple[list[Hit], list[Hit]]:
        if query not in self.known:
            prompt = layout(self.model, [first_words(hit.text, WORDS) for hit in hits], "chat")
            seen, cache = [], None
            for text in (CALIBRATION, query):
                asked = self.model.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
                tail = [*asked, *prompt.after]
                found = query_attention(self.model, prompt.before, tail, slice(0, len(asked)), cache=cache)
                cache = found.cache
                seen.append(found.attention)
            calibrated = [passage_score(seen[1][place], seen[0][place]) for place in prompt.passages]
            plain = [passage_score(seen[1][place], None) for place in prompt.passages]
            zeros = [0.0] * len(hits)
            self.known[query] = sorted_hits(hits, calibrated, zeros), sorted_hits(hits, plain, zeros)
        return self.known[query]

    def calibrated(self, given: Candidates) -> list[list[Hit]]:
        return [self.both(q, h)[0] for q, h in zip(given.queries.values(), given.hits, strict=True)]

    def uncalibrated(self, given: Candidates) -> list[list[Hit]]:
        return [self.both(q, h)[1] for q, h in zip(given.queries.values(), given.hits, strict=True)]


def main() -> None:
    """Measure and write ``evidence/in-context-reranking.json``."""
    began = time.perf_counter()
    orders = Orders(load_model("smollm2-135m"))
    tried = {"icr": orders.calibrated, "uncalibrated": orders.uncalibrated}
    found, answers = compare(tried), compare(tried, given=[planted()])
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
        seconds=round(time.perf_counter() - began, 1),
        **facts(10),
    )


if __name__ == "__main__":
    main()
