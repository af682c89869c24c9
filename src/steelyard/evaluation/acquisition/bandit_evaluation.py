"""Finding the best of many methods without measuring them all: bandits over a score matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from steelyard.errors import UsageError
from steelyard.evaluation.acquisition.low_rank import LowRank
from steelyard.evaluation.acquisition.score_cells import MeasureCells, Scores, fill, unseen
from steelyard.evaluation.acquisition.upper_confidence import Step, ucb_e, ucb_e_lrf
from steelyard.parts import part

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a bandit measured, and the method it names.

    ``seen`` is the score matrix (methods, examples) with NaN where nothing was measured, ``means`` the estimated
    mean of each method (-inf where there is none), ``best`` the method with the
    largest. ``path`` holds, before each pull, how many cells were measured and which method would have been
    named then.
    """

    best: int
    means: Scores
    seen: Scores
    path: tuple[tuple[int, int], ...] = ()

    @property
    def cells(self) -> int:
        """How many cells were measured."""
        return int((~np.isnan(self.seen)).sum())


@part(papers=[178], kind="acquisition")
def bandit_evaluation(
    measure: MeasureCells,
    shape: tuple[int, int],
    *,
    policy: Literal["ucb-e", "ucb-e-lrf"] = "ucb-e",
    budget: Annotated[float, Field(gt=0, le=1)] = 0.15,
    batch: PositiveInt = 32,
    bonus: PositiveFloat = 1.0,
    paired: bool = False,
    warm_up: Share = 0.05,
    spread: NonNegativeFloat = 5.0,
    rank: PositiveInt = 1,
    members: Annotated[int, Field(ge=2)] = 64,
    seed: int = 0,
) -> Selection:
    """Name the best of many methods from a share of the (method, example) cells.

    Methods are the arms of a bandit, and a pull measures ``batch`` further examples of one method:

    - ``ucb-e`` pulls the method with the largest mean + sqrt(``bonus`` / n), on random examples;
    - ``ucb-e-lrf`` first measures random cells (``warm_up``), then fits an ensemble of low-rank factorizations and
      pulls the method with the largest mean of measured scores and optimistic predictions (prediction +
      ``spread`` x uncertainty), on the examples where predictions are least sure.

    The method with the largest estimated mean is named: of what it answered for ``ucb-e``, of measured and
    predicted scores together for ``ucb-e-lrf``. With a budget of 1 both measure everything, and the exact best
    is named. Batches larger than one trade a little adaptivity for cheaper measuring, as in the authors'
    package.

    Args:
        measure: gives the scores, between 0 and 1, of the cells asked for; called once a pull.
        shape: number of methods and of examples.
        policy: which of the two.
        budget: share of all cells that may be measured.
        batch: cells a pull.
        bonus: the exploration parameter a of UCB-E. In theory it grows with the budget over the hardness of the
            problem, which is not known beforehand; the paper uses 1.
        paired: whether ``ucb-e`` asks all methods the examples of one random order, rather than random ones of
            each (the paper): means then differ by the methods alone, not by how easy their examples were.
        warm_up: share of random cells before the first factorization.
        spread: weight of the uncertainty, eta in the paper.
        rank: rank of the factorizations.
        members: size of the ensemble.
        seed: seed of every draw.

    Raises:
        UsageError: no method or no example.
        ValueError: a score that is not finite or outside 0..1.

    Source:
        On Speeding Up Language Model Evaluation (ICLR 2025), algorithms 1 and 2; settings of the authors' package
        banditeval.

    Relations:
        ``active-evaluation-acquisition`` estimates the score of one new model from those of earlier ones; here
        methods are compared with each other and nothing is known beforehand. ``steelyard tune --search ucb-e``
        uses the same steps and then measures in full whatever its choice rests on.

    Example:
        >>> from steelyard.evaluation.acquisition.score_cells import replay
        >>> scores = (np.random.default_rng(0).random((5, 200)) < [[0.2], [0.3], [0.9], [0.4], [0.1]]) * 1.0
        >>> found = bandit_evaluation(replay(scores), scores.shape, budget=0.3, batch=8)
        >>> found.best, found.cells
        (2, 300)
    """
    if min(shape) < 1:
        raise UsageError(
            f"part 'bandit-evaluation': a score matrix of {shape[0]} methods and {shape[1]} examples is empty"
        )
    low_rank = LowRank(rank=rank, members=members)
    rng = np.random.default_rng(seed)
    order = rng.permutation(shape[1]) if paired else None

    def step(seen: Scores, count: int) -> Step:
        if policy == "ucb-e":
            return ucb_e(seen, count, rng, bonus=bonus, order=order)
        return ucb_e_lrf(seen, count, rng, warm_up=warm_up, spread=spread, low_rank=low_rank)

    seen = unseen(shape)
    cells, most = 0, round(budget * seen.size)
    path = []
    while cells < most:
        chosen = step(seen, min(batch, most - cells))
        path.append((cells, int(chosen.means.argmax())))
        fill(seen, chosen.methods, chosen.examples, measure)
        cells += len(chosen.methods)
    means = step(seen, 1).means
    return Selection(int(means.argmax()), means, seen, tuple(path))
