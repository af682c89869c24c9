"""Triplets: recovered orders against the most common answer, the random model last, votes counted."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import kendalltau

from evaluation.ranking.simulated import multiple_choice
from steelyard.errors import UsageError
from steelyard.evaluation.ranking.answer_similarity import (
    exact_agreement,
    most_common_answer_scores,
    rouge_l_agreement,
    similarities,
)
from steelyard.evaluation.ranking.rank_agreement import rank_biased_overlap
from steelyard.evaluation.ranking.records import AnswerTable
from steelyard.evaluation.ranking.triplet_ranking import rank_by_votes, reputations, triplet_ranking, worst_of
from steelyard.evaluation.statistics import paired_difference

ACCURACY = [0.9, 0.8, 0.7, 0.6, 0.5, 0.25]


@pytest.mark.parametrize("variant", ["full", "greedy"])
def test_recovered_order_is_as_good_as_the_most_common_answers(variant: str) -> None:
    """Full is not shown to be worse on average; greedy, which asks for fewer votes, stays close to the truth."""
    tau, overlap, base_tau, base_overlap = [], [], [], []
    truth = [f"m{i}" for i in range(len(ACCURACY))]
    for seed in range(20):
        answers = multiple_choice(ACCURACY, questions=120, seed=seed)
        found = triplet_ranking(answers, variant=variant, resamples=0).ranked
        base = [answers.names[i] for i in np.argsort(-most_common_answer_scores(answers), kind="stable")]
        for ranked, taus, overlaps in ((found, tau, overlap), (base, base_tau, base_overlap)):
            taus.append(kendalltau(range(6), [truth.index(name) for name in ranked]).statistic)
            overlaps.append(rank_biased_overlap(truth, ranked))
    if variant == "full":
        assert paired_difference(tau, base_tau).high >= 0
        assert paired_difference(overlap, base_overlap).high >= 0
    assert np.mean(tau) > 0.8
    assert np.mean(overlap) > 0.95


@pytest.mark.parametrize("variant", ["full", "greedy"])
def test_a_random_model_is_last(variant: str) -> None:
    for seed in range(10):
        answers = multiple_choice([0.8, 0.25, 0.7, 0.6], questions=200, seed=seed)  # 0.25 of four is guessing
        assert triplet_ranking(answers, variant=variant, resamples=0).ranked[-1] == "m1"


def test_votes_grow_as_stated() -> None:
    for n in (4, 8, 16):
        answers = multiple_choice(np.linspace(0.9, 0.4, n), questions=40, seed=n)
        full = triplet_ranking(answers, resamples=0).details["votes"]
        greedy = triplet_ranking(answers, variant="greedy", resamples=0).details["votes"]
        assert full == 3 * comb(n, 3)
        assert greedy <= 3 * n * n / 4 + n


@pytest.mark.parametrize("variant", ["full", "greedy"])
def test_names_and_their_order_change_nothing(variant: str) -> None:
    answers = multiple_choice(ACCURACY, questions=150, seed=5)
    order = np.random.default_rng(0).permutation(6)
    shuffled = AnswerTable(
        tuple(f"z{99 - i}" for i in order), answers.questions, tuple(answers.texts[i] for i in order)
    )
    found = [int(name[1:]) for name in triplet_ranking(answers, variant=variant, resamples=0).ranked]
    again = [99 - int(name[1:]) for name in triplet_ranking(shuffled, variant=variant, resamples=0).ranked]
    assert found == again


def test_any_voter_will_do_and_is_asked_once() -> None:
    asked: list[tuple[int, int, int]] = []

    def prefers(judge: int, i: int, j: int) -> float:
        asked.append((judge, i, j))
        return float(i < j)  # the lower number is better

    for variant in ("full", "greedy"):
        asked.clear()
        found = rank_by_votes(7, prefers, variant=variant, walk=[3, 6, 0, 5, 2, 1, 4])
        assert found.order == tuple(range(7))
        assert found.votes == len(asked) == len(set(asked))


def test_the_worst_of_a_triplet_is_the_one_outside_the_closest_pair() -> None:
    close = {(0, 1): 0.9, (0, 2): 0.4, (1, 2): 0.5}

    def prefers(judge: int, i: int, j: int) -> float:
        a, b = (close[min(judge, x), max(judge, x)] for x in (i, j))
        return float(a > b)

    assert worst_of((0, 1, 2), prefers) == 2
    assert worst_of((2, 0, 1), prefers) == 2
    assert worst_of((0, 1, 2), lambda judge, i, j: 0.5) == 2  # no vote: the one met last


def test_reputations_are_an_eigenvector_whether_or_not_voters_vote_for_themselves() -> None:
    rng = np.random.default_rng(0)
    n = 5
    table = np.zeros((n, n, n))
    own = np.zeros((n, n, n))
    for judge in range(n):
        for i in range(n):
            for j in range(i + 1, n):
                vote = float(rng.random() < 0.6)
                if judge not in (i, j):
                    table[judge, i, j], table[judge, j, i] = vote, 1 - vote
    own += table
    for judge in range(n):
        for j in set(range(n)) - {judge}:
            own[judge, judge, j] = 1.0
    r = reputations(table)
    moved = table.sum(axis=2).T @ r
    assert moved / moved.sum() == pytest.approx(r, abs=1e-7)
    assert reputations(own) == pytest.approx(r, abs=1e-6)


def test_similarity_in_words_and_intervals() -> None:
    texts = (("the cat sat on the mat",), ("the cat sat on a mat",), ("dogs bark",))
    table = AnswerTable(("a", "b", "c"), ("q",), texts)
    scores = similarities(table, rouge_l_agreement)[0]
    assert scores[0, 1] == pytest.approx(10 / 12)  # five words in common order of six each
    assert scores[0, 2] == 0.0
    assert exact_agreement([own[0] for own in texts]).sum() == 5  # articles do not count
    found = triplet_ranking(table, agreement="rouge-l", resamples=5)
    assert found.ranked[-1] == "c"
    assert found.intervals[0].n == 1
    with pytest.raises(UsageError, match="needs the setting embedder"):
        triplet_ranking(table, agreement="embedding")
    with pytest.raises(UsageError, match="three or more"):
        triplet_ranking(AnswerTable(("a", "b"), ("q",), (("x",), ("y",))))
