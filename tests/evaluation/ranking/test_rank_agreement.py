"""Metrics between rankings against brute force and published constants."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from steelyard.evaluation.ranking.rank_agreement import (
    count_inversions,
    longest_increasing_subsequence,
    permutation_entropy,
    places,
    rank_agreement,
    rank_biased_overlap,
)

PERMUTATIONS = st.integers(3, 8).flatmap(lambda n: st.permutations(range(n)))


@settings(max_examples=60, deadline=None)
@given(PERMUTATIONS)
def test_inversions_are_kendalls_and_the_subsequence_is_brute_force(sequence: list[int]) -> None:
    n = len(sequence)
    brute = sum(a > b for a, b in itertools.combinations(sequence, 2))
    assert count_inversions(sequence) == brute
    tau = kendalltau(range(n), sequence).statistic
    assert count_inversions(sequence) == round((1 - tau) * n * (n - 1) / 4)
    assert rank_agreement(sequence, list(range(n))).kendall == pytest.approx(tau)
    longest = max(
        size
        for size in range(1, n + 1)
        for picked in itertools.combinations(sequence, size)
        if list(picked) == sorted(picked)
    )
    assert longest_increasing_subsequence(sequence) == longest


@settings(max_examples=30, deadline=None)
@given(PERMUTATIONS)
def test_permutation_entropy_is_the_entropy_of_order_patterns(sequence: list[int]) -> None:
    windows = [tuple(sorted(range(3), key=lambda k, i=i: sequence[i + k])) for i in range(len(sequence) - 2)]
    counts = Counter(windows).values()
    entropy = -sum(c / len(windows) * math.log(c / len(windows)) for c in counts)
    assert permutation_entropy(sequence) == pytest.approx(entropy)
    assert permutation_entropy(sorted(sequence)) == 0
    assert permutation_entropy(sorted(sequence, reverse=True)) == 0


def test_bandt_and_pompes_example() -> None:
    """4, 7, 9, 10, 6, 11, 3 with order 3: H = 1.52 bits (their section 2)."""
    assert permutation_entropy([4, 7, 9, 10, 6, 11, 3]) / math.log(2) == pytest.approx(1.522, abs=1e-3)


def test_the_example_of_the_papers_code() -> None:
    assert longest_increasing_subsequence([2, 0, 1, 3, 4, 11, 5, 7, 8, 6, 10, 12, 9, 13, 14]) == 11


@settings(max_examples=40, deadline=None)
@given(PERMUTATIONS, st.floats(0.1, 0.99))
def test_overlap_is_that_of_lists_extended_in_agreement_for_ever(second: list[int], p: float) -> None:
    """RBO_ext assumes that the last agreement goes on: sum it far out instead of in closed form."""
    n = len(second)
    first = list(range(n))
    agreement = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, n + 1)]
    far = agreement + [agreement[-1]] * 5000
    brute = (1 - p) * sum(a * p**d for d, a in enumerate(far))
    assert rank_biased_overlap(first, second, p) == pytest.approx(brute, abs=1e-6)


def test_the_weight_of_the_first_ten_ranks_is_the_papers() -> None:
    """Webber et al., section 4.2: with p = 0.9 the first ten ranks carry 86 % of the weight."""
    first, second = list(range(300)), [*range(10), *range(1000, 1290)]  # ten in common, then nothing
    assert rank_biased_overlap(first, second, 0.9) == pytest.approx(0.8556, abs=1e-3)
    assert rank_biased_overlap("abcdef", "abcdef", 0.9) == pytest.approx(1.0)


def test_bad_rankings_are_refused() -> None:
    with pytest.raises(ValueError, match="same items"):
        places(["a", "b"], ["a", "c"])
    with pytest.raises(ValueError, match="same length"):
        rank_biased_overlap("ab", "abc")
    with pytest.raises(ValueError, match="p lies"):
        rank_biased_overlap("ab", "ab", 1.0)
    with pytest.raises(ValueError, match="at least 3"):
        permutation_entropy([0, 1])
