"""pfgen-bench: its numbers against the reference implementation's, and what they say of damaged answers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from evidence_record import Claim, write_evidence
from steelyard.evaluation.benchmarks.open_ended.judge_free_ngram_benchmark import AnswerScorer
from steelyard.evaluation.benchmarks.open_ended.ngram_distribution import NgramDistribution

HERE = Path(__file__).parent
FIXTURE = HERE / "fixtures" / "judge-free-ngram-benchmark"
EXPECTED = HERE / "benchmarks" / "judge_free_ngram_expected.json"
NAMES = ("score", "fluency", "truthfulness", "helpfulness")
LADDER = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)


def main() -> None:
    """Measure and write ``evidence/judge-free-ngram-benchmark.json``."""
    questions = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FIXTURE.glob("Q*.json")}
    scorers = {name: _scorer(question) for name, question in sorted(questions.items())}
    cases = json.loads(EXPECTED.read_text(encoding="utf-8"))
    differing = sum(
        scorers[case["question_id"]].score(case["answer"]) != {name: case[name] for name in NAMES}
        for case in cases
    )
    fluency = [
        sum(made.fluency(text).score for text in texts) / len(texts)
        for question in questions.values()
        for texts in question["answers"].values()
        for made in [NgramDistribution.of(texts)]
    ]
    ladder = [_mean_score(questions, scorers, share) for share in LADDER]
    claims = [
        Claim(
            "every number of every answer equals the reference implementation's",
            {"answers": len(cases), "differing": differing},
            differing == 0,
        ),
        Claim(
            "the references' mean fluency is 1",
            {"lowest": min(fluency), "highest": max(fluency)},
            max(abs(value - 1) for value in fluency) < 1e-9,
        ),
        Claim(
            "the mean score falls as more characters are replaced; replaced altogether, little is left",
            {f"score at {share:.0%}": value for share, value in zip(LADDER, ladder, strict=True)},
            ladder == sorted(ladder, reverse=True) and ladder[-1] < 0.1,
        ),
    ]
    write_evidence(
        "judge-free-ngram-benchmark",
        claims,
        model="none: scoring only",
        data="three own questions in the official layout with 11 references; scores recorded from pfgen_eval.py",
        seeds=[0],
    )


def _scorer(question: dict[str, Any]) -> AnswerScorer:
    sets = question["answers"].values()
    return AnswerScorer(tuple(NgramDistribution.of(texts) for texts in sets), tuple(question["keywords"]))


def _mean_score(questions: dict[str, Any], scorers: dict[str, AnswerScorer], share: float) -> float:
    rng = random.Random(0)
    scores = []
    for name, question in sorted(questions.items()):
        for text in (text for texts in question["answers"].values() for text in texts):
            damaged = "".join(chr(rng.randrange(0x4E00, 0x9000)) if rng.random() < share else c for c in text)
            scores.append(scorers[name].score(damaged)["score"])
    return sum(scores) / len(scores)


if __name__ == "__main__":
    main()
