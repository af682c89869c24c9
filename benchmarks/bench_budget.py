"""How many cells of a (systems, questions) matrix must be measured to pick the best, or the cheapest good, system.

python benchmarks/bench_budget.py --seeds 100

First table: the share of seeds in which a policy names a top system after 5 to 30% of the cells. "Top" is the best
of the whole matrix, or one that McNemar's exact test on all its questions does not tell from it (p > 0.05): with
the second best a question or two behind, no measurement could say more. Uniform sampling and successive halving
are given each budget apart; bandits are read off along one run.

Second table: the searches of `steelyard tune`, which must hand over the cheapest system within a tolerance of the
best and measure it on every question. Prices are drawn anew for each seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from requests_from_data import DATA
from score_matrices import Matrix, headlines, measured, mmlu_routers
from tables import section

from steelyard.evaluation.acquisition.bandit_evaluation import Selection, bandit_evaluation
from steelyard.evaluation.acquisition.fixed_allocation import longest_best, successive_halving, uniform_allocation
from steelyard.evaluation.acquisition.score_cells import observed_means, replay
from steelyard.evaluation.significance import mcnemar_exact
from steelyard.evaluation.statistics import wilson_interval
from steelyard.tuning.frontier import choose
from steelyard.tuning.search import Rules
from steelyard.tuning.strategies import STRATEGIES, search

BUDGETS = (0.05, 0.1, 0.15, 0.2, 0.3)
BATCH = 32
MEMBERS = 8
TOLERANCES = (0.02,)
RULES = Rules(completions=500)


def main() -> None:
    """Both tables for every matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--search-seeds", type=int, default=50, help="seeds of the second table")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    chosen = parser.parse_args()
    with section("bench_budget", write=chosen.write):
        for matrix in (mmlu_routers(chosen.data), headlines(chosen.data), measured()):
            describe(matrix)
            named(matrix, range(chosen.seeds))
            handed_over(matrix, range(chosen.search_seeds))


def describe(matrix: Matrix) -> None:
    """What the matrix holds, and how far apart its best are."""
    means = np.sort(matrix.scores.mean(axis=1))[::-1]
    systems, questions = matrix.scores.shape
    print(f"### {matrix.name}\n")
    print(
        f"{systems} systems x {questions} questions ({matrix.note}). The best has {means[0]:.3f}, the second "
        f"{means[1]:.3f}, the median {np.median(means):.3f}, the worst {means[-1]:.3f}; "
        f"{len(top(matrix))} cannot be told from the best.\n"
    )


def top(matrix: Matrix) -> set[int]:
    """The best system and those that a paired test on all questions does not tell from it."""
    best = matrix.scores[matrix.scores.mean(axis=1).argmax()]
    return {i for i, row in enumerate(matrix.scores) if mcnemar_exact(row, best) > 0.05}


def named(matrix: Matrix, seeds: Sequence[int]) -> None:
    """The share of seeds in which each policy names a top system (and in brackets the very best), by budget."""
    goal, means = top(matrix), matrix.scores.mean(axis=1)
    budgets = " | ".join(f"{budget:.0%} of cells" for budget in BUDGETS)
    print(f"| names a top system (the very best), {len(seeds)} seeds | {budgets} |")
    print("| --- |" + " --- |" * len(BUDGETS))
    for name, policy in POLICIES.items():
        picks = np.array([policy(matrix.scores, seed) for seed in seeds])
        cells = [
            f"{np.isin(column, list(goal)).mean():.0%} ({(means[column] == means.max()).mean():.0%})"
            for column in picks.T
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def uniform(scores: np.ndarray, seed: int) -> list[int]:
    measure, size = replay(scores), scores.size
    seen = [uniform_allocation(measure, scores.shape, int(b * size), seed) for b in BUDGETS]
    return [int(observed_means(s).argmax()) for s in seen]


def halving(scores: np.ndarray, seed: int) -> list[int]:
    measure, size = replay(scores), scores.size
    return [longest_best(successive_halving(measure, scores.shape, int(b * size), seed)) for b in BUDGETS]


def bandit(scores: np.ndarray, seed: int, policy: str, paired: bool = False) -> list[int]:
    """One run to the largest budget; before it, what would have been named at each smaller one."""
    found: Selection = bandit_evaluation(
        replay(scores),
        scores.shape,
        policy=policy,  # type: ignore[arg-type]
        budget=max(BUDGETS),
        batch=BATCH,
        paired=paired,
        members=MEMBERS,
        seed=seed,
    )
    path = [*found.path, (found.cells, found.best)]
    return [[best for cells, best in path if cells <= budget * scores.size][-1] for budget in BUDGETS]


POLICIES: dict[str, Callable[[np.ndarray, int], list[int]]] = {
    "uniform": uniform,
    "successive halving": halving,
    "UCB-E": lambda scores, seed: bandit(scores, seed, "ucb-e"),
    "UCB-E, paired": lambda scores, seed: bandit(scores, seed, "ucb-e", paired=True),
    "UCB-E-LRF": lambda scores, seed: bandit(scores, seed, "ucb-e-lrf"),
}


def handed_over(matrix: Matrix, seeds: Sequence[int]) -> None:
    """What each search of a tune hands over, and what it measures."""
    columns = "tolerance | the exhaustive choice | good enough | cells | at most 15% of cells"
    print(f"| `tune --search`, {len(seeds)} seeds | {columns} |")
    print("| --- | --- | --- | --- | --- | --- |")
    for tolerance in TOLERANCES:
        for strategy in STRATEGIES:
            results = np.array([tuned(matrix.scores, seed, strategy, tolerance) for seed in seeds])
            same, enough, share = results.T
            low, high = wilson_interval(same.sum(), len(same))
            print(
                f"| {strategy} | {tolerance:g} | {same.mean():.0%} [{low:.0%}, {high:.0%}] | "
                f"{enough.mean():.0%} | {share.mean():.0%} ({share.min():.0%} to {share.max():.0%}) | "
                f"{(share <= 0.15).mean():.0%} |"
            )
    print()


def tuned(scores: np.ndarray, seed: int, strategy: str, tolerance: float) -> tuple[bool, bool, float]:
    """Whether a search chooses as measuring everything does, whether what it chooses is good enough, its cells."""
    rng = np.random.default_rng(seed)
    names = [f"s{i}" for i in range(len(scores))]
    cost = {name: float(price) for name, price in zip(names, rng.random(len(names)), strict=True)}
    shuffled = scores[:, rng.permutation(scores.shape[1])]
    means = {name: float(row.mean()) for name, row in zip(names, shuffled, strict=True)}
    found = search(
        cost,
        [1.0] * scores.shape[1],
        lambda alive, at: {name: shuffled[int(name[1:]), list(at)].tolist() for name in alive},
        replace(RULES, seed=seed, tolerance=tolerance),
        strategy,
    )
    pick = choose({name: means[name] for name in found.survivors}, cost, tolerance=tolerance)
    enough = means[pick] >= max(means.values()) - tolerance - 1e-12
    return pick == choose(means, cost, tolerance=tolerance), enough, found.cells / scores.size


if __name__ == "__main__":
    main()
