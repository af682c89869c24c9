"""A language model with documents: passages before the question, and answers that say where they come from."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field

from steelyard.contracts import (
    Continuation,
    Generation,
    Hit,
    LanguageModel,
    ModelCard,
    Prompt,
    Reranker,
    Retriever,
    Sampling,
    Samplings,
    Score,
    StreamingModel,
)
from steelyard.errors import InputError, UsageError
from steelyard.models.requests import encode_prompt, encode_text, sampling_each
from steelyard.models.scripted import prompt_text
from steelyard.parts import part
from steelyard.retrieval.remembered import reranked
from steelyard.systems.asked_question import before_question, question_of
from steelyard.systems.attribution import Evidence, citations_of, lexical_support
from steelyard.systems.citation_marks import MarkFilter, without_marks
from steelyard.systems.grounded_card import grounded_card

Count: TypeAlias = Annotated[int, Field(ge=1)]
Support: TypeAlias = Literal["lexical", "gain"]

RULES = "grounded/1"
"""The version of how passages are shown, for fingerprints."""
REFUSAL = "Not in the documents."
INSTRUCTION = (
    "Answer from these passages only, and write after each sentence the number of the passage it rests on, "
    "such as [1]."
)
BYTES_PER_TOKEN = 3
"""Of a model whose tokenizer cannot be seen: fewer than usual, so that passages rather are left out than cut."""
_log = logging.getLogger(__name__)


@part()
def grounded(
    model: LanguageModel,
    retriever: Retriever,
    reranker: Reranker | None = None,
    *,
    k: Count = 4,
    candidates: Count = 20,
    threshold: Annotated[float, Field(ge=0)] = 0.0,
    support: Support = "lexical",
    marks: bool = False,
    refusal: str = REFUSAL,
) -> LanguageModel:
    r"""Answer from retrieved passages, cite them to the character, and say so where they do not hold the answer.

    1. The question is the last user message, what follows the last "Question:" of a text, or the whole text.
    2. Its ``k`` best passages go before it, numbered, best first; with a ``reranker`` they are the best of
       ``candidates``. Of passages that do not fit the model's context beside prompt and answer the last ones are
       left out; none is cut.
    3. The model answers. Marks such as [2] are taken out of its text and become citations. A sentence without a
       mark is cited from the passage's sentence that holds most of its weight, if that is at least half of it
       (:mod:`~steelyard.systems.attribution` has the formula). A quote is a slice of its passage, and its offsets
       are the passage's own.
    4. Where the answer's support is below ``threshold``, ``refusal`` is the answer instead, without citations. The
       support is, with ``lexical``, the share of the answer's weight that the passages hold, times that of the
       question's weight which the cited ones hold; with ``gain`` it is

           1 - exp(-max(0, (log p(a | q, passages) - log p(a | q)) / n))

       for an answer a of n tokens, which takes two scores. :func:`~steelyard.systems.support_threshold.calibrate`
       finds a threshold.

    Scores are those of the continuation behind the same passages: all continuations of one context see the same
    ones. A text without context goes to the model as it is. An answer streams as it is written; with a threshold,
    which needs the whole of it, it comes in one piece.

    Args:
        model: what answers.
        retriever: searched once a question; its ``fingerprint`` enters the card.
        reranker: puts the candidates into a better order; needs a fingerprint too.
        k: passages shown.
        candidates: passages that a reranker chooses from.
        threshold: least support of an answer; 0 never refuses.
        support: how support is measured.
        marks: ask the model to write marks, which takes one that follows instructions.
        refusal: what is answered instead.

    Raises:
        UsageError: A reranker with fewer candidates than ``k``, or a retriever or reranker without a fingerprint.
        InputError: A passage whose text is not as long as its place in its source says.
        CapabilityError: ``gain`` with a model that gives no log-probabilities.

    Source:
        Retrieval-Augmented Generation for Knowledge-Intensive NLP Tasks (2020), with passages in the prompt as in
        In-Context Retrieval-Augmented Language Models, section 6. Attribution and support are Steelyard's own.

    Relations:
        ``in-context-ralm`` chooses a passage anew every few tokens; ``internet-augmented-prompting`` reads many
        passages apart and chooses among answers. Neither cites.

    Example:
        >>> answers = grounded(load("smollm2-135m"), lexical("handbook.index"))          # doctest: +SKIP
        >>> answers.generate(["Question: Who may open the store?\nAnswer:"])[0].citations  # doctest: +SKIP
    """
    if reranker is not None and candidates < k:
        raise UsageError(f"grounded: {candidates} candidates are fewer than the {k} passages to choose from them")
    settings = GroundedSettings(k, candidates, threshold, support, marks, refusal)
    return GroundedModel(model, retriever, reranker, settings)


class GroundedSettings(NamedTuple):
    """The settings of :func:`grounded`."""

    k: int = 4
    candidates: int = 20
    threshold: float = 0.0
    support: Support = "lexical"
    marks: bool = False
    refusal: str = REFUSAL


class GroundedPrompt(NamedTuple):
    """A prompt with the passages before its question: those shown, and how many did not fit the context."""

    prompt: Prompt
    asked: Prompt
    question: str
    passages: tuple[Hit, ...]
    dropped: int = 0


class GroundedAnswer(NamedTuple):
    """An answer and what it rests on.

    Attributes:
        generation: the answer without marks, with its citations; or the refusal.
        passages: those shown, in the order of their numbers.
        dropped: passages found that did not fit the model's context.
        support: from 0 to 1; None where it was not measured (``gain`` without a threshold).
        refused: whether support is below the threshold.
        unknown_marks: numbers that the model wrote and that name no passage.
    """

    generation: Generation
    passages: tuple[Hit, ...]
    dropped: int
    support: float | None
    refused: bool
    unknown_marks: tuple[int, ...] = ()


class GroundedModel:
    """The language model that :func:`grounded` makes."""

    def __init__(
        self, model: LanguageModel, retriever: Retriever, reranker: Reranker | None, settings: GroundedSettings
    ) -> None:
        self.model = model
        self.retriever = retriever
        self.reranker = reranker
        self.settings = settings

    @property
    def card(self) -> ModelCard:
        """The fingerprint covers the model, the content of what is searched, and the settings.

        The memory is that of the model and of what the retriever needs beside it, such as an embedder.
        """
        settings = {"rules": RULES, **self.settings._asdict()}
        card = grounded_card(
            self.model.card, "grounded", settings, retriever=self.retriever, reranker=self.reranker
        )
        beside = int(getattr(self.retriever, "memory_bytes", 0))
        return card if card.memory_bytes is None else replace(card, memory_bytes=card.memory_bytes + beside)

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each continuation behind the passages for its context's question."""
        keys = [_key(request.context) for request in requests]
        contexts = {key: request.context for key, request in zip(keys, requests, strict=True) if request.context}
        longest: dict[object, int] = dict.fromkeys(contexts, 0)
        for key, request in zip(keys, requests, strict=True):
            if key in longest:
                longest[key] = max(longest[key], self._text_tokens(request.text))
        read = dict(zip(contexts, self.ground(list(contexts.values()), list(longest.values())), strict=True))
        asked = [
            Continuation(read[key].prompt, request.text) if key in read else request
            for key, request in zip(keys, requests, strict=True)
        ]
        return self.model.score(asked, top=top, detail=detail)

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Answer each prompt, with citations."""
        return [answer.generation for answer in self.answers(prompts, sampling)]

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """The answer as it is written, the last piece with the citations; with a threshold all in one piece."""
        if self.settings.threshold > 0:
            yield from self.generate([prompt], sampling)
        else:
            yield from self._pieces(prompt, sampling)

    def answers(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[GroundedAnswer]:
        """Answer each prompt, and say what was shown and how well it supports the answer."""
        each = sampling_each(prompts, sampling)
        read = self.ground(prompts, [chosen.max_tokens for chosen in each])
        return self._concluded(read, self.model.generate([one.prompt for one in read], each) if read else [])

    def answer(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, tell: Callable[[str], None] | None = None
    ) -> GroundedAnswer:
        """Answer one prompt; ``tell`` gets the model's words as they are written, before they may be refused."""
        pieces = self._pieces(prompt, sampling)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                found: GroundedAnswer = end.value
                return found
            if tell is not None and piece.text:
                tell(piece.text)

    def ground(self, prompts: Sequence[Prompt], room: Sequence[int]) -> list[GroundedPrompt]:
        """Put passages before the question of each prompt, leaving ``room`` tokens of the context behind it."""
        questions = [question_of(prompt) for prompt in prompts]
        hits = self.hits(questions)
        read = [self._fitted(*one) for one in zip(prompts, questions, hits, room, strict=True)]
        dropped = sum(one.dropped > 0 for one in read)
        if dropped:
            _log.warning(
                "%s: for %d of %d prompts not all passages fit the context of %s; the last ones were left out",
                "grounded", dropped, len(read), self.model.card.name,
            )  # fmt: skip
        return read

    def hits(self, questions: Sequence[str]) -> list[list[Hit]]:
        """The passages for each question, best first; none for an empty one."""
        distinct = list(dict.fromkeys(question for question in questions if question))
        count = self.settings.k if self.reranker is None else self.settings.candidates
        found = dict(zip(distinct, self.retriever.search(distinct, count) if distinct else [], strict=True))
        if self.reranker is not None:
            several = [question for question in distinct if len(found[question]) > 1]
            found |= zip(several, reranked(self.reranker, several, [found[q] for q in several]), strict=True)
        return [_placed(found.get(question, [])[: self.settings.k]) for question in questions]

    def _pieces(self, prompt: Prompt, sampling: Sampling) -> Generator[Generation, None, GroundedAnswer]:
        if not isinstance(self.model, StreamingModel):
            answer = self.answers([prompt], sampling)[0]
            yield answer.generation
            return answer
        read = self.ground([prompt], [sampling.max_tokens])[0]
        unmarked, written, rest, last = MarkFilter(), "", "", Generation("")
        for piece in self.model.stream(read.prompt, sampling):
            written += piece.text
            shown = unmarked.feed(piece.text)
            if piece.finish_reason is None:
                yield piece if shown == piece.text else Generation(shown, finish_reason=None)
            else:
                rest, last = shown, piece
        rest += unmarked.end()
        whole = Generation(written, finish_reason=last.finish_reason, usage=last.usage)
        answer = self._concluded([read], [whole])[0]
        citations = answer.generation.citations
        yield replace(last if rest == last.text else _retold(last, rest), citations=citations)
        return answer

    def _concluded(self, read: Sequence[GroundedPrompt], made: Sequence[Generation]) -> list[GroundedAnswer]:
        """Cite each answer, and refuse those whose support is too small."""
        answers = []
        for one, generation in zip(read, made, strict=True):
            text, marks = without_marks(generation.text)
            evidence = Evidence(one.question, one.passages)
            citations = tuple(citations_of(evidence, text, marks))
            unknown = tuple(n for mark in marks for n in mark.numbers if n > len(one.passages))
            answer = replace(
                generation if text == generation.text else _retold(generation, text), citations=citations
            )
            support = lexical_support(evidence, text, citations) if self.settings.support == "lexical" else None
            answers.append(GroundedAnswer(answer, one.passages, one.dropped, support, False, unknown))
        if not self.settings.threshold:
            return answers
        if self.settings.support == "gain":
            gains = self._gains(read, answers)
            answers = [a._replace(support=gain) for a, gain in zip(answers, gains, strict=True)]
        return [self._judged(answer) for answer in answers]

    def _judged(self, answer: GroundedAnswer) -> GroundedAnswer:
        if (answer.support or 0.0) >= self.settings.threshold:
            return answer
        said = Generation(self.settings.refusal, usage=answer.generation.usage)
        return answer._replace(generation=said, refused=True)

    def _gains(self, read: Sequence[GroundedPrompt], answers: Sequence[GroundedAnswer]) -> list[float]:
        places = [i for i, a in enumerate(answers) if a.generation.text.strip() and read[i].passages]
        requests = [
            Continuation(context, answers[i].generation.text)
            for i in places
            for context in (read[i].prompt, read[i].asked)
        ]
        scores = self.model.score(requests) if requests else []
        gains = [0.0] * len(answers)
        for place, behind, alone in zip(places, scores[::2], scores[1::2], strict=True):
            gains[place] = gain_support(behind, alone)
        return gains

    def _fitted(self, prompt: Prompt, question: str, hits: Sequence[Hit], room: int) -> GroundedPrompt:
        limit = self.model.card.context_length
        for count in range(len(hits), 0, -1):
            made = before_question(prompt, self._shown(hits[:count]))
            if limit is None or self._prompt_tokens(made) + room <= limit:
                return GroundedPrompt(made, prompt, question, tuple(hits[:count]), len(hits) - count)
        return GroundedPrompt(prompt, prompt, question, (), len(hits))

    def _shown(self, hits: Sequence[Hit]) -> str:
        numbered = [f"[{number}] {_line(hit)}" for number, hit in enumerate(hits, start=1)]
        return "\n\n".join([INSTRUCTION, *numbered] if self.settings.marks else numbered)

    def _prompt_tokens(self, prompt: Prompt) -> int:
        tokenizer = getattr(self.model, "tokenizer", None)
        if tokenizer is None:
            return _estimate(prompt_text(prompt))
        return len(encode_prompt(tokenizer, prompt, self.model.card.name))

    def _text_tokens(self, text: str) -> int:
        tokenizer = getattr(self.model, "tokenizer", None)
        return _estimate(text) if tokenizer is None else len(encode_text(tokenizer, text, False))


def gain_support(behind: Score, alone: Score) -> float:
    """1 - exp(-max(0, gain)), gain being that of the mean log-probability of a token through the passages.

    >>> round(gain_support(Score(-1.0, (-1.0,), ("a",), 1, True), Score(-2.0, (-2.0,), ("a",), 1, False)), 3)
    0.632
    """
    gain = (behind.logprob - alone.logprob) / max(1, len(behind.token_logprobs))
    return 0.0 if math.isnan(gain) else 1.0 - math.exp(-max(0.0, gain))


def _line(hit: Hit) -> str:
    """A passage in one line, so that nothing in it can pass for another passage or a question."""
    title = " ".join(str(hit.metadata.get("title", "")).split())
    text = " ".join(hit.text.split())
    return f"{title}: {text}" if title else text


def _placed(hits: Sequence[Hit]) -> list[Hit]:
    """The hits, checked to be as long as their places, so that a quote is found where its citation says."""
    for hit in hits:
        if hit.end and hit.end - hit.start != len(hit.text):
            raise InputError(
                f"passage {hit.id!r} of {hit.source!r}: its text has {len(hit.text)} characters and its place "
                f"{hit.start}-{hit.end} another number, so a quote could not be found again; index it anew"
            )
    return list(hits)


def _retold(generation: Generation, text: str) -> Generation:
    """The generation with another text, to which its tokens do not belong any more."""
    return replace(generation, text=text, tokens=(), token_logprobs=(), top=())


def _key(prompt: Prompt) -> object:
    return prompt if isinstance(prompt, str) else tuple(prompt)


def _estimate(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)
