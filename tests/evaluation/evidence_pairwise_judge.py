"""Evidence for pairwise-judge: how far does SmolLM2-135M-Instruct agree with people, is it biased?

    python -m tests.evidence pairwise-judge        # writes evidence/pairwise-judge.json; about four minutes

Pairs spread over PandaLM's human-labelled test set, and the first of LLMBar's three sets (a third each), both
orders, verdicts by scoring the labels A, B and Tie. The claims are those of a judge that can be trusted; whether a
model of this size is one is what is measured.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from evidence_record import Claim, write_evidence
from steelyard.evaluation.judging.calibration import calibrate, position_biased
from steelyard.evaluation.judging.human_labels import LabelledPairs, llmbar, pandalm
from steelyard.evaluation.judging.pairwise_judge import pairwise_judge
from steelyard.systems.loading import load

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
PAIRS = 60
LLMBAR = ("Natural", "Adversarial_Neighbor", "Adversarial_GPTInst")


def sets() -> list[LabelledPairs]:
    people = pandalm(DATA / "pandalm" / "testset-v1_a.json")
    step = len(people.pairs) // PAIRS  # spread over the prompts, which come in runs of six pairs
    natural = [llmbar(DATA / "llmbar" / f"{name}.json").pairs[: PAIRS // 3] for name in LLMBAR]
    return [
        replace(people, pairs=people.pairs[::step][:PAIRS], without_majority=0),
        LabelledPairs("LLMBar", tuple(pair for own in natural for pair in own)),
    ]


def main() -> None:
    began = time.monotonic()
    model: Any = load("smollm2-135m")
    judge = pairwise_judge(model, method="score")
    claims, tables = [], {}
    for labelled in sets():
        found = calibrate(judge, labelled)
        values = dict(found.values)
        commonest = max(
            sum(pair.label == label for pair in labelled.pairs) / len(labelled.pairs) for label in (0, 0.5, 1)
        )
        claims += [
            Claim(
                f"{labelled.name}: agrees with people more than the commonest label does",
                {**values, "commonest label": commonest},
                values["agreement"].low > commonest,
            ),
            Claim(
                f"{labelled.name}: no position bias in single replies",
                {name: values[name] for name in ("first shown", "inconsistent") if name in values},
                not position_biased(values),
            ),
        ]
        tables[labelled.name] = found.to_record()["tables"]
    write_evidence(
        "pairwise-judge",
        claims,
        data={"sets": ["PandaLM testset-v1", *(f"LLMBar {name}" for name in LLMBAR)], "pairs": PAIRS},
        model={"name": "smollm2-135m", "fingerprint": model.card.fingerprint},
        settings={"method": "score", "swap": True, "ties": True},
        seeds={"bootstrap": 0},
        tables=tables,
        seconds=round(time.monotonic() - began),
    )


if __name__ == "__main__":
    main()
