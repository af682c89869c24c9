"""Evidence for active evaluation acquisition: errors of estimated benchmark scores for models held out.

    python tests/evaluation/evidence_active_evaluation_acquisition.py    # minutes

Benchmarks: two item response simulations (two abilities, 160 models x 200 prompts), and HEADLINES with 80 naive
Bayes classifiers trained here on different features, amounts of data and smoothings (200 headlines, bag-of-words
factors as embeddings). A quarter of the models is held out; the rest train the neural process, calibrate the
intervals and train the policy. Compared are, on the same held-out models, the mean of a random subset (20
subsets each) and the mean of k-means centres weighted by the sizes of their clusters.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from steelyard.evaluation.acquisition.acquisition_policies import cluster_centres
from steelyard.evaluation.acquisition.active_evaluation_acquisition import (
    KnownBenchmark,
    estimate,
    interval_factor,
    learn_benchmark,
)
from steelyard.evaluation.acquisition.simulated_scores import item_response_scores
from steelyard.evaluation.statistics import mean_interval, paired_difference

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data"))
BUDGETS = (0.05, 0.1)
POLICIES = ("random", "cluster", "uncertainty", "information-gain", "ppo")
SUBSETS = 20


def module(path: Path) -> Any:
    """A Python file that is in no package."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def classifiers(prompts: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers of 80 classifiers to headlines, and bag-of-words factors of these."""
    matrices = module(ROOT / "benchmarks" / "score_matrices.py")
    rows = [row for row in matrices.rows_of(DATA, "frugalgpt_headlines/train.csv") if len(row) >= 2]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows))
    texts, labels = [rows[i][0].lower() for i in order], [rows[i][1] for i in order]
    scores = []
    for kind in matrices.FEATURES.values():
        pieces = [kind(text) for text in texts]
        for _ in range(27):
            size = int(np.exp(rng.uniform(np.log(40), np.log(1500))))
            smoothing = float(np.exp(rng.uniform(-4, 2)))
            start = int(rng.integers(prompts, len(texts) - size))
            train = slice(start, start + size)
            guesses = matrices.naive_bayes(pieces[train], labels[train], pieces[:prompts], smoothing)
            scores.append([float(g == label) for g, label in zip(guesses, labels[:prompts], strict=True)])
    words = [set(text.split()) for text in texts[:prompts]]
    vocabulary = sorted(set.union(*words))
    counts = np.array([[word in bag for word in vocabulary] for bag in words], dtype=np.float32)
    return rng.permutation(np.array(scores)[:80], axis=0), counts


def plain_errors(row: np.ndarray, count: int, features: np.ndarray, seed: int) -> tuple[float, float]:
    """Errors of a random subset's mean (on average) and of the weighted mean of cluster centres."""
    rng = np.random.default_rng(seed)
    subsets = [abs(row[rng.choice(len(row), count, replace=False)].mean() - row.mean()) for _ in range(SUBSETS)]
    centres = cluster_centres(features, count, 0)
    nearest = np.square(features[:, None] - features[centres][None]).sum(axis=2).argmin(axis=1)
    return float(np.mean(subsets)), float(abs(row[centres][nearest].mean() - row.mean()))


def errors(known: KnownBenchmark, held: np.ndarray, budget: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Errors of each policy and baseline for each held-out model, and whether intervals cover."""
    count = round(budget * held.shape[1])
    features = known.process.features.numpy().astype(float)
    plain = np.array([plain_errors(row, count, features, i) for i, row in enumerate(held)])
    found = {"random subset's mean": plain[:, 0], "cluster centres' mean": plain[:, 1]}
    covered: list[bool] = []
    for policy in POLICIES:
        factor = interval_factor(known, policy, count)
        scores = [
            estimate(known, lambda at, row=row: row[at], policy, count, widening=factor, seed=i).score
            for i, row in enumerate(held)
        ]
        truth = held.mean(axis=1)
        found[policy] = np.abs([s.value for s in scores] - truth)
        covered += [s.low - 1e-9 <= t <= s.high + 1e-9 for s, t in zip(scores, truth, strict=True)]
    return found, np.array(covered)


class Measured(NamedTuple):
    """Errors by budget and policy for held-out models, whether intervals covered, and the error with all asked."""

    errors: dict[float, dict[str, np.ndarray]]
    covered: np.ndarray
    exact: float


def measure(scores: np.ndarray, embeddings: np.ndarray | None) -> Measured:
    """Hold out the first quarter of the models, learn from the rest, and estimate."""
    held = scores[: len(scores) // 4]
    known = learn_benchmark(scores[len(scores) // 4 :], embeddings, ppo=True, seed=0)
    found = {budget: errors(known, held, budget) for budget in BUDGETS}
    whole = estimate(known, lambda at, row=held[0]: row[at], "uncertainty", scores.shape[1], batch=50)
    return Measured(
        {budget: table for budget, (table, _) in found.items()},
        np.concatenate([cover for _, cover in found.values()]),
        abs(whole.score.value - held[0].mean()),
    )


def main() -> None:
    """Write ``evidence/active-evaluation-acquisition.json``."""
    evidence = module(ROOT / "tests" / "evidence_record.py")
    torch.set_num_threads(1)
    headlines, words = classifiers()
    benchmarks: list[tuple[str, np.ndarray, np.ndarray | None]] = [
        ("simulated", item_response_scores(160, 200, dimensions=2, seed=10), None),
        ("simulated", item_response_scores(160, 200, dimensions=2, seed=11), None),
        ("HEADLINES classifiers", headlines, words),
    ]
    measured = [measure(scores, embeddings) for _, scores, embeddings in benchmarks]
    tables: dict[str, dict[str, np.ndarray]] = {}
    for (name, _, _), found in zip(benchmarks, measured, strict=True):
        for budget, errors_ in found.errors.items():
            table = tables.setdefault(f"{name}, {budget:.0%} of the prompts", {})
            for policy, values in errors_.items():
                table[policy] = np.concatenate([table.get(policy, np.empty(0)), values])
    claims = []
    for name, table in tables.items():
        figures = {policy: mean_interval(values) for policy, values in table.items()}
        gains = {
            f"ppo minus {other}": paired_difference(table["ppo"], table[other])
            for other in ("random subset's mean", "cluster centres' mean")
        }
        claims.append(
            evidence.Claim(
                f"{name}: the learned policy errs less than means of random subsets and of cluster centres",
                figures | gains,
                all(gain.high < 0 for gain in gains.values()),
            )
        )
    pooled = {policy: np.concatenate([table[policy] for table in tables.values()]) for policy in POLICIES}
    learned = paired_difference(pooled["ppo"], pooled["uncertainty"])
    claims.append(
        evidence.Claim(
            "the learned policy is not worse than uncertainty sampling (error at most 0.005 larger, all tables)",
            {"ppo minus uncertainty": learned},
            learned.high < 0.005,
        )
    )
    coverage = mean_interval(np.concatenate([found.covered for found in measured]).astype(float))
    claims.append(
        evidence.Claim(
            "95% predictive intervals cover about as often (within 5 points), all policies and tables",
            {"coverage": coverage},
            abs(coverage.value - 0.95) <= 0.05,
        )
    )
    exact = max(found.exact for found in measured)
    claims.append(evidence.Claim("no error with every prompt asked", {"largest error": exact}, exact < 1e-9))
    file = evidence.write_evidence(
        "active-evaluation-acquisition",
        claims,
        data=[f"{name}: {len(s)} models x {s.shape[1]} prompts" for name, s, _ in benchmarks],
        seeds={"simulations": [10, 11], "training": 0, "estimates": "one a held-out model"},
    )
    print(file)


if __name__ == "__main__":
    main()
