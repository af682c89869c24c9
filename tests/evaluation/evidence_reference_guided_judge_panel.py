"""Evidence for reference-guided-judge-panel: is the vote as good as its median judge where exact match can grade?

    python -m tests.evidence reference-guided-judge-panel        # about two minutes

Natural Questions (open): each question with an accepted answer, or with the answer to another question of the set,
turn by turn, so that exact match says which are right. Judges: SmolLM2-135M-Instruct, whole and without one or two
of its blocks; they share most of their weights, so their errors are not independent. Beside them three simulated
judges, independent and right with probability 0.7, whose vote should be right with 0.784.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

from evaluation.judging.scripted_judges import verifier
from evidence_record import Claim, write_evidence
from steelyard.compression.sleb import without_blocks
from steelyard.contracts import Answers
from steelyard.evaluation.grading import exact_match
from steelyard.evaluation.judging.reference_guided_judge_panel import panel_report, reference_guided_judge_panel
from steelyard.systems.loading import load

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
QUESTIONS = 60
BLOCKS = (5, 4)
"""The two blocks that sleb removes first; see its evidence."""


def questions() -> tuple[list[Answers], list[float]]:
    lines = (DATA / "nq_open" / "dev_even.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[: 2 * QUESTIONS]]
    answers, truth = [], []
    for i in range(QUESTIONS):
        gold = rows[i]["answer"]
        said = gold[-1] if i % 2 else rows[QUESTIONS + i]["answer"][0]
        answers.append(Answers(rows[i]["question"], said, reference=gold[0]))
        truth.append(exact_match(said, gold))
    return answers, truth


def main() -> None:
    began = time.monotonic()
    model: Any = load("smollm2-135m")
    judges = [model, without_blocks(model, BLOCKS[:1]), without_blocks(model, BLOCKS)]
    answers, truth = questions()
    real = panel_report(reference_guided_judge_panel(judges, explanation=False, method="score"), answers, truth)
    singles = [row[1] for row in real.tables[0].rows[1:]]
    simulated = [verifier(0.7, seed, f"judge {seed}") for seed in range(3)]
    many = [Answers(f"What is {i}?", str(i) if i % 2 else "no", reference=str(i)) for i in range(4000)]
    voted = panel_report(
        reference_guided_judge_panel(simulated), many, [float(answer.first == answer.reference) for answer in many]
    )
    vote = voted.values["agreement"]
    claims = [
        Claim(
            "where exact match can grade, the vote agrees with gold at least as often as the median judge",
            {**real.values, **{f"judge {i}": single for i, single in enumerate(singles)}},
            real.values["agreement"].value >= median(single.value for single in singles),
        ),
        Claim("three independent judges of 0.7 vote to 0.784", {"vote": vote}, vote.low <= 0.784 <= vote.high),
    ]
    write_evidence(
        "reference-guided-judge-panel",
        claims,
        data={"name": "Natural Questions open, dev", "questions": QUESTIONS, "right": sum(truth)},
        model={"name": "smollm2-135m", "without blocks": [[], [5], [5, 4]]},
        settings={"method": "score", "explanation": False},
        seeds={"bootstrap": 0, "simulated": [0, 1, 2]},
        seconds=round(time.monotonic() - began),
    )


if __name__ == "__main__":
    main()
