"""RankGPT: many numbered passages at once, answered by a permutation."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import PositiveInt

from steelyard.contracts import Hit, LanguageModel, Sampling
from steelyard.errors import UsageError
from steelyard.parts import part
from steelyard.retrieval.rerankers.asking import RerankCost, generate
from steelyard.retrieval.rerankers.model_reranker import ModelReranker, Ranked, Unread
from steelyard.retrieval.rerankers.permutation import read_permutation
from steelyard.retrieval.rerankers.sorting import lockstep, places, sliding_windows
from steelyard.retrieval.rerankers.template import Form, checked_template

TEMPLATE = (
    "Below are {count} passages, each with its number in brackets, and then a search query. Put the passages into "
    "the order of their relevance to the query.\n\n"
    "{passages}\n\nSearch query: {query}\n\n"
    "List the numbers of all {count} passages, the most relevant first, in the form [2] > [1]. Write nothing else."
)
NAME = "rankgpt-listwise"


@part(kind="reranker", papers=[268])
def rankgpt_listwise(
    model: LanguageModel,
    *,
    window: PositiveInt = 20,
    step: PositiveInt = 10,
    form: Form = "chat",
    template: str | None = None,
    passage_words: PositiveInt = 300,
    unread: Unread = "error",
) -> ModelReranker:
    """Rerank passages by asking for a permutation of a window of them, from the end of the list to its front.

    A window of ``window`` passages is shown, numbered; the model answers "[2] > [3] > [1]", which is read and
    repaired: repeated numbers count once, unknown ones not at all, passages left out follow in the order shown.
    Then the window moves ``step`` places towards the front, so that the best ``window - step`` go along. One pass
    brings them to the front of the whole list. The order that comes in matters: give the retriever's.

    Hits are scored 1, 1/2, 1/3 ... by place. ``run(...).cost`` counts answers that needed repair and answers in
    which no passage was named; a query with nothing but such answers is an error unless ``unread=keep``.

    Cost: one request a window, 1 + ceil((n - window) / step) windows a list; those of all queries are asked
    together. The instruction is read once for all of them.

    Args:
        model: anything that generates (and chats, by default).
        window: passages shown at once.
        step: how far the window moves; at most ``window``.
        form: ``chat`` puts the question as a user's message; ``plain`` continues the text.
        template: another question, with the places ``{count}``, ``{passages}`` and ``{query}``.
        passage_words: how many words of a passage are shown.
        unread: what happens to a query none of whose answers could be read.

    Raises:
        CapabilityError: the model does not generate, or has no chat template.
        InputError: a window does not fit the context.
        UsageError: a step above the window, or a template that lacks a place.

    Source:
        Is ChatGPT Good at Search? Investigating Large Language Models as Re-Ranking Agent (2023), section 3. The
        wording is Steelyard's own; the paper hands over each passage in a turn of its own.

    Relations:
        :mod:`~steelyard.retrieval.rerankers.teacher_orders` keeps such orders as training data, and
        :func:`~steelyard.retrieval.rerankers.ranknet.ranknet_loss` is the loss with which the paper trains a small
        cross-encoder on them. ``in-context-reranking`` shows as many passages and generates nothing.

    Example:
        >>> reranker = rankgpt_listwise(model, window=10, step=5)  # doctest: +SKIP
        >>> [hit.id for hit in reranker.rerank("who wrote it", hits)]  # doctest: +SKIP
        ['d3', 'd1', 'd2']
    """
    if step > window:
        raise UsageError(f"part {NAME!r}: a step of {step} leaves out passages between windows of {window}")
    asked = checked_template(template or TEMPLATE, form, ["count", "passages", "query"], NAME)

    def rank(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> Ranked:
        cost = RerankCost()
        read: set[int] = set()

        def answer(questions: list[tuple[int, list[int]]]) -> list[list[int]]:
            nonlocal cost
            shown = [[hits[q][i].text for i in items] for q, items in questions]
            prompts = [
                asked.prompt(count=str(len(texts)), passages=numbered(texts), query=queries[q])
                for (q, _), texts in zip(questions, shown, strict=True)
            ]
            samplings = [Sampling(max_tokens=answer_tokens(len(texts))) for texts in shown]
            generations, spent = generate(model, prompts, samplings, NAME)
            found = [read_permutation(one.text, len(texts)) for one, texts in zip(generations, shown, strict=True)]
            read.update(q for (q, _), one in zip(questions, found, strict=True) if one.read)
            unreadable = sum(one.read == 0 for one in found)
            whole = sum(one.read == len(one.order) and not one.repeated + one.foreign for one in found)
            same = sum(one.read > 0 and one.order == sorted(one.order) for one in found)
            repaired = len(found) - unreadable - whole
            cost += spent + RerankCost(unread=unreadable, repaired=repaired, unchanged=same)
            return [[items[i] for i in one.order] for (_, items), one in zip(questions, found, strict=True)]

        many = [q for q, each in enumerate(hits) if len(each) > 1]
        workers = [sliding_windows(len(hits[q]), window, step) for q in many]
        orders = lockstep(workers, lambda asked: answer([(many[number], items) for number, items in asked]))
        scores = [[1.0] * len(each) for each in hits]
        for q, order in zip(many, orders, strict=True):
            scores[q] = places(order)
        return Ranked(scores, cost, lost=tuple(q for q in many if q not in read))

    return ModelReranker(NAME, rank, passage_words, unread)


def numbered(texts: Sequence[str]) -> str:
    r"""Passages under their numbers, with the line breaks inside them turned into spaces.

    >>> numbered(["one\ntext", "another"])
    '[1] one text\n[2] another'
    """
    return "\n".join(f"[{number}] {' '.join(text.split())}" for number, text in enumerate(texts, start=1))


def answer_tokens(count: int) -> int:
    """Room for an answer: "[12] > " is at most seven tokens where each character is one."""
    return 7 * count + 8
