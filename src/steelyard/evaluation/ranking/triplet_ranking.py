"""Ranking without gold answers from triplets: of three models, each says which of the other two is worse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from pydantic import Field, NonNegativeInt

from steelyard.errors import UsageError
from steelyard.evaluation.ranking.answer_similarity import Agreement, most_common_answer_scores, similarities
from steelyard.evaluation.ranking.rank_agreement import rank_biased_overlap
from steelyard.evaluation.ranking.records import AnswerTable, Array, Ranking, ranking
from steelyard.evaluation.ranking.resampling import bootstrap_scores, intervals_of, stability_of
from steelyard.parts import part

Prefers: TypeAlias = Callable[[int, int, int], float]
"""``prefers(judge, i, j)``: 1 if the judge finds i better than j, 0 if worse, 0.5 if neither."""


class TripletRanking(NamedTuple):
    """Systems best first, a score each (systems,), and how many votes were asked for (each once)."""

    order: tuple[int, ...]
    scores: Array
    votes: int


@part(papers=[231], kind="ranking")
def triplet_ranking(
    answers: AnswerTable,
    *,
    variant: Literal["full", "greedy"] = "full",
    agreement: Literal["exact", "rouge-l", "embedding"] = "exact",
    embedder: str | None = None,
    rbo_p: Annotated[float, Field(gt=0, lt=1)] = 0.95,
    resamples: NonNegativeInt = 200,
    seed: int = 0,
) -> Ranking:
    """Rank models by their answers alone: who disagrees with both others in a triplet is its worst.

    In a triplet each model votes which of the other two is better: the one whose answers are closer to its own,
    on average over the questions. ``full`` asks every triplet, 3 C(n, 3) votes, and weighs votes by the voter's
    reputation: r_i is proportional to sum over pairs (j, k) of r_k [k prefers i to j], from equal reputations
    until it changes by less than 1e-9 in all. ``greedy`` walks once through the models with three in hand,
    sets the one that two votes call worst aside, and keeps the last two as the best of that walk, in the order
    in which the last one set aside sees them; it then walks through those set aside, and so on: about 3 n^2 /
    4 votes.

    The order in which ``greedy`` meets the models follows from their answers, not from names or the order given.

    Args:
        answers: the models' answers to the same questions.
        variant: ``full`` (O(n^3) votes, scores are reputations that sum to 1) or ``greedy`` (O(n^2), scores
            are the number of models ranked below).
        agreement: ``exact`` for short answers (after normalisation), ``rouge-l``, or cosine of ``embedding``.
        embedder: model of the embeddings, such as ``minilm``.
        rbo_p: persistence of the rank-biased overlap with the most-common-answer baseline.
        resamples: bootstrap draws of the questions, for intervals; 0 for none.
        seed: of the draws.

    Raises:
        UsageError: fewer than three models, or embeddings without an embedder.
        CapabilityError: the package rouge-score is not installed.

    Source:
        Ranking Large Language Models without Ground Truth (2024), full and greedy triplet ranking. The paper's
        code also lets a voter prefer itself to everybody, which adds the same multiple of each reputation to
        it and leaves the fixed point as it is; here nobody votes on itself. How the greedy walk treats what it set
        aside is Steelyard's reading of the stated O(n^2).

    Relations:
        ``most_common_answer_scores`` is the paper's baseline, reported beside it. ``pico-peer-review`` and
        ``peer-rank-discussion`` let models judge answers instead of comparing them with their own.
        :func:`rank_by_votes` takes any voter, such as a judge.

    Example:
        >>> triplet_ranking(AnswerTable(("a", "b", "c"), ("q",), (("4",), ("4",), ("5",)))).ranked[-1]
        'c'
    """
    n = len(answers.names)
    if n < 3:
        raise UsageError(f"triplet-ranking needs three or more models, not {n}")
    tables = similarities(answers, _agreement(agreement, embedder))
    walk = content_order(answers)
    whole = np.ones(len(tables))

    def ranked(weights: Array) -> TripletRanking:
        return rank_by_votes(n, votes_from(np.tensordot(weights, tables, axes=1)), variant=variant, walk=walk)

    found = ranked(whole)
    details: dict[str, Any] = {"variant": variant, "agreement": agreement, "votes": found.votes}
    if agreement == "exact":
        baseline = ranking("most-common-answer", answers.names, most_common_answer_scores(answers), "agreement")
        named = [answers.names[i] for i in found.order]
        details["most_common_answer"] = baseline.to_record()["rows"]
        details["rbo_with_most_common_answer"] = rank_biased_overlap(named, list(baseline.ranked), rbo_p)
    more: dict[str, Any] = {}
    if resamples:
        draws = bootstrap_scores(lambda w: ranked(w).scores, len(tables), resamples=resamples, seed=seed)
        more["intervals"] = intervals_of(found.scores, draws, len(tables))
        details["stability"] = stability_of(answers.names, draws)
    name = "reputation" if variant == "full" else "models below"
    return ranking("triplet-ranking", answers.names, found.scores, name, details=details, **more)


def rank_by_votes(
    n: int, prefers: Prefers, *, variant: str = "full", walk: Sequence[int] | None = None
) -> TripletRanking:
    """Rank ``n`` models by any voter; ``walk`` is the order in which the greedy variant meets them."""
    counted = _Counted(prefers)
    if variant == "greedy":
        order = greedy_order(list(walk if walk is not None else range(n)), counted)
        scores = np.empty(n)
        scores[list(order)] = np.arange(n - 1, -1, -1, dtype=np.float64)
        return TripletRanking(order, scores, len(counted.asked))
    table = np.zeros((n, n, n))  # [judge, i, j]
    for judge in range(n):
        for i in range(n):
            for j in range(i + 1, n):
                if judge not in (i, j):
                    table[judge, i, j] = counted(judge, i, j)
                    table[judge, j, i] = 1.0 - table[judge, i, j]
    scores = reputations(table)
    return TripletRanking(tuple(int(i) for i in np.argsort(-scores, kind="stable")), scores, len(counted.asked))


def reputations(table: Array, *, rounds: int = 1000) -> Array:
    """The fixed point r (systems,), summing to 1, of r_i ~ sum_k r_k sum_j table[k, i, j].

    ``table`` is (judges, systems, systems). Half of each step is kept (which leaves the fixed point alone), so
    that the iteration cannot swing between two vectors.
    """
    matrix = table.sum(axis=2).T  # [i, judge]
    r = np.full(len(matrix), 1.0 / len(matrix))
    for _ in range(rounds):
        given = matrix @ r
        new = 0.5 * r + 0.5 * given / given.sum()
        if np.abs(new - r).sum() < 1e-9:
            return np.asarray(new)
        r = new
    return r


def greedy_order(waiting: Sequence[int], prefers: Prefers) -> tuple[int, ...]:
    """Models best first, by repeated walks that keep the two best of those still waiting."""
    placed: list[int] = []
    left = list(waiting)
    while len(left) > 2:
        kept, aside = left[:2], []
        for model in left[2:]:
            triplet = (kept[0], kept[1], model)
            worst = worst_of(triplet, prefers)
            aside.append(worst)
            kept = [other for other in triplet if other != worst]
        placed += _two(kept, aside[-1], prefers)
        left = aside
    return (*placed, *(_two(left, placed[-1], prefers) if len(left) == 2 else left))


def worst_of(triplet: tuple[int, int, int], prefers: Prefers) -> int:
    """Who most votes call worst; where all three are called so equally often, the one met last."""
    a, b, c = triplet
    against = dict.fromkeys(triplet, 0.0)
    for judge, i, j in ((a, b, c), (b, a, c), (c, a, b)):
        better = prefers(judge, i, j)
        against[i] += 1.0 - better
        against[j] += better
    return max(reversed(triplet), key=lambda model: against[model])


def votes_from(similarity: Array) -> Prefers:
    """Votes by closeness: ``similarity`` (systems, systems) is symmetric; rounding makes equal sums ties."""
    table = np.round(similarity, 9)

    def prefers(judge: int, i: int, j: int) -> float:
        return float(np.sign(table[judge, i] - table[judge, j])) / 2 + 0.5

    return prefers


def content_order(answers: AnswerTable) -> list[int]:
    """The models in the order of their answers as text, whatever they are called and however they come."""
    return sorted(range(len(answers.names)), key=lambda i: answers.texts[i])


def _two(pair: Sequence[int], judge: int, prefers: Prefers) -> list[int]:
    first, second = pair
    return [first, second] if prefers(judge, first, second) >= 0.5 else [second, first]


class _Counted:
    """Asks every vote once, whichever way round it is put, and remembers which were asked."""

    def __init__(self, prefers: Prefers) -> None:
        self._prefers = prefers
        self.asked: dict[tuple[int, int, int], float] = {}

    def __call__(self, judge: int, i: int, j: int) -> float:
        key = (judge, min(i, j), max(i, j))
        if key not in self.asked:
            self.asked[key] = self._prefers(*key)
        return self.asked[key] if i < j else 1.0 - self.asked[key]


def _agreement(name: str, embedder: str | None) -> Agreement:
    from steelyard.evaluation.ranking import answer_similarity as own

    if name == "embedding":
        if embedder is None:
            raise UsageError("triplet-ranking by embedding needs the setting embedder, such as minilm")
        return own.embedding_agreement(embedder)
    return own.rouge_l_agreement if name == "rouge-l" else own.exact_agreement
