"""Evidence for pico-peer-review and peer-rank-discussion: do weighted peers order models better than equal votes?

    python -m tests.evidence pico-peer-review        # writes both parts' files; about three minutes

Simulated reviewers, since seven real models of known order do not fit here: abilities from 1.5 to -1.5 (in
standard deviations of an answer's quality), accuracy as a reviewer from 0.9 to 0.3 along with ability, six
questions, every pair judged by all, a hundred seeds; once fair and once with reviewers
that insist on their own answer half of the time. Inversions against the planted order, paired by seed.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.stats import kendalltau

from evaluation.ranking.simulated import peer_battles
from evidence_record import Claim, write_evidence
from steelyard.contracts import Interval
from steelyard.evaluation.ranking.peer_rank_discussion import peer_rank
from steelyard.evaluation.ranking.pico_peer_review import reviewed, uniform_scores
from steelyard.evaluation.ranking.rank_agreement import (
    count_inversions,
    longest_increasing_subsequence,
    permutation_entropy,
)
from steelyard.evaluation.ranking.records import review_tables
from steelyard.evaluation.statistics import mean_interval, paired_difference

SEEDS, MODELS, QUESTIONS = 100, 7, 6
SKILL, ACCURACY = np.linspace(1.5, -1.5, MODELS), np.linspace(0.9, 0.3, MODELS)


def measure(self_bias: float) -> dict[str, dict[str, list[float]]]:
    """Per method: inversions, LIS and PEN of its order per seed; and what its weights and objective did."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(SEEDS):
        fought = peer_battles(SKILL, ACCURACY, questions=QUESTIONS, seed=seed, self_bias=self_bias)
        wins, counts = (table.sum(axis=0) for table in review_tables(fought))
        learned = reviewed(wins, counts, seed=seed)
        whole = reviewed(wins, counts, eliminate=0.0, seed=seed)
        peers = peer_rank(wins, counts)
        orders = {
            "uniform": uniform_scores(wins, counts),
            "pico": learned.scores,
            "pico without elimination": whole.scores,
            "peer rank": peers.scores,
        }
        for name, scores in orders.items():
            order = np.argsort(-scores, kind="stable").tolist()
            own = found.setdefault(name, {"CIN": [], "LIS": [], "PEN": []})
            own["CIN"].append(count_inversions(order))
            own["LIS"].append(longest_increasing_subsequence(order))
            own["PEN"].append(permutation_entropy(order))
        extra = found.setdefault("details", {"rose": [], "weights": [], "peer weights": []})
        extra["rose"].append(
            float(np.all(np.diff(whole.objective) >= 0) and whole.objective[-1] > whole.objective[0])
        )
        extra["weights"].append(float(kendalltau(whole.weights, ACCURACY).statistic))
        extra["peer weights"].append(float(kendalltau(peers.weights, ACCURACY).statistic))
    return found


def main() -> None:
    began = time.monotonic()
    settings = {"fair": measure(0.0), "self-biased": measure(0.5)}
    pico, peers = [], []
    for name, found in settings.items():
        uniform = found["uniform"]["CIN"]
        means = {
            f"{m} {k}": mean_interval(v) for m, own in found.items() if m != "details" for k, v in own.items()
        }
        for method, claims in (("pico", pico), ("peer rank", peers)):
            less: Interval = paired_difference(found[method]["CIN"], uniform)
            claims.append(
                Claim(
                    f"{name} reviewers: fewer inversions than equal votes",
                    {"difference": less, **means},
                    less.high < 0,
                )
            )
        rose, weights = found["details"]["rose"], mean_interval(found["details"]["weights"])
        pico.append(Claim(f"{name} reviewers: the objective rises", {"share": mean_interval(rose)}, all(rose)))
        pico.append(Claim(f"{name} reviewers: weights follow accuracy", {"Kendall": weights}, weights.low > 0))
        followed = mean_interval(found["details"]["peer weights"])
        peers.append(Claim(f"{name} reviewers: weights follow skill", {"Kendall": followed}, followed.low > 0))
    facts = {
        "data": "simulated reviewers and answers, see the check",
        "model": None,
        "seeds": {"simulation": [0, SEEDS - 1]},
        "settings": {"models": MODELS, "questions": QUESTIONS, "eliminate": 0.6},
        "seconds": round(time.monotonic() - began),
    }
    write_evidence("pico-peer-review", pico, **facts)
    write_evidence("peer-rank-discussion", peers, **facts)


if __name__ == "__main__":
    main()
