"""UPR: passages by how likely they make the question."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import PositiveInt

from steelyard.contracts import Continuation, Hit, LanguageModel, Score
from steelyard.parts import part
from steelyard.retrieval.rerankers.asking import score
from steelyard.retrieval.rerankers.model_reranker import ModelReranker, Ranked
from steelyard.retrieval.rerankers.template import Form, Template, checked_template

TEMPLATE = "Passage: {passage}. Please write a question based on this passage."


@part(kind="reranker", papers=[292])
def upr(
    model: LanguageModel, *, form: Form = "plain", template: str | None = None, passage_words: PositiveInt = 200
) -> ModelReranker:
    """Rerank passages by the mean log-likelihood of the question given the passage.

    score(q, z) = 1/|q| sum_t log p(q_t | q_<t, "Passage: z. Please write a question based on this passage."), over
    the tokens q_t of the question only. The passage comes first, so a passage that several queries have found is
    read once for all of them. An encoder-decoder reads the passage with its encoder.

    Cost: one request a passage. Passes depend on how the engine packs requests, and the result does not.

    Args:
        model: anything with the capability ``score``.
        form: ``plain`` continues the instruction, as in the paper; ``chat`` puts it as a user's message.
        template: another instruction, with the place ``{passage}``.
        passage_words: how many words of a passage are shown.

    Raises:
        CapabilityError: the model gives no log-probabilities of a given text.
        UsageError: the template lacks its place.

    Source:
        Improving Passage Retrieval with Zero-Shot Question Generation (2022), section 2.2, with its instruction.
        The paper's passages are 100 words of Wikipedia behind their title; here a passage is the hit's text.

    Relations:
        ``pairwise-ranking-prompting`` and ``instupr`` ask about relevance instead; ``rankgpt-listwise`` shows many
        passages at once; ``in-context-reranking`` reads attention.

    Example:
        >>> reranker = upr(model)  # doctest: +SKIP
        >>> reranker.rerank("who wrote it", hits)[0].score  # doctest: +SKIP
        -2.31
    """
    asked = checked_template(template or TEMPLATE, form, ["passage"], "upr")

    def rank(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> Ranked:
        scores, cost = score(model, question_requests(asked, queries, hits), "upr")
        means = iter(question_mean(one) for one in scores)
        return Ranked([[next(means) for _ in each] for each in hits], cost)

    return ModelReranker("upr", rank, passage_words)


def question_mean(score: Score) -> float:
    r"""Mean log-likelihood of a question's tokens; tokens of mere white space in front of it do not count.

    >>> question_mean(Score(-6.0, (-1.0, -2.0, -3.0), ("\n", "who", " is"), 7, False))
    -2.5
    """
    start = next((i for i, token in enumerate(score.tokens) if token.strip()), 0)
    return math.fsum(score.token_logprobs[start:]) / len(score.token_logprobs[start:])


def question_requests(
    template: Template, queries: Sequence[str], hits: Sequence[Sequence[Hit]]
) -> list[Continuation]:
    """One request for each hit of each query, in order: the question as it continues the passage's prompt."""
    return [
        Continuation(template.prompt(passage=hit.text), template.answer(query))
        for query, each in zip(queries, hits, strict=True)
        for hit in each
    ]
