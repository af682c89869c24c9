"""How alike two rankings are: count of inversions, longest increasing subsequence, permutation entropy, RBO."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np


class RankAgreement(NamedTuple):
    """How alike two rankings of the same items are; ``entropy`` is None for fewer than three items."""

    kendall: float
    rbo: float
    inversions: int
    longest: int
    entropy: float | None


def rank_agreement(found: Sequence[Hashable], reference: Sequence[Hashable], *, p: float = 0.95) -> RankAgreement:
    """Kendall's tau, RBO, CIN, LIS and PEN of ``found`` against ``reference``, both best first.

    >>> rank_agreement("acb", "abc").inversions
    1
    """
    sequence = places(found, reference)
    n, inversions = len(sequence), count_inversions(sequence)
    return RankAgreement(
        kendall=1.0 - 4.0 * inversions / (n * (n - 1)) if n > 1 else 1.0,
        rbo=rank_biased_overlap(found, reference, p),
        inversions=inversions,
        longest=longest_increasing_subsequence(sequence),
        entropy=permutation_entropy(sequence) if n > 2 else None,
    )


def places(found: Sequence[Hashable], reference: Sequence[Hashable]) -> list[int]:
    """The place in ``reference`` of each item of ``found``: 0, 1, 2 ... where the two rankings are the same.

    Raises:
        ValueError: the rankings do not hold the same items, each once.

    >>> places(["a", "c", "b"], ["a", "b", "c"])
    [0, 2, 1]
    """
    known = {item: place for place, item in enumerate(reference)}
    if len(known) != len(reference) or len(set(found)) != len(found) or set(found) != set(known):
        raise ValueError("two rankings are compared on the same items, each once")
    return [known[item] for item in found]


def count_inversions(sequence: Sequence[int]) -> int:
    """CIN: pairs that stand in the wrong order; 0 for a sorted sequence, n (n - 1) / 2 for a reversed one.

    Counted by insertion into a sorted list.

    Source: PiCO: Peer Review in LLMs based on the Consistency Optimization (2024), section 3.1.

    >>> count_inversions([0, 2, 1, 3])
    1
    """
    seen: list[int] = []
    total = 0
    for value in sequence:
        at = bisect.bisect_right(seen, value)
        total += len(seen) - at
        seen.insert(at, value)
    return total


def longest_increasing_subsequence(sequence: Sequence[int]) -> int:
    """LIS: length of the longest strictly increasing subsequence, by patience sorting.

    Source: PiCO (2024), section 3.1.

    >>> longest_increasing_subsequence([2, 0, 1, 3])
    3
    """
    tails: list[int] = []
    for value in sequence:
        at = bisect.bisect_left(tails, value)
        tails[at : at + 1] = [value]
    return len(tails)


def permutation_entropy(sequence: Sequence[int], order: int = 3) -> float:
    """PEN: entropy in nats of the order patterns of all ``order`` neighbours; 0 for a sorted sequence.

    H = - sum over patterns of p log p, p being a pattern's share among the n - order + 1 windows. It measures
    disorder, not direction: a reversed ranking has entropy 0 too, so read it beside the inversions.

    Source: Bandt and Pompe 2002, "Permutation entropy: a natural complexity measure for time series"; PiCO (2024),
        section 3.1, with order 3.

    Raises:
        ValueError: a sequence shorter than the order.

    >>> round(permutation_entropy([0, 1, 3, 2]), 3)  # rises twice in one window, then turns
    0.693
    """
    if order < 2 or len(sequence) < order:
        raise ValueError(f"needs at least {max(2, order)} items for patterns of {order}")
    windows = [tuple(np.argsort(sequence[i : i + order])) for i in range(len(sequence) - order + 1)]
    counts = Counter(windows)
    return sum(-c / len(windows) * math.log(c / len(windows)) for c in counts.values()) + 0.0


def rank_biased_overlap(first: Sequence[Hashable], second: Sequence[Hashable], p: float = 0.95) -> float:
    """RBO, extrapolated: agreement of two rankings of equal depth, the top weighing most.

    RBO_ext = A_k p^k + (1 - p) / p * sum_{d=1..k} A_d p^d, where A_d is the share of the first d items that both
    lists have. 1 for equal rankings; ``p`` nearer 1 looks deeper.

    Source: Webber, Moffat and Zobel 2010, "A similarity measure for indefinite rankings", equation 23, for
        lists of equal length.

    Raises:
        ValueError: lists of different length, with repeated items, or empty; ``p`` not between 0 and 1.

    >>> rank_biased_overlap("abc", "acb", p=0.5)
    0.875
    """
    k = len(first)
    if not k or len(second) != k or len(set(first)) != k or len(set(second)) != k:
        raise ValueError("needs two rankings of the same length without repetition")
    if not 0 < p < 1:
        raise ValueError(f"p lies between 0 and 1, not {p}")
    total = agreement = 0.0
    for depth in range(1, k + 1):
        agreement = len(set(first[:depth]) & set(second[:depth])) / depth
        total += agreement * p**depth
    return agreement * p**k + (1 - p) / p * total
