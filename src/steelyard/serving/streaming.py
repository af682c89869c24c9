"""Server-sent events in the form that OpenAI clients read: ``data: {...}`` lines, ``data: [DONE]`` at the end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse

from steelyard.contracts import ModelCard, Usage
from steelyard.serving.answering import Piece, Plan
from steelyard.serving.guard import json_bytes
from steelyard.serving.limits import ClientGone
from steelyard.serving.protocol import ApiError
from steelyard.serving.responses import (
    Envelope,
    chat_chunk_choice,
    completion_chunk_choice,
    usage_object,
)

log = logging.getLogger("steelyard.serving")

DONE = b"data: [DONE]\n\n"


def event(record: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json_bytes(record) + b"\n\n"


async def event_stream(chunks: AsyncIterator[dict[str, Any]]) -> StreamingResponse:
    """Answer with ``chunks`` as they come.

    The first one is waited for here, so that what is refused before any text appears (a full queue, a missing
    capability) still gets its own status code; a failure after that is sent as an error event.
    """
    first = await anext(chunks)

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(chunks):  # type: ignore[type-var]
            try:
                yield event(first)
                async for chunk in chunks:
                    yield event(chunk)
            except ClientGone:
                return
            except ApiError as error:
                yield event(error.body())
            except Exception:
                log.exception("a stream broke off")
                yield event(ApiError(500, "the answer broke off; the server's log says why").body())
            yield DONE

    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)


async def chat_chunks(
    pieces: AsyncIterator[Piece], plan: Plan, card: ModelCard, include_usage: bool
) -> AsyncIterator[dict[str, Any]]:
    """``chat.completion.chunk`` records: each choice begins by naming its role."""
    envelope = Envelope("chatcmpl", "chat.completion.chunk", card)
    more: dict[str, Any] = {"usage": None} if include_usage else {}
    usages: dict[int, Usage] = {}
    begun: set[int] = set()
    async with aclosing(pieces):  # type: ignore[type-var]
        async for piece in pieces:
            usages[piece.index] = piece.answer.generation.usage
            if piece.index not in begun:
                begun.add(piece.index)
                delta = {"role": "assistant", "content": "", "refusal": None}
                opening = {"index": piece.index, "delta": delta, "logprobs": None, "finish_reason": None}
                yield envelope.around([opening], **more)
            choice = chat_chunk_choice(piece, plan)
            if choice is not None:
                yield envelope.around([choice], **more)
    if include_usage:
        yield envelope.around([], usage=usage_object(_in_order(usages), plan.n))


async def completion_chunks(
    pieces: AsyncIterator[Piece], plan: Plan, card: ModelCard, include_usage: bool
) -> AsyncIterator[dict[str, Any]]:
    """``text_completion`` records, an echoed prompt first."""
    envelope = Envelope("cmpl", "text_completion", card)
    more: dict[str, Any] = {"usage": None} if include_usage else {}
    usages: dict[int, Usage] = {}
    offsets: dict[int, int] = {}
    async with aclosing(pieces):  # type: ignore[type-var]
        async for piece in pieces:
            usages[piece.index] = piece.answer.generation.usage
            choice = completion_chunk_choice(piece, plan, offsets.get(piece.index, 0))
            named = len(piece.answer.prompt) + sum(map(len, piece.answer.generation.tokens))
            offsets[piece.index] = offsets.get(piece.index, 0) + named
            if choice is not None:
                yield envelope.around([choice], **more)
    if include_usage:
        yield envelope.around([], usage=usage_object(_in_order(usages), plan.n))


def _in_order(usages: dict[int, Usage]) -> list[Usage]:
    return [usages[index] for index in sorted(usages)]
