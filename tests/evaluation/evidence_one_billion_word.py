"""Evidence for the sentence benchmark: its baseline beside a modified one, and its mixture with SmolLM2.

    python -m tests.evidence one-billion-word        # some minutes

WikiText-2 (validation) split at " . " into sentences: 40 shards, the last of them held out in 4 parts. The full
benchmark is not at hand, so its perplexity of 67.6 is not measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence_record import FOLDER, Claim, write_evidence
from steelyard.evaluation.benchmarks.words.lm_interpolation_ensemble import Member, interpolate
from steelyard.evaluation.benchmarks.words.one_billion_word import one_billion_word, train_baseline
from steelyard.evaluation.benchmarks.words.sentence_corpus import prepare_corpus
from steelyard.evaluation.benchmarks.words.word_logprobs import perplexity_interval, word_logprobs
from steelyard.models.loading import load_model

DATA = Path(os.environ.get("STEELYARD_DATA", FOLDER.parents[1] / "shared" / "data"))
SIZES = {"shards": 40, "heldout_parts": 4}


def main() -> None:
    text = (DATA / "wikitext2" / "valid.txt").read_text(encoding="utf-8").replace("<unk>", "Unk")
    lines = [
        s
        for line in text.split("\n")
        if not line.startswith(" =")
        for s in line.replace(" . ", " .\n").split("\n")
    ]
    corpus = prepare_corpus(lines, **SIZES)
    smollm2 = load_model("smollm2-135m")
    found = one_billion_word([smollm2], lines, **SIZES)
    modified = train_baseline(corpus, discounts="modified")
    other = perplexity_interval(word_logprobs(modified, corpus.heldout[0]))
    baseline = train_baseline(corpus)
    deviation = max(
        abs(float(baseline.distribution(line.split()[:k]).sum()) - 1)
        for line in corpus.heldout[0][:60]
        for k in range(5)
    )
    tune = [word_logprobs(model, corpus.heldout[1]) for model in (baseline, smollm2)]
    tuned = interpolate([Member(words, words) for words in tune])
    mine = found.values["baseline"].value
    write_evidence(
        "one-billion-word",
        [
            Claim(
                "Kneser-Ney conditionals sum to one",
                {"largest deviation over 300 contexts": deviation},
                deviation < 1e-9,
            ),
            Claim(
                "perplexity near the modified variant's (within 5%)",
                {"single discount": found.values["baseline"], "modified": other},
                abs(mine / other.value - 1) < 0.05,
            ),
            Claim(
                "the mixture is never worse than its best part on tuning data",
                {k: tuned.values[k] for k in ("mixture", "best_member")},
                tuned.values["mixture"].value <= tuned.values["best_member"].value,
            ),
        ],
        values={name: list(value) for name, value in found.values.items()},
        data={"name": "WikiText-2, validation, as sentences", **SIZES},
        model={"name": smollm2.card.name, "fingerprint": smollm2.card.fingerprint},
        notes=list(found.notes),
        seeds={"shuffle": 0},
        not_measured="the published corpus and its perplexity of 67.6",
    )


if __name__ == "__main__":
    main()
