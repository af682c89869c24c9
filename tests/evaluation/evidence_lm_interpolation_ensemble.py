"""Evidence for mixtures: does an n-gram model of a domain add to SmolLM2 on that domain's text?

    python -m tests.evidence lm-interpolation-ensemble        # some minutes

Cranfield abstracts (aerodynamics), sentences without duplicates shuffled by seed 0: the last 120 are dev and
test, the others train a modified Kneser-Ney and a skip n-gram model. SmolLM2-135M-Instruct reads each sentence
by itself.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence_record import FOLDER, Claim, write_evidence
from steelyard.evaluation.benchmarks.words.lm_interpolation_ensemble import (
    Member,
    interpolate,
    lm_interpolation_ensemble,
)
from steelyard.evaluation.benchmarks.words.word_logprobs import read_word_logprobs
from steelyard.models.loading import load_model
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm

DATA = Path(os.environ.get("STEELYARD_DATA", FOLDER.parents[1] / "shared" / "data"))
EACH = 60


def sentences() -> list[str]:
    rows = (DATA / "cranfield" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [" ".join(s.split()) for row in rows for s in json.loads(row)["text"].split(" . ")]
    kept = list(dict.fromkeys(line for line in lines if len(line.split()) > 4))
    random.Random(0).shuffle(kept)
    return kept


def main() -> None:
    lines = sentences()
    train, dev, test = lines[: -2 * EACH], lines[-2 * EACH : -EACH], lines[-EACH:]
    kneser_ney = generalized_skip_ngram_lm(train, order=4, backoff="left")
    skip = generalized_skip_ngram_lm(train, order=3)
    smollm2 = load_model("smollm2-135m")
    with tempfile.TemporaryDirectory() as folder:
        both = lm_interpolation_ensemble([kneser_ney, smollm2], dev, test, folder=folder)
        files = sorted(Path(folder).glob("*.dev.tsv"))
        on_dev = interpolate([Member(words, words) for words in map(read_word_logprobs, files)])
        three = lm_interpolation_ensemble([skip], dev, test, folder=folder)
        twice = lm_interpolation_ensemble([kneser_ney, kneser_ney], dev, test, unknown="class")
    rows = both.tables[0].rows
    drop = both.values["drop"]
    duplicate = twice.tables[0].rows[1][4]
    write_evidence(
        "lm-interpolation-ensemble",
        [
            Claim(
                "n-gram and SmolLM2 mixed beat both on domain text",
                {
                    "mixture": both.values["mixture"],
                    "SmolLM2 alone": rows[1][3],
                    "drop against the best member": drop,
                    "weight of SmolLM2": float(rows[1][1]),
                },
                drop.low > 0,
            ),
            Claim(
                "on dev the mixture is never worse than its best member",
                {k: on_dev.values[k] for k in ("mixture", "best_member")},
                on_dev.values["mixture"].value <= on_dev.values["best_member"].value,
            ),
            Claim("a duplicate adds nothing", {"drop": duplicate}, abs(duplicate.value) < 1e-6),
            Claim(
                "a third model's complementarity is told with its interval",
                {f"drop when {row[0]} is added to the others": row[5] for row in three.tables[0].rows},
                all(row[5] is not None for row in three.tables[0].rows),
            ),
        ],
        data={"name": "Cranfield abstracts", "train": len(train), "dev": EACH, "test": EACH},
        model={"name": smollm2.card.name, "fingerprint": smollm2.card.fingerprint},
        notes=[*both.notes, *three.notes],
        seeds={"shuffle": 0, "bootstrap": 0},
    )


if __name__ == "__main__":
    main()
