"""Evidence for the generalized skip n-gram model: is its perplexity below modified Kneser-Ney's on little text?

    python -m tests.evidence generalized-skip-ngram-lm        # about a minute

Four corpora of less than 1.2 MB, split at random by sentence (80% and 20%, seed 0); perplexity a word with end
marks, unknown words as one class. Differences are paired by sentence (bootstrap).
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence_record import FOLDER, Claim, write_evidence
from steelyard.evaluation.benchmarks.words.lm_interpolation_ensemble import perplexity_drop
from steelyard.evaluation.benchmarks.words.word_logprobs import perplexity_interval, word_logprobs
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm

DATA = Path(os.environ.get("STEELYARD_DATA", FOLDER.parents[1] / "shared" / "data"))
ORDERS = (3, 4, 5)


def tokenized(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]", text))


def corpora() -> dict[str, list[str]]:
    wiki = (DATA / "wikitext2" / "valid.txt").read_text(encoding="utf-8").split("\n")
    plays = (DATA / "tinyshakespeare" / "first_half.txt").read_text(encoding="utf-8").split("\n")
    abstracts = [json.loads(row)["text"] for row in (DATA / "cranfield" / "corpus.jsonl").open(encoding="utf-8")]
    captions = (DATA / "multi30k" / "val.en").read_text(encoding="utf-8").split("\n")
    found = {
        "WikiText-2, validation": wiki,
        "Tiny Shakespeare, first half": [tokenized(line) for line in plays],
        "Cranfield abstracts": [tokenized(s) for text in abstracts for s in text.split(" . ")],
        "Multi30k captions": [tokenized(line) for line in captions],
    }
    return {name: [line for line in lines if line.strip()] for name, lines in found.items()}


def main() -> None:
    measured: dict[str, object] = {}
    lower, deviation = [], 0.0
    for name, lines in corpora().items():
        order = np.random.default_rng(0).permutation(len(lines))
        cut = len(lines) * 8 // 10
        train, test = [lines[i] for i in order[:cut]], [lines[i] for i in order[cut:]]
        for n in ORDERS:
            models = {
                b: generalized_skip_ngram_lm(train, order=n, backoff=b, fallback=True) for b in ("left", "skip")
            }
            found = {b: word_logprobs(model, test) for b, model in models.items()}
            lengths = np.array([len(v) for v in found["left"].logprobs])
            drop = perplexity_drop(found["left"].flat(), found["skip"].flat(), lengths)
            key = f"{name}, order {n}"
            measured[f"{key}: modified Kneser-Ney"] = perplexity_interval(found["left"])
            measured[f"{key}: skipping"] = perplexity_interval(found["skip"])
            measured[f"{key}: drop"] = drop
            if n == 4:
                lower.append(drop.low > 0)
            for line in test[:50]:
                total = models["skip"].distribution(line.split()[:n]).sum()
                deviation = max(deviation, abs(float(total) - 1))
    write_evidence(
        "generalized-skip-ngram-lm",
        [
            Claim(
                "with under 1.2 MB of training text its 4-gram perplexity is below modified Kneser-Ney's",
                measured,
                all(lower),
            ),
            Claim(
                "probabilities sum to one", {"largest deviation over 600 contexts": deviation}, deviation < 1e-9
            ),
        ],
        data={"split": "80% and 20% of sentences, at random", "corpora": list(corpora())},
        seeds={"split": 0, "bootstrap": 0},
    )


if __name__ == "__main__":
    main()
