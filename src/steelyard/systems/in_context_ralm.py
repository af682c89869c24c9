"""In-context retrieval-augmented language modelling: a fresh passage before the text, every few tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from steelyard.contracts import (
    Continuation,
    Generation,
    Hit,
    LanguageModel,
    Message,
    ModelCard,
    Prompt,
    Reranker,
    Retriever,
    Sampling,
    Samplings,
    Score,
)
from steelyard.errors import UsageError
from steelyard.models.requests import sampling_each
from steelyard.parts import part
from steelyard.systems.asked_question import before_question
from steelyard.systems.grounded_card import grounded_card
from steelyard.systems.strided_answer import StridedAnswer
from steelyard.systems.token_strides import TokenText, shortened, stride_ends, tokenized, tokenizer_of

Count = Annotated[int, Field(ge=1)]
SEPARATOR = "\n"
"""Between passage and text, so that the last word of one and the first of the other stay two tokens."""


@part(papers=[249])
def in_context_ralm(
    model: LanguageModel,
    retriever: Retriever,
    reranker: Reranker | None = None,
    *,
    stride: Count = 4,
    query_tokens: Count = 32,
    passage_tokens: Count = 256,
    candidates: Count = 1,
    recent_tokens: Count = 16,
) -> LanguageModel:
    r"""Ground a model, unchanged, by putting a retrieved passage before its text, chosen anew every few tokens.

    With x the text, s the stride and n_s = n / s its strides,

        p(x_1 .. x_n) = prod_{j < n_s} prod_{i <= s} p(x_{sj+i} | [R(q_j); x_{<= sj+i-1}]),  q_j = x_{sj-l+1 .. sj}

    where q_j, the last l = ``query_tokens`` tokens, is the query, and R(q_j) the passage, cut to
    ``passage_tokens`` tokens. Where the model's context is too short for both, the text loses tokens at its
    beginning. With ``candidates`` k > 1 the passage is the best of k by the model itself,
    argmax_d p(y' | [d; x']), y' being the last ``recent_tokens`` tokens before the stride and x' what is before
    them; a ``reranker`` takes the place of the model.

    The first stride of a text without context has no query and no passage. A passage's metadata "title" goes on a
    line above it. Strides end only where the text can be cut without changing its tokens, so some are longer by a
    token or two. Strides that found nothing are read together: a retriever that finds nothing gives the unmodified
    model, and beyond its context length the strided one (every stride after as much text as fits). A conversation
    is grounded once, its passage before the last user message: chat templates do not let a passage change within
    an answer. Streams come whole.

    Args:
        model: what is grounded; it must have a fast tokenizer.
        retriever: searched once a stride; its ``fingerprint`` enters the card.
        reranker: reorders the candidates, such as a trained predictive reranker.
        stride: tokens between two retrievals; smaller costs more.
        query_tokens: how far back the query reaches.
        passage_tokens: longest passage.
        candidates: passages to rerank; 1 takes the first.
        recent_tokens: tokens whose likelihood ranks the candidates.

    Raises:
        CapabilityError: The model has no fast tokenizer.
        UsageError: Passage and stride leave no room for text in the model's context; a grammar is asked for; a
            reranker with nothing to rerank; or the retriever has no fingerprint.

    Source: Ram et al., "In-Context Retrieval-Augmented Language Models", sections 3 (equation 3 for strides and
    queries) and 5 (zero-shot reranking, equation 6). The paper's trained reranker is any ``Reranker`` here.

    Relations: ``internet-augmented-prompting`` reads many passages and chooses among answers; the retriever may be
    any.

    Example:
        >>> from steelyard.systems.loading import load
        >>> grounded = in_context_ralm(load("smollm2-135m"), index, stride=16)     # doctest: +SKIP
        >>> grounded.score([Continuation("", "A steelyard is a balance.")])[0].logprob  # doctest: +SKIP
    """
    if reranker is not None and candidates < 2:
        raise UsageError("in-context-ralm: a reranker needs candidates=2 or more to choose from")
    settings = RalmSettings(stride, query_tokens, passage_tokens, candidates, recent_tokens)
    return InContextRalm(model, retriever, reranker, settings)


class RalmSettings(NamedTuple):
    """The settings of :func:`in_context_ralm`."""

    stride: int
    query_tokens: int
    passage_tokens: int
    candidates: int
    recent_tokens: int


class Place(NamedTuple):
    """Where a stride begins: ``token`` of ``whole`` is the first that must not be known yet."""

    whole: TokenText
    token: int


class InContextRalm:
    """The language model that :func:`in_context_ralm` makes."""

    def __init__(
        self, model: LanguageModel, retriever: Retriever, reranker: Reranker | None, settings: RalmSettings
    ) -> None:
        self.model = model
        self.retriever = retriever
        self.reranker = reranker
        self.settings = settings

    @property
    def card(self) -> ModelCard:
        """The fingerprint covers the model, the retriever's content and the settings."""
        return grounded_card(
            self.model.card,
            "in-context-ralm",
            self.settings._asdict(),
            retriever=self.retriever,
            reranker=self.reranker,
        )

    @property
    def tokenizer(self) -> Any:
        """The model's own."""
        return tokenizer_of(self.model, "in-context-ralm")

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each continuation, a stride at a time behind its own passage."""
        plans = self._plans(requests)
        flat = self.model.score([piece for plan in plans for piece in plan], top=top, detail=detail)
        scores = iter(flat)
        return [
            joined(request, [next(scores) for _ in plan]) for request, plan in zip(requests, plans, strict=True)
        ]

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Continue each prompt, a stride at a time behind its own passage."""
        each = sampling_each(prompts, sampling)
        if any(chosen.grammar is not None for chosen in each):
            raise UsageError("in-context-ralm generates in strides, and a grammar cannot be kept across them")
        stride = self.settings.stride
        answers = [
            StridedAnswer(prompt, chosen, stride if isinstance(prompt, str) else max(1, chosen.max_tokens))
            for prompt, chosen in zip(prompts, each, strict=True)
        ]
        while waiting := [answer for answer in answers if answer.finish is None]:
            grounded = self._grounded_prompts(waiting)
            made = self.model.generate(grounded, [answer.next_sampling() for answer in waiting])
            for answer, generation in zip(waiting, made, strict=True):
                answer.take(generation)
        return [answer.generation() for answer in answers]

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """The answer in one piece: a stop string may take back the end of an earlier stride."""
        yield from self.generate([prompt], sampling)

    def passages(self, places: Sequence[Place]) -> list[str]:
        """The passage for each place, cut to length, with the separator behind it; empty where none was found."""
        queries = [
            place.whole.piece(place.token - self.settings.query_tokens, place.token).strip() for place in places
        ]
        distinct = list(dict.fromkeys(query for query in queries if query))
        found = self.retriever.search(distinct, self.settings.candidates) if distinct else []
        hits = dict(zip(distinct, found, strict=True))
        choices = [list(hits.get(query, ())) for query in queries]
        return self._chosen(places, queries, choices)

    def _chosen(self, places: Sequence[Place], queries: Sequence[str], choices: list[list[Hit]]) -> list[str]:
        if self.reranker is not None:
            ordered = [
                self.reranker.rerank(query, hits) if len(hits) > 1 else hits
                for query, hits in zip(queries, choices, strict=True)
            ]
            choices = [hits[:1] for hits in ordered]
        hits = {(hit.id, hit.text): hit for each in choices for hit in each}
        cut = {key: self._passage(hit) for key, hit in hits.items()}
        return self._most_likely(places, [[cut[hit.id, hit.text] for hit in each] for each in choices])

    def _most_likely(self, places: Sequence[Place], options: Sequence[Sequence[str]]) -> list[str]:
        """Of each place's passages the one after which the model finds its recent tokens most likely."""
        requests: list[Continuation] = []
        for place, passages in zip(places, options, strict=True):
            if len(passages) > 1:
                begin = self._recent_begin(place)
                recent = place.whole.piece(begin, place.token)
                requests += [
                    Continuation(self._fitted(p, Place(place.whole, begin), place.token - begin), recent)
                    for p in passages
                ]
        scores = iter(self.model.score(requests) if requests else [])
        chosen = []
        for passages in options:
            if len(passages) > 1:
                values = [next(scores).logprob for _ in passages]
                chosen.append(passages[max(range(len(values)), key=values.__getitem__)])
            else:
                chosen.append(passages[0] if passages else "")
        return chosen

    def _recent_begin(self, place: Place) -> int:
        """Where the recent tokens begin: not behind white space, which would be read with them."""
        begin = max(0, place.token - self.settings.recent_tokens)
        while begin > 0 and place.whole.text[place.whole.starts[begin] - 1].isspace():
            begin -= 1
        return begin

    def _passage(self, hit: Hit) -> str:
        title = str(hit.metadata.get("title", "")).strip()
        text = f"{title}\n{hit.text}" if title else hit.text
        return shortened(self.tokenizer, text.strip(), self.settings.passage_tokens).text + SEPARATOR

    def _plans(self, requests: Sequence[Continuation]) -> list[list[Continuation]]:
        """The requests to the model inside for each request."""
        tokenizer = self.tokenizer
        raw = [r for r in requests if isinstance(r.context, str)]
        wholes = iter(tokenized(tokenizer, [f"{r.context}{r.text}" for r in raw]))
        strides: list[
            list[tuple[Place, int]]
        ] = []  # of each request: where strides begin, and the token they end at
        for request in requests:
            if not isinstance(request.context, str):
                question = self._question(request.context)
                strides.append([(Place(question, len(question.tokens)), 0)])
                continue
            whole = next(wholes)
            first = whole.at(len(request.context))
            ends = stride_ends(tokenizer, whole, first, self.settings.stride)
            strides.append([(Place(whole, b), e) for b, e in zip([first, *ends], ends, strict=False)])
        passages = iter(self.passages([place for each in strides for place, _ in each]))
        return [
            self._pieces(request, each, [next(passages) for _ in each])
            for request, each in zip(requests, strides, strict=True)
        ]

    def _pieces(
        self, request: Continuation, strides: Sequence[tuple[Place, int]], passages: Sequence[str]
    ) -> list[Continuation]:
        if not isinstance(request.context, str):
            return [
                Continuation(before_question(request.context, passages[0].removesuffix(SEPARATOR)), request.text)
            ]
        limit = self.model.card.context_length or math.inf
        if not any(passages) and (not strides or len(strides[0][0].whole.tokens) <= limit):
            return [request]
        pieces: list[Continuation] = []
        joining = len(strides[0][0].whole.tokens) <= limit
        plain = False  # the last piece has no passage, so another without one can be read with it
        begin = len(request.context)
        for (place, end), passage in zip(strides, passages, strict=True):
            cut = place.whole.starts[end]
            text = place.whole.text[begin:cut]
            if passage:
                pieces.append(Continuation(self._fitted(passage, place, end - place.token, begin), text))
            elif plain and joining:
                last = pieces.pop()
                pieces.append(Continuation(last.context, last.text + text))
            else:
                start = 0 if joining else place.whole.starts[max(0, place.token - int(limit))]
                pieces.append(Continuation(place.whole.text[start:begin], text))
            plain, begin = not passage, cut
        return pieces

    def _fitted(self, passage: str, place: Place, tokens: int, end: int | None = None) -> str:
        """The passage and as much of the text before ``place`` as leaves room for ``tokens`` tokens."""
        end = place.whole.starts[place.token] if end is None else end
        limit = self.model.card.context_length
        if limit is None:
            return passage + place.whole.text[:end]
        room = limit - tokens - len(tokenized(self.tokenizer, [passage])[0].tokens) - 1
        if room < 1:
            raise UsageError(
                f"in-context-ralm: a passage and a stride of {tokens} tokens leave no room for text in the "
                f"{limit} tokens of {self.model.card.name}; lower passage_tokens or stride"
            )
        start = place.whole.starts[max(0, place.token - room)]
        return passage + place.whole.text[start:end]

    def _grounded_prompts(self, answers: Sequence[StridedAnswer]) -> list[Prompt]:
        texts = iter(tokenized(self.tokenizer, [a.prompt + a.text for a in answers if isinstance(a.prompt, str)]))
        wholes = [next(texts) if isinstance(a.prompt, str) else self._question(a.prompt) for a in answers]
        places = [Place(whole, len(whole.tokens)) for whole in wholes]
        grounded: list[Prompt] = []
        for answer, place, passage in zip(answers, places, self.passages(places), strict=True):
            if not isinstance(answer.prompt, str):
                grounded.append(before_question(answer.prompt, passage.removesuffix(SEPARATOR)))
            elif passage:
                grounded.append(self._fitted(passage, place, answer.next_sampling().max_tokens))
            else:
                grounded.append(place.whole.text)
        return grounded

    def _question(self, messages: Sequence[Message]) -> TokenText:
        asked = [message.content for message in messages if message.role == "user"]
        return tokenized(self.tokenizer, [asked[-1] if asked else ""])[0]


def joined(request: Continuation, scores: Sequence[Score]) -> Score:
    """The score of a text from those of its pieces, in order."""
    return Score(
        logprob=sum(score.logprob for score in scores),
        token_logprobs=tuple(value for score in scores for value in score.token_logprobs),
        tokens=tuple(token for score in scores for token in score.tokens),
        utf8_bytes=len(request.text.encode()),
        greedy=all(score.greedy for score in scores),
        context_tokens=scores[0].context_tokens,
        top=tuple(alternatives for score in scores for alternatives in score.top),
        ranks=tuple(rank for score in scores for rank in score.ranks),
        entropies=tuple(value for score in scores for value in score.entropies),
    )
