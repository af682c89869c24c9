"""Data importance on XQuAD with planted corrupt sources: are they found, and does pruning raise held-out accuracy?

As in the paper's experiments with noisy and fabricated data, what is corrupt must be what the retriever
finds first: a corrupt copy that ranks behind its original is never read, and leaving it out changes nothing.
So every question has one snippet that repeats it and answers it, from one of five sources drawn at random.
Three of them are honest; two answer everything with the answer to another question. The paragraphs, which
answer all questions and rank behind the snippets, are the sixth source. The reader answers from the first
passage; what passages are worth on validation questions decides which sources are pruned, and accuracy is
measured on other questions.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from evidence_record import Claim, write_evidence
from passages import Bm25Retriever
from steelyard.contracts import Hit, Retriever, Sampling
from steelyard.evaluation.grading import contains
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.models.loading import load_model
from steelyard.retrieval.retrieval_data_importance import retrieval_data_importance

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
QUESTIONS, DEPTH, WORDS, TOKENS = 40, 3, 80, 8
SOURCES = ("honest-0", "honest-1", "honest-2", "corrupt-0", "corrupt-1")


class Reader:
    """A model that answers a question from one passage; each pair is read once."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.known: dict[tuple[str, str], str] = {}

    def read(self, pairs: list[tuple[str, Hit]]) -> None:
        new = list(dict.fromkeys((q, hit.text) for q, hit in pairs if (q, hit.text) not in self.known))
        prompts = [f"{text}\n\nQuestion: {question}\nAnswer:" for question, text in new]
        made = self.model.generate(prompts, Sampling(max_tokens=TOKENS, stop=("\n",)))
        self.known.update({pair: answer.text for pair, answer in zip(new, made, strict=True)})

    def accuracy(self, rows: list[tuple[str, str]], retriever: Retriever) -> list[float]:
        found = retriever.search([q for q, _ in rows], 1)
        self.read([(q, hits[0]) for (q, _), hits in zip(rows, found, strict=True) if hits])
        return [
            contains(self.known[q, hits[0].text], [a]) if hits else 0.0
            for (q, a), hits in zip(rows, found, strict=True)
        ]


def snippet(number: int, question: str, answer: str, wrong: str, rng: random.Random) -> Hit:
    """What one of the sources, drawn at random, says to a question."""
    source = rng.choice(SOURCES)
    return Hit(f"snippet-{number}", 0.0, f"{question} {wrong if 'corrupt' in source else answer}.", source)


def main() -> None:
    """Measure and write ``evidence/retrieval-data-importance.json``."""
    began = time.perf_counter()
    read = json.loads((DATA / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [p for a in read for p in a["paragraphs"] if len(p["context"].split()) <= WORDS]
    rng = random.Random(0)
    articles = [Hit(f"paragraph-{n}", 0.0, p["context"], "articles") for n, p in enumerate(paragraphs)]
    rows = [(q["question"], q["answers"][0]["text"]) for p in paragraphs for q in p["qas"]]
    rng.shuffle(rows)
    rows = rows[: 2 * QUESTIONS]
    snippets = [
        snippet(number, question, answer, rng.choice([other for _, other in rows if other != answer]), rng)
        for number, (question, answer) in enumerate(rows)
    ]
    inside = Bm25Retriever(articles + snippets)
    validation, held = rows[:QUESTIONS], rows[QUESTIONS:]

    reader = Reader(load_model("smollm2-135m"))
    queries = [question for question, _ in validation]
    found = inside.search(queries, DEPTH)
    reader.read([(q, hit) for q, hits in zip(queries, found, strict=True) for hit in hits])

    def contribution(number: int, hit: Hit) -> float:
        return contains(reader.known[queries[number], hit.text], [validation[number][1]])

    pruned: Any = retrieval_data_importance(inside, queries, contribution, k=1, depth=DEPTH)
    before, after = reader.accuracy(held, inside), reader.accuracy(held, pruned)
    gain = paired_difference(after, before)
    weights = {name: round(weight, 4) for name, weight in sorted(pruned.weights.items())}
    corrupt = [weight for name, weight in weights.items() if name.startswith("corrupt")]
    honest = [weight for name, weight in weights.items() if not name.startswith("corrupt")]
    write_evidence(
        "retrieval-data-importance",
        [
            Claim(
                "planted corrupt sources receive the lowest weights",
                {f"weight of {name}": weight for name, weight in weights.items()},
                max(corrupt) < min(honest),
            ),
            Claim(
                "pruning them raises held-out accuracy, the reader unchanged",
                {
                    "accuracy before": mean_interval(before),
                    "accuracy after": mean_interval(after),
                    "difference": gain,
                    "threshold": pruned.settings.threshold,
                },
                gain.low > 0,
            ),
        ],
        data=f"XQuAD English: {len(paragraphs)} paragraphs of at most {WORDS} words, a snippet for each of "
        f"{QUESTIONS} validation and {QUESTIONS} held-out questions, those of two sources of five wrong",
        model="SmolLM2-135M-Instruct reads the first passage",
        settings={"k": 1, "depth": DEPTH, "metric": "answer contained"},
        seeds=[0],
        seconds=round(time.perf_counter() - began),
    )


if __name__ == "__main__":
    main()
