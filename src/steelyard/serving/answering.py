"""From a request to the model's calls: what to ask, how often, and when to stop asking.

Everything here runs on a worker thread and knows nothing of HTTP. ``cancelled`` is set when nobody waits for
the answer any more; it is looked at between the model's calls and between the pieces of a stream.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from steelyard.contracts import (
    Generation,
    LanguageModel,
    ModelCard,
    Prompt,
    Sampling,
    Score,
    Usage,
)
from steelyard.serving.prompt_scoring import PromptScorer
from steelyard.serving.protocol import ApiError, ChatRequest, CompletionRequest

CHUNK = 32
"""Prompts per model call: enough to batch well, few enough that a dropped request ends soon."""
CHAT_MAX_TOKENS = 1024
"""Tokens of a chat answer where the request names no number; a quarter of the context where that is less, so
that most of it is left for the conversation."""


class Cancelled(Exception):
    """Nobody waits for this answer any more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request asks of the model: each prompt ``n`` times, choice ``i`` with seed ``sampling.seed + i``.

    ``echo`` gives the prompt back in front of the text; with ``logprobs`` (the number of alternatives, None
    for none) it is scored, too. ``sampling.max_tokens`` 0 generates nothing.
    """

    prompts: tuple[Prompt, ...]
    n: int
    sampling: Sampling
    echo: bool = False
    logprobs: int | None = None

    def seeded(self, choice: int) -> Sampling:
        """How to sample one of the ``n`` choices."""
        return replace(self.sampling, seed=self.sampling.seed + choice)

    @property
    def distinct(self) -> int:
        """How many of the ``n`` choices can differ: greedy decoding always gives the same one."""
        return self.n if self.sampling.temperature > 0 else 1


class Answer(NamedTuple):
    """One choice. ``prompt`` and ``score`` (of that prompt) are set where it is echoed."""

    generation: Generation
    prompt: str = ""
    score: Score | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of a streamed answer: ``index`` is the choice it belongs to."""

    index: int
    answer: Answer


def plan_of(request: ChatRequest | CompletionRequest, card: ModelCard) -> Plan:
    """What ``request`` asks of a model; a seed is drawn where sampling needs one and none is given."""
    seed = request.seed
    if seed is None:
        seed = secrets.randbelow(2**31) if request.temperature > 0 else 0
    sampling = Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=tuple(request.stop),
        seed=seed % 2**63,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        grammar=request.grammar,
    )
    if isinstance(request, ChatRequest):
        limit = request.max_completion_tokens or request.max_tokens
        limit = limit or chat_max_tokens(card)
        logprobs = request.top_logprobs if request.logprobs else None
        prompts: tuple[Prompt, ...] = (tuple(message.to_message() for message in request.messages),)
        echo = False
    else:
        limit, logprobs, prompts, echo = request.max_tokens, request.logprobs, tuple(request.prompt), request.echo
    # The token's own log-probability comes only with alternatives, so at least one is asked for.
    wanted = 0 if logprobs is None else max(1, logprobs)
    sampling = replace(sampling, max_tokens=limit, logprobs=wanted)
    return Plan(prompts, request.n, sampling, echo, logprobs)


def chat_max_tokens(card: ModelCard) -> int:
    """How long a chat answer may be where the request does not say."""
    if card.context_length is None:
        return CHAT_MAX_TOKENS
    return max(1, min(CHAT_MAX_TOKENS, card.context_length // 4))


def answer(model: LanguageModel, scorer: PromptScorer, plan: Plan, cancelled: threading.Event) -> list[Answer]:
    """All choices, ordered by prompt and then by choice."""
    scores = _prompt_scores(scorer, plan, cancelled)
    generations = _generations(model, plan, cancelled, scores)
    answers = []
    for number, prompt in enumerate(plan.prompts):
        for choice in range(plan.n):
            generation = generations[number * plan.distinct + choice % plan.distinct]
            score = scores[number] if scores else None
            check_answer(generation, plan, model.card, score)
            scored = score if plan.logprobs is not None else None
            answers.append(Answer(generation, str(prompt) if plan.echo else "", scored))
    return answers


def pieces(model: LanguageModel, scorer: PromptScorer, plan: Plan, cancelled: threading.Event) -> Iterator[Piece]:
    """The choices as they appear, one after the other; a model that cannot stream gives each in one piece."""
    for number, prompt in enumerate(plan.prompts):
        single = replace(plan, prompts=(prompt,))
        score = _prompt_scores(scorer, single, cancelled)
        heard: list[Generation] = []
        for choice in range(plan.n):
            index = number * plan.n + choice
            if plan.echo:
                start = Generation(text="", finish_reason=None)
                yield Piece(index, Answer(start, str(prompt), score[0] if plan.logprobs is not None else None))
            if choice < plan.distinct:
                heard = []
                for generation in _stream(model, prompt, plan.seeded(choice), cancelled, score):
                    heard.append(generation)
                    if generation.finish_reason is not None:
                        check_answer(_joined(heard), plan, model.card, score[0] if score else None)
                    yield Piece(index, Answer(generation))
            else:
                yield from (Piece(index, Answer(generation)) for generation in heard)


def check_request(plan: Plan, card: ModelCard) -> None:
    """Refuse before any work what the model is known not to give."""
    if plan.logprobs is not None and card.capabilities and "logprobs" not in card.capabilities:
        raise _no_logprobs(card)


def check_answer(generation: Generation, plan: Plan, card: ModelCard, score: Score | None) -> None:
    """Refuse what must not be passed on as an answer: a failed generation, log-probabilities left out, and text
    that continues only the end of its prompt.

    Models cut a prompt on the left where ``max_tokens`` needs the room. A prompt that was cut fills what is left
    of the context to the last token; where it was scored, its length is known.
    """
    if generation.finish_reason == "error":
        raise ApiError(500, "the model failed on this prompt")
    if plan.logprobs is not None and generation.text and not generation.token_logprobs:
        raise _no_logprobs(card)
    limit, wanted = card.context_length, plan.sampling.max_tokens
    if limit is None or wanted == 0:
        return
    room = limit - wanted
    cut = len(score.tokens) > room if score is not None else generation.usage.prompt_tokens == room
    if cut:
        message = (
            f"the prompt does not fit: the model's context is {limit} tokens and max_tokens takes {wanted} of "
            "them; shorten the prompt or lower max_tokens"
        )
        raise ApiError(400, message, param="max_tokens", code="context_length_exceeded")


def _no_logprobs(card: ModelCard) -> ApiError:
    message = f"model {card.name!r} gives no log-probabilities; leave out 'logprobs'"
    return ApiError(400, message, param="logprobs", code="unsupported_capability")


def _prompt_scores(scorer: PromptScorer, plan: Plan, cancelled: threading.Event) -> list[Score]:
    """Scores of echoed prompts, or an empty list where nothing needs them.

    A prompt that is echoed and not continued is scored even without ``logprobs``: its tokens are the usage.
    """
    if not plan.echo or (plan.logprobs is None and plan.sampling.max_tokens > 0):
        return []
    scores: list[Score] = []
    for start in range(0, len(plan.prompts), CHUNK):
        _stop_if(cancelled)
        prompts = [str(prompt) for prompt in plan.prompts[start : start + CHUNK]]
        scores += scorer.score(prompts, plan.sampling.logprobs)
    return scores


def _generations(
    model: LanguageModel, plan: Plan, cancelled: threading.Event, scores: Sequence[Score]
) -> list[Generation]:
    """The ``plan.distinct`` generations of each prompt, together, so that a model reads each prompt once."""
    asked = [(number, choice) for number in range(len(plan.prompts)) for choice in range(plan.distinct)]
    if plan.sampling.max_tokens == 0:
        return [_nothing(scores[number]) for number, _ in asked]
    if len(asked) == 1:
        return [_joined(list(_stream(model, plan.prompts[0], plan.sampling, cancelled, scores)))]
    generations: list[Generation] = []
    for start in range(0, len(asked), CHUNK):
        _stop_if(cancelled)
        part = asked[start : start + CHUNK]
        samplings = plan.sampling if plan.distinct == 1 else [plan.seeded(choice) for _, choice in part]
        generations += model.generate([plan.prompts[number] for number, _ in part], samplings)
    return generations


def _stream(
    model: LanguageModel,
    prompt: Prompt,
    sampling: Sampling,
    cancelled: threading.Event,
    scores: Sequence[Score],
) -> Iterator[Generation]:
    """One generation in pieces, where the model can.

    It is read this way, too, when nothing is streamed to the client, because a call that hands over pieces can
    be stopped between them.
    """
    _stop_if(cancelled)
    if sampling.max_tokens == 0:
        yield _nothing(scores[0])
        return
    streaming: Any = getattr(model, "stream", None)
    if streaming is None:
        yield model.generate([prompt], sampling)[0]
        return
    generations = streaming(prompt, sampling)
    try:
        for generation in generations:
            yield generation
            _stop_if(cancelled)
    finally:
        if hasattr(generations, "close"):  # generators have it, other iterators need not
            generations.close()


def _nothing(score: Score) -> Generation:
    return Generation(text="", finish_reason="length", usage=Usage(prompt_tokens=len(score.tokens)))


def _joined(parts: Sequence[Generation]) -> Generation:
    """The pieces of one stream as the one generation they make up."""
    last = parts[-1]
    known = [part.logprob for part in parts if part.logprob is not None]
    return Generation(
        text="".join(part.text for part in parts),
        tokens=tuple(token for part in parts for token in part.tokens),
        logprob=sum(known) if known else None,
        finish_reason=last.finish_reason,
        usage=last.usage,
        token_logprobs=tuple(value for part in parts for value in part.token_logprobs),
        top=tuple(alternatives for part in parts for alternatives in part.top),
        citations=last.citations,
    )


def _stop_if(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise Cancelled
