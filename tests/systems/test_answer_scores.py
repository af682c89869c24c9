"""Scores of candidate answers: against sums written out, and weights that are never worse than single scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steelyard.errors import UsageError
from steelyard.systems.answer_scores import (
    PairScores,
    best_candidate,
    marginal,
    mixture_steps,
    noisy_channel,
    product_of_experts,
    tune_weights,
)


def drawn(seed: int, candidates: int = 3, passages: int = 2) -> PairScores:
    """Every candidate with every passage, at random log-probabilities."""
    rng = np.random.default_rng(seed)
    candidate, place = (g.ravel() for g in np.meshgrid(range(candidates), range(passages), indexing="ij"))
    factors = -rng.exponential(2.0, size=(4, len(candidate)))
    prior = np.log(rng.dirichlet(np.ones(passages)))[place]
    return PairScores(candidate, place, *factors, prior, rng.random(len(candidate)) < 0.7)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_the_sums_written_out(seed: int) -> None:
    pairs = drawn(seed)
    weights = (0.3, 1.2, 0.5, -0.7, 0.1)
    for i in range(len(pairs.candidate)):
        bayes = pairs.question_given_answer[i] + pairs.answer_alone[i] - pairs.question_alone[i]
        assert noisy_channel(pairs)[i] == pytest.approx(bayes)
        product = sum(w * factor[i] for w, factor in zip(weights, (*pairs[2:6], pairs.passage), strict=True))
        assert product_of_experts(pairs, weights)[i] == pytest.approx(product)
    for candidate in range(3):
        chance = sum(
            math.exp(pairs.passage[i] + pairs.answer[i]) for i in np.flatnonzero(pairs.candidate == candidate)
        )
        assert marginal(pairs)[candidate] == pytest.approx(math.log(chance))


def test_the_best_pair_is_one_that_was_sampled() -> None:
    pairs = drawn(1)._replace(answer=np.array([-1.0, -9, -2, -9, -3, -9]))
    assert best_candidate(pairs._replace(sampled=np.array([False, False, True, True, True, True])), "direct") == 1
    assert best_candidate(pairs._replace(sampled=np.array([True, False, True, True, True, True])), "direct") == 0
    scores = product_of_experts(pairs, (0, 1, 1, -1, 0))
    best = max((s, -i) for i, s in enumerate(scores) if pairs.sampled[i])
    assert best_candidate(pairs, "noisy-channel") == pairs.candidate[-best[1]]
    assert best_candidate(pairs, "marginal") == int(np.argmax(marginal(pairs)))


def test_a_factor_of_weight_zero_is_not_read() -> None:
    pairs = drawn(2)._replace(question_alone=np.full(6, -np.inf))
    assert np.isfinite(product_of_experts(pairs, (1, 1, 1, 0, 1))).all()


def test_tuned_weights_are_no_worse_than_any_single_score() -> None:
    questions = [drawn(seed) for seed in range(40)]
    # the right answer is the one of the best p(a | p), which no fixed score uses alone
    right = [
        np.arange(3) == q.candidate[np.argmax(np.where(q.sampled, q.answer_alone, -np.inf))] for q in questions
    ]
    weights = tune_weights(questions, right, draws=300, seed=3)

    def hits(scoring: str, chosen: tuple[float, ...] = ()) -> int:
        return sum(
            bool(r[best_candidate(q, scoring, chosen)])  # type: ignore[arg-type]
            for q, r in zip(questions, right, strict=True)
        )

    assert hits("product", weights) > max(hits("direct"), hits("noisy-channel"))
    assert weights == tune_weights(questions, right, draws=300, seed=3)
    with pytest.raises(UsageError, match="development questions"):
        tune_weights([], [])


def test_a_mixture_over_whole_texts_is_shared_among_tokens() -> None:
    rng = np.random.default_rng(0)
    prior, steps = np.log(rng.dirichlet(np.ones(3))), -rng.exponential(1.0, size=(3, 5))
    each = mixture_steps(prior, steps)
    for t in range(5):
        now, before = (np.exp(prior + steps[:, :n].sum(1)).sum() for n in (t + 1, t))
        assert each[t] == pytest.approx(math.log(now / before))
    assert each.sum() == pytest.approx(math.log(np.exp(prior + steps.sum(1)).sum()))
