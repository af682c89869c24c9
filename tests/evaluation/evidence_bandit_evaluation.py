"""Evidence for bandit evaluation: hit rates of UCB-E and UCB-E-LRF against uniform allocation, over 50 seeds.

    python tests/evaluation/evidence_bandit_evaluation.py     # writes evidence/bandit-evaluation.json; minutes

Matrices: item response simulations with clear and with close leaders (another matrix for each seed), and three
real ones (another order for each seed) from ``benchmarks/score_matrices.py``: classifiers of HEADLINES trained
and measured there, and MMLU, where two models' answers are real and routers
between them simulated. A hit is the best system of the whole matrix or, on real matrices, one that McNemar's
exact test on all questions does not tell from it. Differences are paired by seed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.contracts import Interval
from steelyard.evaluation.acquisition.bandit_evaluation import bandit_evaluation
from steelyard.evaluation.acquisition.fixed_allocation import uniform_allocation
from steelyard.evaluation.acquisition.score_cells import observed_means, replay
from steelyard.evaluation.acquisition.simulated_scores import item_response_scores
from steelyard.evaluation.significance import mcnemar_exact
from steelyard.evaluation.statistics import mean_interval, paired_difference

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data"))
SEEDS = 50
BUDGETS = (0.1, 0.15)
BATCH = 16
LOW_RANK_BATCH, MEMBERS = 32, 16
Hits = dict[str, np.ndarray]


def module(path: Path) -> Any:
    """A Python file that is in no package."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def hits(draw: Callable[[int], tuple[np.ndarray, set[int]]]) -> Hits:
    """Policy and budget -> hit or miss for each seed; ``draw`` gives a seed's matrix and its best systems."""
    found: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        scores, goal = draw(seed)
        measure, shape = replay(scores), scores.shape
        for budget in BUDGETS:
            even = uniform_allocation(measure, shape, int(budget * scores.size), seed)
            picks = {
                "uniform": int(observed_means(even).argmax()),
                "ucb-e": bandit_evaluation(measure, shape, budget=budget, batch=BATCH, seed=seed).best,
                "ucb-e, paired": bandit_evaluation(
                    measure, shape, budget=budget, batch=BATCH, paired=True, seed=seed
                ).best,
            }
            if budget == max(BUDGETS):
                picks["ucb-e-lrf"] = bandit_evaluation(
                    measure,
                    shape,
                    policy="ucb-e-lrf",
                    budget=budget,
                    batch=LOW_RANK_BATCH,
                    members=MEMBERS,
                    seed=seed,
                ).best
            for name, pick in picks.items():
                found.setdefault(f"{name} at {budget:.0%}", []).append(float(pick in goal))
    return {name: np.array(values) for name, values in found.items()}


def simulated(ability: float) -> Callable[[int], tuple[np.ndarray, set[int]]]:
    """30 systems x 400 questions, one matrix a seed."""

    def draw(seed: int) -> tuple[np.ndarray, set[int]]:
        scores = item_response_scores(30, 400, ability=ability, seed=seed)
        means = scores.mean(axis=1)
        return scores, set(np.flatnonzero(means == means.max()).tolist())

    return draw


def real(scores: np.ndarray) -> Callable[[int], tuple[np.ndarray, set[int]]]:
    """The same matrix for every seed; seeds decide which cells are asked."""
    best = scores[scores.mean(axis=1).argmax()]
    goal = {i for i, row in enumerate(scores) if mcnemar_exact(row, best) > 0.05}
    return lambda seed: (scores, goal)


def exact() -> int:
    """How often a full budget names another than the best, over both policies and 50 matrices."""
    missed = 0
    for seed in range(SEEDS):
        scores = item_response_scores(10, 60, seed=seed)
        for policy in ("ucb-e", "ucb-e-lrf"):
            pick = bandit_evaluation(
                replay(scores), scores.shape, policy=policy, budget=1.0, members=4, seed=seed
            ).best  # type: ignore[arg-type]
            missed += scores[pick].mean() < scores.mean(axis=1).max()
    return missed


def gain(found: Hits, first: str, second: str) -> Interval:
    return paired_difference(found[first], found[second])


def main() -> None:
    """Write ``evidence/bandit-evaluation.json``."""
    evidence = module(ROOT / "tests" / "evidence_record.py")
    matrices = module(ROOT / "benchmarks" / "score_matrices.py")
    began = time.monotonic()
    found = {
        "simulated, clear leaders": hits(simulated(1.0)),
        "simulated, close leaders": hits(simulated(0.2)),
        "HEADLINES classifiers": hits(real(matrices.headlines(DATA).scores)),
        "MMLU, simulated routers": hits(real(matrices.mmlu_routers(DATA).scores)),
    }
    claims = []
    for name, table in found.items():
        rates = {policy: mean_interval(values) for policy, values in table.items()}
        for budget in ("10%", "15%"):
            difference = gain(table, f"ucb-e at {budget}", f"uniform at {budget}")
            claims.append(
                evidence.Claim(
                    f"{name}: UCB-E names the best more often than uniform allocation at {budget} of the cells",
                    {
                        "difference": difference,
                        "difference of the paired variant": gain(
                            table, f"ucb-e, paired at {budget}", f"uniform at {budget}"
                        ),
                    }
                    | {policy: rate for policy, rate in rates.items() if policy.endswith(budget)},
                    difference.low > 0,
                )
            )
    close = found["simulated, close leaders"]
    lead = gain(close, "ucb-e-lrf at 15%", "ucb-e at 15%")
    claims.append(
        evidence.Claim(
            "UCB-E-LRF names the best more often than UCB-E where leaders are close",
            {"difference": lead},
            lead.low > 0,
        )
    )
    missed = int(exact())
    claims.append(
        evidence.Claim("with a full budget the exact best is named", {"missed of 100": missed}, missed == 0)
    )
    file = evidence.write_evidence(
        "bandit-evaluation",
        claims,
        data={
            "simulated": "two-parameter logistic, 30 x 400, spread of abilities 1 (clear) and 0.2 (close)",
            "HEADLINES": "27 naive Bayes classifiers x 600 headlines, measured",
            "MMLU": "600 questions; two models' published answers and 19 routers simulated between them",
        },
        settings={"batch": BATCH, "batch of LRF": LOW_RANK_BATCH, "members of LRF": MEMBERS},
        seeds=SEEDS,
        seconds=round(time.monotonic() - began, 1),
    )
    print(file)


if __name__ == "__main__":
    main()
