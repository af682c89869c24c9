"""Examples chosen by likeness on a cipher language: do they help a model more than random ones?

The language is made by exchanging every word of English image captions (Multi30k) for an invented one, so
nothing of it can be known beforehand and a translation can only be read out of the examples. The model gets k
examples and is asked for the reference translation (bits per byte) and for its own (chrF).
"""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu

from evidence_record import Claim, write_evidence
from passages import Bm25Retriever
from steelyard.contracts import Continuation, Example, Sampling
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.models.loading import load_model
from steelyard.retrieval.icl_example_retrieval import icl_example_retrieval

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
POOL, TESTED, SHOTS, SEEDS = 500, 24, 4, (0, 1, 2)


def cipher(sentence: str) -> str:
    """Every word exchanged for one of two or three invented syllables."""

    def invented(word: str) -> str:
        rng = random.Random(word)
        return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((2, 3))))

    return re.sub(r"\w+", lambda found: invented(found[0].lower()), sentence)


def prompt(examples: list[Example], sentence: str) -> str:
    """The authors' template: sentence and translation under headings, examples parted by a line."""
    shown = [f"English sentence\n{e.prompt}\nZamali translation\n{e.answer}\n###\n" for e in examples]
    return "".join(shown) + f"English sentence\n{sentence}\nZamali translation\n"


def main() -> None:
    """Measure and write ``evidence/icl-example-retrieval.json``."""
    began = time.perf_counter()
    lines = (DATA / "multi30k" / "val.en").read_text(encoding="utf-8").splitlines()
    pool = [Example(line, cipher(line)) for line in lines[:POOL]]
    tested = [line for line in lines[POOL:] if len(line.split()) <= 14][:TESTED]
    model: Any = load_model("smollm2-135m")
    chosen = {
        "embedding": icl_example_retrieval(pool, load_model("minilm"), k=SHOTS).choose(tested),  # type: ignore[arg-type]
        "bm25": icl_example_retrieval(pool, None, Bm25Retriever(), k=SHOTS).choose(tested),
        **{f"random {s}": icl_example_retrieval(pool, k=SHOTS, seed=s).choose(tested) for s in SEEDS},
    }
    bits: dict[str, np.ndarray] = {}
    chrf: dict[str, np.ndarray] = {}
    for name, examples in chosen.items():
        prompts = [prompt(shown, sentence) for shown, sentence in zip(examples, tested, strict=True)]
        wanted = [cipher(sentence) for sentence in tested]
        scores = model.score([Continuation(p, w) for p, w in zip(prompts, wanted, strict=True)])
        bits[name] = np.array([-s.logprob / np.log(2) / s.utf8_bytes for s in scores])
        if name in ("embedding", "random 0"):
            answers = model.generate(prompts, Sampling(max_tokens=48, stop=("\n",)))
            chrf[name] = np.array(
                [sacrebleu.sentence_chrf(a.text, [w]).score for a, w in zip(answers, wanted, strict=True)]
            )
    chance = np.mean([bits[f"random {seed}"] for seed in SEEDS], axis=0)
    gains = {name: paired_difference(bits[name], chance) for name in ("embedding", "bm25")}
    written = paired_difference(chrf["embedding"], chrf["random 0"])
    write_evidence(
        "icl-example-retrieval",
        [
            Claim(
                f"{name} shots make the reference cheaper than random shots at equal k, over seeds",
                {
                    f"bits per byte, {name}": mean_interval(bits[name]),
                    **{f"bits per byte, random {s}": mean_interval(bits[f"random {s}"]) for s in SEEDS},
                    "difference": gains[name],
                },
                gains[name].high < 0,
            )
            for name in gains
        ]
        + [
            Claim(
                "translations behind shots chosen by embedding are better than behind random ones (chrF)",
                {
                    "chrF, embedding": mean_interval(chrf["embedding"]),
                    "chrF, random 0": mean_interval(chrf["random 0"]),
                    "difference": written,
                },
                written.low > 0,
            )
        ],
        data=f"Multi30k validation, English in a word cipher: pool of {POOL}, {TESTED} sentences up to 14 words",
        model="SmolLM2-135M-Instruct; sentence vectors by all-MiniLM-L6-v2",
        settings={"k": SHOTS, "side": "source"},
        seeds=list(SEEDS),
        seconds=round(time.perf_counter() - began),
    )


if __name__ == "__main__":
    main()
