"""In-context reranking: passages by the attention that a query pays them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import NonNegativeInt, PositiveInt

from steelyard.contracts import Hit, LanguageModel, Message, OpenWeights
from steelyard.errors import CapabilityError, InputError
from steelyard.models.requests import prefix_token, render
from steelyard.parts import part
from steelyard.retrieval.rerankers.asking import RerankCost, forward_counts, need
from steelyard.retrieval.rerankers.model_reranker import ModelReranker, Ranked
from steelyard.retrieval.rerankers.query_attention import Array, passage_score, query_attention
from steelyard.retrieval.rerankers.sorting import lockstep, places, sliding_windows
from steelyard.retrieval.rerankers.template import Form

NAME = "in-context-reranking"
INSTRUCTION = "Here are some passages:"
LATE_INSTRUCTION = "Find what is relevant to the following query in the passages above."
CALIBRATION = "N/A"
Span: TypeAlias = Literal["query", "tail"]


class Layout(NamedTuple):
    """A prompt in pieces, tokenized apart so that their borders are known.

    ``before`` are all tokens up to the query, ``passages`` the places of each passage's tokens in it; ``after``
    ends the prompt behind the query; ``late`` is where the instruction after the passages begins.
    """

    before: list[int]
    passages: list[slice]
    late: int
    after: list[int]


@part(kind="reranker", papers=[6])
def in_context_reranking(
    model: LanguageModel,
    *,
    calibrate: bool = True,
    span: Span = "query",
    window: NonNegativeInt = 0,
    form: Form = "chat",
    passage_words: PositiveInt = 300,
) -> ModelReranker:
    """Rerank passages by the change in attention that the query causes; two forward passes, nothing generated.

    The prompt holds all passages, numbered, and then the query. For each token j of a passage a_j(q) is the mean
    attention of the query's tokens on j, summed over all heads and layers. The same with the query "N/A" is what
    tokens receive for no reason; s_j = a_j(q) - a_j("N/A"). Tokens with s_j at or below mean - 2 sd of their
    passage are left out, and a passage's score is the sum of the others.

    Cost: two forward passes a list, whatever its length; the second runs the query only, behind the keys and
    values of the first. Attention is computed plainly and summed layer by layer, so the weights of one layer,
    heads x tokens^2, are in memory at a time. ``computed_tokens`` counts what both passes ran.

    Args:
        model: open weights of a known decoder family.
        calibrate: subtract what the query "N/A" receives; without it, one forward pass.
        span: whose attention is averaged: the ``query``'s tokens, as the paper's formula says, or the whole
            ``tail`` behind the passages, instruction and chat markers included, as its released code does.
        window: passages shown at once, in windows from the end of the list to its front, half a window a step; 0
            for all. With windows the order that comes in matters, and scores are 1, 1/2, 1/3 ... by place.
        form: ``chat`` puts the prompt as a user's message; ``plain`` as it is.
        passage_words: how many words of a passage are shown.

    Raises:
        CapabilityError: no open weights, or a family whose attention is not known.
        InputError: the passages do not fit the context together.

    Source:
        Attention in Large Language Models Yields Efficient Zero-Shot Re-Rankers (2025), section 3. The wording of
        the instructions is Steelyard's own. Where passages stand in the prompt influences their attention, and
        calibration does not remove all of it: the result depends on the order that comes in.

    Relations:
        ``rankgpt-listwise`` shows as many passages and lets the model write the order; ``upr`` and
        ``pairwise-ranking-prompting`` read likelihoods, which servers can give, too.

    Example:
        >>> reranker = in_context_reranking(model)  # doctest: +SKIP
        >>> reranker.run(["who wrote it"], [hits]).cost.passes  # doctest: +SKIP
        2
    """

    def rank(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> Ranked:
        cost = RerankCost()
        found: list[list[float]] = []
        for query, each in zip(queries, hits, strict=True):
            texts = [hit.text for hit in each]
            if window and len(each) > window:

                def answer(
                    asked: list[tuple[int, list[int]]], query: str = query, texts: list[str] = texts
                ) -> Any:
                    nonlocal cost
                    items = asked[0][1]
                    values, spent = scored(query, [texts[i] for i in items])
                    cost += spent
                    return [[items[i] for i in sorted(range(len(items)), key=lambda i: -values[i])]]

                step = max(1, window // 2)
                found.append(places(lockstep([sliding_windows(len(each), window, step)], answer)[0]))
            else:
                values, spent = scored(query, texts)
                cost += spent
                found.append(values)
        return Ranked(found, cost)

    def scored(query: str, texts: Sequence[str]) -> tuple[list[float], RerankCost]:
        weights = _open(model)
        if not texts:
            return [], RerankCost()
        return attention_scores(weights, layout(weights, texts, form), query, calibrate=calibrate, span=span)

    return ModelReranker(NAME, rank, passage_words)


def layout(model: OpenWeights, texts: Sequence[str], form: Form) -> Layout:
    """The prompt for some passages; the query's place is between ``before`` and ``after``."""
    tokenizer, mark = model.tokenizer, "\u2402"  # a character that nothing else in a template contains
    head, _, end = mark.partition(mark)
    special = True
    if form == "chat":
        rendered, special = render(tokenizer, [Message("user", mark)], model.card.name)
        head, _, end = rendered.partition(mark)

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    before = [prefix_token(tokenizer, model.card.name)] if special and tokenizer.bos_token_id is not None else []
    before += tokens(head + INSTRUCTION)
    passages = []
    for number, text in enumerate(texts, start=1):
        before += tokens("\n\n")
        piece = tokens(f"[{number}] {text}")
        passages.append(slice(len(before), len(before) + len(piece)))
        before += piece
    before += tokens("\n\n")
    late = len(before)
    before += tokens(f"{LATE_INSTRUCTION}\n\nQuery:")
    return Layout(before, passages, late, tokens(end))


def attention_scores(
    model: OpenWeights, prompt: Layout, query: str, *, calibrate: bool = True, span: Span = "query"
) -> tuple[list[float], RerankCost]:
    """The score of each passage of ``prompt``, and what it cost.

    Raises:
        InputError: the prompt does not fit the model's context.
    """
    shared = prompt.before if span == "query" else prompt.before[: prompt.late]
    between = prompt.before[len(shared) :]

    def tail(text: str) -> tuple[list[int], slice]:
        asked = list(model.tokenizer(f" {text}", add_special_tokens=False, verbose=False)["input_ids"])
        whole = [*between, *asked, *prompt.after]
        return whole, slice(0, len(asked) if span == "query" else len(whole))

    asked, rows = tail(query)
    empty, marks = tail(CALIBRATION)
    length, longest = model.card.context_length, len(shared) + max(len(asked), len(empty))
    if length is not None and longest > length:
        raise InputError(
            f"{NAME}: a prompt of {longest} tokens does not fit the context of {model.card.name}, {length}; "
            "give a smaller passage_words, or a window"
        )
    calibration: Array | None = None
    cache = None
    read = len(shared) + len(asked)
    with forward_counts(model) as counts:
        if calibrate:
            calibration, cache = query_attention(model, shared, empty, marks)
            read += len(shared) + len(empty)
        attention = query_attention(model, shared, asked, rows, cache=cache).attention
    values = [
        passage_score(attention[place], None if calibration is None else calibration[place])
        for place in prompt.passages
    ]
    return values, RerankCost(1 + calibrate, read, 0, counts.passes, counts.tokens)


def _open(model: LanguageModel) -> OpenWeights:
    need(model, "weights", NAME)
    need(model, "score", NAME)
    if not isinstance(model, OpenWeights):
        raise CapabilityError(f"{NAME} reads attention and needs open weights, which {model.card.name} has not")
    return model
