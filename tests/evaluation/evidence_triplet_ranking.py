"""Evidence for triplet-ranking: planted orders against the most common answer, and real answers against people.

    python -m tests.evidence triplet-ranking        # writes evidence/triplet-ranking.json; about a minute

Simulated multiple choice: six models of accuracy 0.9 to 0.25 on 120 questions of four choices, and six weak ones
(0.5 to 0.25), a hundred seeds each. Real answers: the five models of PandaLM's human-labelled test set, answers
to the same instructions by ROUGE-L, against the order that Bradley-Terry gives to the people's majority votes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from evaluation.ranking.simulated import multiple_choice
from evidence_record import Claim, write_evidence
from steelyard.contracts import Verdict
from steelyard.evaluation.judging.human_labels import pandalm
from steelyard.evaluation.ranking.answer_similarity import most_common_answer_scores
from steelyard.evaluation.ranking.bradley_terry import bradley_terry
from steelyard.evaluation.ranking.rank_agreement import rank_biased_overlap
from steelyard.evaluation.ranking.records import AnswerTable, battles
from steelyard.evaluation.ranking.triplet_ranking import triplet_ranking
from steelyard.evaluation.statistics import mean_interval, paired_difference

DATA = Path(os.environ.get("STEELYARD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SEEDS = 100
SETTINGS = {"able": [0.9, 0.8, 0.7, 0.6, 0.5, 0.25], "weak": [0.5, 0.45, 0.4, 0.35, 0.3, 0.25]}


def simulated(accuracy: Sequence[float]) -> dict[str, list[float]]:
    truth = [f"m{i}" for i in range(len(accuracy))]
    found: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        answers = multiple_choice(accuracy, questions=120, seed=seed)
        base = np.argsort(-most_common_answer_scores(answers), kind="stable")
        orders = {
            "full": triplet_ranking(answers, resamples=0).ranked,
            "greedy": triplet_ranking(answers, variant="greedy", resamples=0).ranked,
            "most common": [answers.names[i] for i in base],
        }
        for name, order in orders.items():
            places = [truth.index(one) for one in order]
            found.setdefault(f"{name} tau", []).append(float(kendalltau(range(len(truth)), places).statistic))
            found.setdefault(f"{name} RBO", []).append(rank_biased_overlap(truth, list(order)))
            found.setdefault(f"{name} last", []).append(float(order[-1] == truth[-1]))
    return found


def people_and_answers() -> tuple[list[str], AnswerTable]:
    """The order by people's votes, and the answers of the same models to the same instructions."""
    file = DATA / "pandalm" / "testset-v1_a.json"
    labels = {pair.id: pair.label for pair in pandalm(file).pairs}
    rows = json.loads(file.read_text(encoding="utf-8"))
    names = sorted({name for row in rows for name in row["cmp_key"].split("_")})
    prompts = list(dict.fromkeys((row["instruction"], row["input"]) for row in rows))
    texts: dict[tuple[str, int], str] = {}
    entries, verdicts = [], []
    for row in rows:
        first, second = row["cmp_key"].split("_")
        question = prompts.index((row["instruction"], row["input"]))
        texts[first, question], texts[second, question] = row["response1"], row["response2"]
        label = labels.get(f"{row['idx']}-{row['cmp_key']}")
        if label is not None:
            entries.append((question, 0, names.index(first), names.index(second)))
            verdicts.append(Verdict(label))
    human = bradley_terry(battles(names, ["people"], entries, verdicts), resamples=20)
    whole = [q for q in range(len(prompts)) if all((name, q) in texts for name in names)]
    table = AnswerTable(
        tuple(names), tuple(map(str, whole)), tuple(tuple(texts[name, q] for q in whole) for name in names)
    )
    return list(human.ranked), table


def main() -> None:
    began = time.monotonic()
    claims = []
    for name, accuracy in SETTINGS.items():
        found = simulated(accuracy)
        means = {key: mean_interval(values) for key, values in found.items()}
        for variant in ("full", "greedy"):
            gain = {
                metric: paired_difference(found[f"{variant} {metric}"], found[f"most common {metric}"])
                for metric in ("tau", "RBO")
            }
            claims.append(
                Claim(
                    f"{name} models, {variant}: tau and RBO at least the most common answer's on average",
                    {**means, **{f"{metric} minus baseline": value for metric, value in gain.items()}},
                    all(value.value >= 0 for value in gain.values()),
                )
            )
    human, table = people_and_answers()
    real = {
        v: triplet_ranking(table, variant=v, agreement="rouge-l", resamples=0).ranked for v in ("full", "greedy")
    }
    tests = {v: kendalltau(range(len(human)), [human.index(n) for n in order]) for v, order in real.items()}
    overlap = {f"RBO {v}": rank_biased_overlap(human, list(order)) for v, order in real.items()}
    claims.append(
        Claim(
            "PandaLM's five models: the order from answers correlates with the people's (Kendall's test)",
            {
                "people": " > ".join(human),
                **{v: " > ".join(order) for v, order in real.items()},
                **{f"tau {v}": float(test.statistic) for v, test in tests.items()},
                **{f"p {v}": float(test.pvalue) for v, test in tests.items()},
                **overlap,
                "questions": len(table.questions),
            },
            tests["full"].statistic > 0 and tests["full"].pvalue < 0.05,
        )
    )
    write_evidence(
        "triplet-ranking",
        claims,
        data=["simulated multiple choice", "PandaLM testset-v1 (answers and three annotators' votes)"],
        model=None,
        seeds={"simulation": [0, SEEDS - 1]},
        seconds=round(time.monotonic() - began),
    )


if __name__ == "__main__":
    main()
