"""The strategies of the budgeted search by name: the seam at which :mod:`steelyard.tuning.tune` calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias

from steelyard.errors import UsageError
from steelyard.parts import nearest
from steelyard.tuning.bandit_search import bandit_search
from steelyard.tuning.elimination import eliminate
from steelyard.tuning.search import Measure, Rules, Search

Strategy: TypeAlias = Literal["elimination", "ucb-e", "ucb-e-lrf"]

STRATEGIES: Mapping[str, Callable[[Mapping[str, float], Sequence[float], Measure, Rules], Search]] = {
    "elimination": eliminate,
    "ucb-e": bandit_search,
    "ucb-e-lrf": partial(bandit_search, low_rank=True),
}


def search(
    cost: Mapping[str, float], weights: Sequence[float], measure: Measure, rules: Rules, strategy: str
) -> Search:
    """Search by the strategy of this name.

    ``cost`` is each candidate's price, smaller is better; ``weights`` the weight of each sample, in the order in
    which they are to be asked. Candidates that are not dropped were measured on every sample, and the choice is
    made among them.

    Raises:
        UsageError: no strategy has this name.
    """
    if strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise UsageError(f"unknown search {strategy!r}{nearest(strategy, STRATEGIES)}; known: {known}")
    return STRATEGIES[strategy](cost, weights, measure, rules)
