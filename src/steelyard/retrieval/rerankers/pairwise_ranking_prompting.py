"""Pairwise ranking prompting: an order out of questions about two passages each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import PositiveInt

from steelyard.contracts import Hit, LanguageModel
from steelyard.parts import part
from steelyard.retrieval.rerankers.asking import RerankCost
from steelyard.retrieval.rerankers.model_reranker import ModelReranker, Ranked, Unread
from steelyard.retrieval.rerankers.pairs import Comparison, Method, label_shares
from steelyard.retrieval.rerankers.sorting import Comparing, Pair, all_pairs, heapsort, lockstep, sliding_passes
from steelyard.retrieval.rerankers.template import Form, checked_template

TEMPLATE = (
    "Given a query {query}, which of the following two passages is more relevant to the query?\n\n"
    "Passage A: {first}\n\nPassage B: {second}\n\nOutput Passage A or Passage B:"
)
LABELS = ("Passage A", "Passage B")
Aggregation: TypeAlias = Literal["all-pairs", "heapsort", "sliding"]


@part(kind="reranker", papers=[235])
def pairwise_ranking_prompting(
    model: LanguageModel,
    *,
    aggregation: Aggregation = "all-pairs",
    passes: PositiveInt = 10,
    method: Method = "auto",
    form: Form = "plain",
    template: str | None = None,
    passage_words: PositiveInt = 200,
    unread: Unread = "error",
) -> ModelReranker:
    """Rerank passages by asking which of two is more relevant, in both orders.

    A passage beats another where both orders of the question say so; where they contradict each other, or an
    answer cannot be read, the pair is a tie. Orders come from these outcomes:

    - ``all-pairs``: a passage's score is its wins plus half its ties; n(n-1) questions, all asked at once, and the
      order in which passages come in has no influence.
    - ``heapsort``: O(n log n) questions, one after the other.
    - ``sliding``: ``passes`` backward passes in which neighbours change places where the later one wins; at most
      2 x passes x n questions, and the best ``passes`` passages come to the front. Where neighbours are compared
      again in a later pass the outcome is known and nothing is asked.

    Questions of all queries are asked together, step by step. Query and first passage stand in front, so the
    engine reads them once for all second passages, and the two labels behind a question cost a few tokens.

    Args:
        model: anything with the capability ``score`` or ``generate``.
        aggregation: how outcomes become an order.
        passes: of ``sliding``: as many of the best as must be found.
        method: ``score`` compares the likelihoods of "Passage A" and "Passage B", ``generate`` reads the answer;
            ``auto`` scores where the model can.
        form: ``plain`` continues the text; ``chat`` puts it as a user's message.
        template: another question, with the places ``{query}``, ``{first}`` and ``{second}``; its labels stay
            "Passage A" and "Passage B".
        passage_words: how many words of a passage are shown.
        unread: what happens to a query none of whose answers could be read.

    Raises:
        CapabilityError: the model neither scores nor generates, or lacks the method asked for.
        UsageError: the template lacks a place.

    Source:
        Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting (2023), section 3. Ties in
        the order go to the retriever's score, as in the paper.

    Relations:
        ``instupr`` sums the probabilities of the labels instead of counting wins; ``upr`` needs one question a
        passage.

    Example:
        >>> reranker = pairwise_ranking_prompting(model, aggregation="sliding", passes=3)  # doctest: +SKIP
        >>> reranker.run(["who wrote it"], [hits]).cost.requests  # doctest: +SKIP
        54
    """
    name = "pairwise-ranking-prompting"
    asked = checked_template(template or TEMPLATE, form, ["query", "first", "second"], name)

    def rank(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> Ranked:
        known: dict[tuple[int, Pair], float | None] = {}
        cost = RerankCost()

        def answer(questions: list[tuple[int, list[Pair]]]) -> list[list[float]]:
            nonlocal cost
            wanted = [(q, ordered(pair)) for q, pairs in questions for pair in pairs]
            new = [key for key in dict.fromkeys(wanted) if key not in known]
            comparisons = [
                Comparison(queries[q], hits[q][i].text, hits[q][j].text) for q, a in new for i, j in (a, a[::-1])
            ]
            shares = label_shares(model, asked, LABELS, comparisons, method, name)
            known.update(zip(new, outcomes(shares.values), strict=True))
            cost += shares.cost
            return [[_seen(known[q, ordered(pair)], pair) for pair in pairs] for q, pairs in questions]

        scores = lockstep([_worker(aggregation, len(each), passes) for each in hits], answer)
        cost += RerankCost(ties=sum(outcome in (0.5, None) for outcome in known.values()))
        return Ranked(scores, cost, lost=_lost(known, len(queries)))

    return ModelReranker(name, rank, passage_words, unread)


def outcomes(shares: Sequence[float | None]) -> list[float | None]:
    """Outcomes of pairs from the first label's share in both orders, one order after the other.

    1: the pair's first passage wins in both orders, 0: the second does, 0.5: a tie, None: neither order was read.

    >>> outcomes([0.9, 0.2, 0.9, 0.8, 0.7, None, None, None])
    [1.0, 0.5, 0.5, None]
    """
    found: list[float | None] = []
    for straight, turned in zip(shares[::2], shares[1::2], strict=True):
        if straight is None and turned is None:
            found.append(None)
        elif straight is None or turned is None:
            found.append(0.5)
        else:
            won = (straight > 0.5) and (turned < 0.5)
            lost = (straight < 0.5) and (turned > 0.5)
            found.append(1.0 if won else 0.0 if lost else 0.5)
    return found


def ordered(pair: Pair) -> Pair:
    """The pair with its smaller number first: an outcome holds whichever way round a pair is asked for."""
    return (min(pair), max(pair))


def _seen(outcome: float | None, pair: Pair) -> float:
    value = 0.5 if outcome is None else outcome
    return value if pair == ordered(pair) else 1.0 - value


def _worker(aggregation: Aggregation, n: int, passes: int) -> Comparing:
    if aggregation == "all-pairs":
        return all_pairs(n)
    return heapsort(n) if aggregation == "heapsort" else sliding_passes(n, passes)


def _lost(known: dict[tuple[int, Pair], float | None], queries: int) -> tuple[int, ...]:
    """Queries of which something was asked and nothing read."""
    asked = {q for q, _ in known}
    read = {q for (q, _), outcome in known.items() if outcome is not None}
    return tuple(q for q in range(queries) if q in asked and q not in read)
