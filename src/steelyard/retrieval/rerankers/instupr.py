"""InstUPR: soft ratings of single passages, then soft preferences between the best of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import NonNegativeInt, PositiveInt

from steelyard.contracts import Continuation, Hit, LanguageModel
from steelyard.parts import part
from steelyard.retrieval.rerankers.asking import RerankCost, score
from steelyard.retrieval.rerankers.model_reranker import ModelReranker, Ranked
from steelyard.retrieval.rerankers.pairs import Comparison, label_shares
from steelyard.retrieval.rerankers.template import Form, Template, checked_template

POINTWISE = (
    "Rate how well a passage answers a query, with an integer from 1 to 5: 1 means that the passage has nothing "
    "to do with the query, 5 that it is exactly what was looked for.\n\n"
    "Passage: {passage}\n\nQuery: {query}\n\nRating:"
)
PAIRWISE = (
    "Two passages were found for a query. Say which one answers the query better.\n\n"
    "Passage A: {first}\n\nPassage B: {second}\n\nQuery: {query}\n\nBetter passage (A or B):"
)
RATINGS = ("1", "2", "3", "4", "5")
LABELS = ("A", "B")


@part(kind="reranker", papers=[201])
def instupr(
    model: LanguageModel,
    *,
    pairwise: NonNegativeInt = 30,
    soft: bool = True,
    form: Form = "plain",
    rating_template: str | None = None,
    pair_template: str | None = None,
    passage_words: PositiveInt = 200,
) -> ModelReranker:
    """Rerank passages by expected ratings, then the best of them by pairwise preferences.

    1. Each passage is rated from 1 to 5: score = sum_k k p_k, where p is the softmax of the log-likelihoods of the
       five ratings. (``soft=False`` takes the likeliest rating instead, which leaves many ties.)
    2. The ``pairwise`` best are compared in pairs. The preference for i over j is the mean of P("A") where i is
       shown first and 1 - P("A") where j is; so the preferences for and against are exactly 1 together. A
       passage's score is the sum of its preferences; ties go to the rating.

    Scores of hits: the rating, from 1 to 5; for those compared, 5 plus the mean preference, from 5 to 6.

    Cost: five requests a passage and four a pair; instruction and passages stand before the query, so ratings of
    a passage for several queries, the labels of a question and the pairs that begin alike share what is read.

    Args:
        model: anything with the capability ``score``.
        pairwise: how many of the best are compared in pairs; 0 for ratings only.
        soft: expected instead of likeliest rating.
        form: ``plain`` continues the text; ``chat`` puts it as a user's message.
        rating_template: another question, with the places ``{passage}`` and ``{query}``.
        pair_template: another question, with the places ``{first}``, ``{second}`` and ``{query}``.
        passage_words: how many words of a passage are shown.

    Raises:
        CapabilityError: the model gives no log-probabilities of a given text.
        UsageError: a template lacks a place.

    Source:
        InstUPR: Instruction-based Unsupervised Passage Reranking with Large Language Models (2024), section 3. The
        wording is Steelyard's own; the released instructions differ from data set to data set and put the query
        first.

    Relations:
        ``pairwise-ranking-prompting`` counts wins and ties of the same questions; ``upr`` asks for the likelihood
        of the query.

    Example:
        >>> reranker = instupr(model, pairwise=0)  # doctest: +SKIP
        >>> reranker.rerank("who wrote it", hits)[0].score  # doctest: +SKIP
        3.42
    """
    rate = checked_template(rating_template or POINTWISE, form, ["passage", "query"], "instupr")
    compare = checked_template(pair_template or PAIRWISE, form, ["first", "second", "query"], "instupr")

    def rank(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> Ranked:
        ratings, cost = rated(model, rate, queries, hits, soft)
        best = [best_rated(each, scores, pairwise) for each, scores in zip(hits, ratings, strict=True)]
        wins, more = preferred(model, compare, queries, hits, best)
        scores = [both_scores(each, won) for each, won in zip(ratings, wins, strict=True)]
        return Ranked(scores, cost + more, breakers=ratings)

    return ModelReranker("instupr", rank, passage_words)


def expected_rating(logprobs: Sequence[float]) -> float:
    """sum_k k p_k with p = softmax(logprobs), for the ratings 1, 2, ...

    >>> round(expected_rating([math.log(p) for p in (0.1, 0.1, 0.2, 0.4, 0.2)]), 6)
    3.5
    """
    top = max(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    return math.fsum(k * w for k, w in enumerate(weights, start=1)) / math.fsum(weights)


def rated(
    model: LanguageModel, template: Template, queries: Sequence[str], hits: Sequence[Sequence[Hit]], soft: bool
) -> tuple[list[list[float]], RerankCost]:
    """The rating of each hit of each query, and what it cost."""
    prompts = [
        template.prompt(passage=hit.text, query=query)
        for query, each in zip(queries, hits, strict=True)
        for hit in each
    ]
    asked = [Continuation(prompt, template.answer(rating)) for prompt in prompts for rating in RATINGS]
    scores, cost = score(model, asked, "instupr")
    groups = [[one.logprob for one in scores[i : i + 5]] for i in range(0, len(scores), 5)]
    values = iter(expected_rating(group) if soft else float(group.index(max(group)) + 1) for group in groups)
    return [[next(values) for _ in each] for each in hits], cost


def preferred(
    model: LanguageModel,
    template: Template,
    queries: Sequence[str],
    hits: Sequence[Sequence[Hit]],
    chosen: Sequence[Sequence[int]],
) -> tuple[list[dict[int, float]], RerankCost]:
    """For each query the sum of preferences of each of its chosen hits over the others, and what it cost."""
    asked = [(q, i, j) for q, some in enumerate(chosen) for i in some for j in some if i != j]
    comparisons = [Comparison(queries[q], hits[q][i].text, hits[q][j].text) for q, i, j in asked]
    values, cost = label_shares(model, template, LABELS, comparisons, "score", "instupr")
    shares = {key: value for key, value in zip(asked, values, strict=True) if value is not None}
    sums = [
        {i: math.fsum(preference(shares[q, i, j], shares[q, j, i]) for j in some if j != i) for i in some}
        for q, some in enumerate(chosen)
    ]
    return sums, cost


def preference(straight: float, turned: float) -> float:
    """Preference for i over j: mean of the first label's share with i first and of its rest with j first.

    >>> preference(0.75, 0.5) + preference(0.5, 0.75)
    1.0
    """
    stronger = 0.5 + abs(straight - turned) / 2
    return stronger if straight >= turned else 1.0 - stronger


def both_scores(ratings: Sequence[float], wins: Mapping[int, float]) -> list[float]:
    """Ratings, but 5 plus the mean preference of those that were compared.

    >>> both_scores([2.0, 4.0, 3.0], {1: 0.25, 2: 0.75})
    [2.0, 5.25, 5.75]
    """
    others = max(1, len(wins) - 1)
    return [5.0 + wins[i] / others if len(wins) > 1 and i in wins else rating for i, rating in enumerate(ratings)]


def best_rated(hits: Sequence[Hit], scores: Sequence[float], count: int) -> list[int]:
    """Numbers of the ``count`` best hits; equal ratings go by the retriever's score, then by id."""
    order = sorted(range(len(hits)), key=lambda i: (-scores[i], -hits[i].score, hits[i].id))
    return order[:count]
