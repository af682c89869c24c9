"""Scores of candidate answers that were read out of several passages, and the choice among them.

Everything here is a function of log-probabilities that were measured before. A *pair* is a candidate answer
together with a passage that it is scored with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UsageError

Array: TypeAlias = NDArray[np.float64]
Scoring: TypeAlias = Literal["direct", "marginal", "noisy-channel", "product"]
EXPERTS = ("answer", "question_given_answer", "answer_alone", "question_alone", "passage")
"""The factors of a product of experts, in the order of its weights."""
_DIRECT = (1.0, 0.0, 0.0, 0.0, 0.0)
_NOISY_CHANNEL = (0.0, 1.0, 1.0, -1.0, 0.0)


class PairScores(NamedTuple):
    """Natural-log probabilities of ``n`` pairs of one question; every array has shape (n,).

    Attributes:
        candidate: which answer, as a number from 0.
        place: which passage, as a number from 0, the best first.
        answer: log p(a | q, p).
        question_given_answer: log p(q | a, p).
        answer_alone: log p(a | p).
        question_alone: log p(q | p).
        passage: log p(p | q), from retrieval.
        sampled: whether the answer was drawn from this very passage.
    """

    candidate: NDArray[np.int64]
    place: NDArray[np.int64]
    answer: Array
    question_given_answer: Array
    answer_alone: Array
    question_alone: Array
    passage: Array
    sampled: NDArray[np.bool_]


def noisy_channel(pairs: PairScores) -> Array:
    """Answer probabilities by Bayes' rule, log p(q | a, p) + log p(a | p) - log p(q | p): shape (n,).

    The last term is the same for all answers from one passage; it makes passages comparable.
    """
    return pairs.question_given_answer + pairs.answer_alone - pairs.question_alone


def product_of_experts(pairs: PairScores, weights: Sequence[float]) -> Array:
    """Weighted sum of the logs of all factors (:data:`EXPERTS`): shape (n,); weight 0 drops one."""
    total = np.zeros(len(pairs.candidate))
    for name, weight in zip(EXPERTS, weights, strict=True):
        if weight:
            total += weight * getattr(pairs, name)
    return total


def marginal(pairs: PairScores) -> Array:
    """Answer probabilities, log sum_p p(p | q) p(a | q, p), over pairs of one answer: shape (candidates,)."""
    total = np.full(int(pairs.candidate.max()) + 1, -np.inf)
    np.logaddexp.at(total, pairs.candidate, pairs.passage + pairs.answer)
    return total


def best_candidate(pairs: PairScores, scoring: Scoring, weights: Sequence[float] = _DIRECT) -> int:
    """The candidate with the best score; of equal ones the first.

    All scorings but ``marginal`` look for the best pair among those whose answer was sampled from its passage;
    ``marginal`` needs every candidate with every passage.
    """
    if scoring == "marginal":
        return int(np.argmax(marginal(pairs)))
    if scoring == "noisy-channel":
        scores = noisy_channel(pairs)
    else:
        scores = product_of_experts(pairs, weights if scoring == "product" else _DIRECT)
    return int(pairs.candidate[np.argmax(np.where(pairs.sampled, scores, -np.inf))])


def tune_weights(
    questions: Sequence[PairScores], right: Sequence[NDArray[np.bool_]], *, draws: int = 500, seed: int = 0
) -> tuple[float, ...]:
    """Weights of a product of experts that answer the most questions rightly.

    Random search: the weights of the direct and noisy-channel scores, and ``draws`` vectors from the uniform
    distribution on the simplex, log p(q | p) counted negatively. So the result is never worse, on these questions,
    than either score alone.

    Args:
        questions: the scored pairs of each development question.
        right: per question, whether each candidate is a right answer: shape (candidates,).
        draws: random vectors to try.
        seed: of the draws.

    Raises:
        UsageError: There is no question.
    """
    if not questions:
        raise UsageError("a product of experts cannot be tuned without development questions")
    random = np.random.default_rng(seed).dirichlet(np.ones(len(EXPERTS)), size=draws)
    random[:, EXPERTS.index("question_alone")] *= -1
    tried = [_DIRECT, _NOISY_CHANNEL, *(tuple(map(float, row)) for row in random)]
    hits = [
        sum(bool(r[best_candidate(q, "product", weights)]) for q, r in zip(questions, right, strict=True))
        for weights in tried
    ]
    return tried[int(np.argmax(hits))]


def mixture_steps(prior: Array, steps: Array) -> Array:
    """Log-probability of each token of a text under a mixture of whole texts: shape (tokens,).

    With w the prior, the text so far has probability P_t = sum_p w_p prod_{u <= t} p(x_u | p), and the token
    P_t / P_{t-1}. The sum of the result is log P.

    Args:
        prior: log w, shape (passages,).
        steps: log p(x_t | x_{<t}, p), shape (passages, tokens).
    """
    so_far = np.logaddexp.reduce(prior[:, None] + np.cumsum(steps, axis=1), axis=0)
    return np.diff(so_far, prepend=np.logaddexp.reduce(prior))
