"""The OpenAI API's response objects, as JSON-ready dictionaries."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from steelyard.contracts import Generation, ModelCard, Usage
from steelyard.serving.answering import Answer, Piece, Plan
from steelyard.serving.protocol import ApiError

LOWEST_LOGPROB = -9999.0
"""What stands for minus infinity, which JSON cannot say (vLLM and OpenAI write the same)."""


def model_object(model_id: str, card: ModelCard, created: int) -> dict[str, Any]:
    """One entry of ``/v1/models``; the fields after ``owned_by`` are additions that clients leave aside."""
    return {
        "id": model_id,
        "object": "model",
        "created": created,
        "owned_by": "steelyard",
        "root": card.name,
        "context_length": card.context_length,
        "parameters": card.parameters,
        "licence": card.licence,
        "fingerprint": card.fingerprint,
    }


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all chunks and choices of one answer share."""

    prefix: str
    kind: str
    card: ModelCard
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def around(self, choices: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """A response object with these choices."""
        return {
            "id": f"{self.prefix}-{self.number}",
            "object": self.kind,
            "created": self.created,
            "model": self.card.name,
            "system_fingerprint": f"fp_{self.card.fingerprint[:12]}",
            "choices": list(choices),
            **more,
        }


def chat_completion(answers: Sequence[Answer], plan: Plan, card: ModelCard) -> dict[str, Any]:
    """``chat.completion``."""
    choices = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": answer.generation.text,
                "refusal": None,
                **cited(answer.generation),
            },
            "logprobs": _chat_logprobs(answer.generation, plan),
            "finish_reason": answer.generation.finish_reason,
        }
        for index, answer in enumerate(answers)
    ]
    usage = usage_object([answer.generation.usage for answer in answers], plan.n)
    return Envelope("chatcmpl", "chat.completion", card).around(choices, usage=usage)


def completion(answers: Sequence[Answer], plan: Plan, card: ModelCard) -> dict[str, Any]:
    """``text_completion``."""
    choices = []
    for index, answer in enumerate(answers):
        block = None
        if plan.logprobs is not None:
            block = _with_last_token(completion_logprobs(answer, plan.logprobs), answer, plan)
        choices.append(
            {
                "index": index,
                "text": answer.prompt + answer.generation.text,
                "logprobs": block,
                "finish_reason": answer.generation.finish_reason,
                **cited(answer.generation),
            }
        )
    usage = usage_object([answer.generation.usage for answer in answers], plan.n)
    return Envelope("cmpl", "text_completion", card).around(choices, usage=usage)


def chat_chunk_choice(piece: Piece, plan: Plan) -> dict[str, Any] | None:
    """One choice of a ``chat.completion.chunk``, or None where the piece carries nothing to send."""
    generation = piece.answer.generation
    logprobs = _chat_logprobs(generation, plan)
    if not generation.text and not generation.finish_reason and not (logprobs and logprobs["content"]):
        return None
    delta = {**({"content": generation.text} if generation.text else {}), **cited(generation)}
    return {
        "index": piece.index,
        "delta": delta,
        "logprobs": logprobs,
        "finish_reason": generation.finish_reason,
    }


def completion_chunk_choice(piece: Piece, plan: Plan, offset: int) -> dict[str, Any] | None:
    """One choice of a streamed ``text_completion``; ``offset`` counts the characters of its tokens before."""
    answer = piece.answer
    text = answer.prompt + answer.generation.text
    block = None if plan.logprobs is None else completion_logprobs(answer, plan.logprobs, offset)
    if not text and not answer.generation.finish_reason and not (block and block["tokens"]):
        return None
    return {
        "index": piece.index,
        "text": text,
        "logprobs": block,
        "finish_reason": answer.generation.finish_reason,
        **cited(answer.generation),
    }


def cited(generation: Generation) -> dict[str, Any]:
    """The field ``citations``, an addition of this server, where an answer has any.

    Each has the fields of :class:`~steelyard.contracts.Citation`. ``answer_start`` and ``answer_end`` are
    characters of the answer alone, whatever is echoed before it. In a stream they come with the last chunk.
    """
    return {"citations": [asdict(citation) for citation in generation.citations]} if generation.citations else {}


def usage_object(usages: Iterable[Usage], n: int) -> dict[str, int]:
    """Token counts of a whole request; a prompt that was answered ``n`` times is counted once."""
    counted = list(usages)
    prompt = sum(usage.prompt_tokens for usage in counted[::n])
    generated = sum(usage.completion_tokens for usage in counted)
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


# --------------------------------------------------------------------------------- log-probabilities


def completion_logprobs(answer: Answer, wanted: int, offset: int = 0) -> dict[str, Any]:
    """``tokens``, ``token_logprobs``, ``top_logprobs`` and ``text_offset`` of the prompt (where it was scored)
    and the text after it.

    The prompt's first token has no log-probability, as in OpenAI's and vLLM's answers: nothing stands before
    it in the prompt. Offsets are characters into the text of the whole choice. ``top_logprobs`` holds the
    ``wanted`` most probable tokens and the token itself.
    """
    tokens: list[str] = []
    logprobs: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    offsets: list[int] = []

    def extend(
        names: Sequence[str], values: Sequence[float], top: Sequence[Mapping[str, float]], start: int
    ) -> None:
        for position, (name, value) in enumerate(zip(names, values, strict=True)):
            tokens.append(name)
            logprobs.append(finite(value))
            alternatives = top[position] if position < len(top) else {}
            tops.append(_top_with_token(alternatives, name, value, wanted))
            offsets.append(start)
            start += len(name)

    score = answer.score
    if score is not None:
        extend(score.tokens, score.token_logprobs, score.top, offset)
        if logprobs:
            logprobs[0], tops[0] = None, None
    generation = answer.generation
    extend(generation.tokens, generation.token_logprobs, generation.top, offset + len(answer.prompt))
    return {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets}


def _with_last_token(block: dict[str, Any], answer: Answer, plan: Plan) -> dict[str, Any]:
    """Name the end of text where the model chose it at once after an echoed prompt.

    lm-evaluation-harness asks for one token after the prompt and drops the last entry; without this entry it
    would drop a token of the prompt.
    """
    generation = answer.generation
    if answer.score is not None and plan.sampling.max_tokens > 0 and not generation.tokens:
        block["tokens"].append("")
        block["token_logprobs"].append(None)
        block["top_logprobs"].append(None)
        block["text_offset"].append(len(answer.prompt))
    return block


def _chat_logprobs(generation: Generation, plan: Plan) -> dict[str, Any] | None:
    if plan.logprobs is None:
        return None
    content = []
    for position, (token, value) in enumerate(zip(generation.tokens, generation.token_logprobs, strict=True)):
        top = generation.top[position] if position < len(generation.top) else {}
        ranked = sorted(top.items(), key=lambda item: -item[1])[: plan.logprobs]
        content.append({**_chat_token(token, value), "top_logprobs": [_chat_token(*item) for item in ranked]})
    return {"content": content, "refusal": None}


def _chat_token(token: str, logprob: float) -> dict[str, Any]:
    # A replacement character stands for a part of a character, whose bytes are not known here.
    known = "�" not in token
    return {
        "token": token,
        "logprob": finite(logprob),
        "bytes": list(token.encode("utf-8", "replace")) if known else None,
    }


def _top_with_token(top: Mapping[str, float], token: str, logprob: float, wanted: int) -> dict[str, float]:
    """The ``wanted`` most probable, and the token itself with exactly the value it has in ``token_logprobs``.

    Clients test "was it the most probable one" by equality. Two tokens can share one text (parts of a
    character); the more probable one then keeps its value.
    """
    ranked = sorted(top.items(), key=lambda item: -item[1])[:wanted]
    own = finite(logprob)
    found = {
        name: own if math.isclose(finite(value), own, rel_tol=1e-6) else finite(value) for name, value in ranked
    }
    return found if token in found else found | {token: own}


def finite(logprob: float) -> float:
    """A log-probability that JSON can say."""
    if math.isnan(logprob):
        raise ApiError(500, "the model computed a probability that is not a number")
    return max(float(logprob), LOWEST_LOGPROB)
