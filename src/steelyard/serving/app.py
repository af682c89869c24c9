"""The application: OpenAI-compatible endpoints around one language model.

    from steelyard.serving.app import create_app
    app = create_app(model, token="...")        # any ASGI server can run it

Endpoints: ``GET /health``, ``GET /v1/models``, ``GET /v1/models/{id}``, ``POST /v1/chat/completions``,
``POST /v1/completions``, ``GET /openapi.json``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from steelyard.contracts import LanguageModel
from steelyard.errors import UsageError
from steelyard.serving.answering import Answer, Piece, Plan, answer, check_request, pieces, plan_of
from steelyard.serving.guard import LOOPBACK_HOSTS, Guard, check_token, error_headers, json_bytes
from steelyard.serving.limits import (
    DEFAULT_MAX_REQUEST_BYTES,
    DEFAULT_MAX_WAITING,
    DEFAULT_TIMEOUT,
    ClientGone,
    ModelQueue,
    concurrency_for,
)
from steelyard.serving.prompt_scoring import PromptScorer
from steelyard.serving.protocol import ApiError, ChatRequest, CompletionRequest, read_request
from steelyard.serving.responses import chat_completion, completion, model_object
from steelyard.serving.streaming import chat_chunks, completion_chunks, event_stream

ALIAS = "default"


def create_app(
    model: LanguageModel,
    *,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK_HOSTS,
    max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES,
    max_concurrent: int | None = None,
    max_waiting: int = DEFAULT_MAX_WAITING,
    timeout: float = DEFAULT_TIMEOUT,
) -> FastAPI:
    """An ASGI application that serves ``model`` under its card's name and under ``default``.

    ``token`` is demanded as ``Authorization: Bearer ...`` everywhere but ``/health``. ``hosts`` are the names
    the server may be addressed by (None: any). ``max_concurrent`` calls run at once (default: one, eight for
    a remote model), ``max_waiting`` wait behind them and the next is refused with 429; a request is given up
    after ``timeout`` seconds. Raises :class:`UsageError` for a limit or token that cannot work.
    """
    check_token(token)
    concurrent = concurrency_for(model.card) if max_concurrent is None else max_concurrent
    for name, value, least in (
        ("max_request_bytes", max_request_bytes, 1),
        ("max_concurrent", concurrent, 1),
        ("max_waiting", max_waiting, 0),
    ):
        if value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}")
    if not 0 < timeout < float("inf"):
        raise UsageError(f"timeout must be a positive number of seconds, not {timeout}")
    queue = ModelQueue(max_concurrent=concurrent, max_waiting=max_waiting, timeout=timeout)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            queue.close()

    app = FastAPI(
        title="Steelyard",
        description="An OpenAI-compatible server around one measured system.",
        docs_url=None,  # these pages load scripts from a content network
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_middleware(Guard, token=token, hosts=hosts, max_request_bytes=max_request_bytes)
    _add_endpoints(app, Endpoints(model, queue))
    _add_error_handlers(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


class Endpoints:
    """What the paths do, around one model and the queue in front of it."""

    def __init__(self, model: LanguageModel, queue: ModelQueue) -> None:
        self.model = model
        self.scorer = PromptScorer(model)
        self.queue = queue
        self.created = int(time.time())

    async def health(self) -> Response:
        """Whether the server is up."""
        return _json({"status": "ok"})

    async def models(self) -> Response:
        """The names this server answers to."""
        data = [model_object(name, self.model.card, self.created) for name in self._names()]
        return _json({"object": "list", "data": data})

    async def one_model(self, model_id: str) -> Response:
        """One of them."""
        self._check_name(model_id)
        return _json(model_object(model_id, self.model.card, self.created))

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = read_request(ChatRequest, await request.body())
        plan = self._plan(asked)
        if asked.stream:
            found = self._pieces(plan, request)
            return await event_stream(chat_chunks(found, plan, self.model.card, asked.include_usage))
        return _json(chat_completion(await self._answers(plan, request), plan, self.model.card))

    async def complete(self, request: Request) -> Response:
        """Continue text; with ``echo`` and ``logprobs``, score it."""
        asked = read_request(CompletionRequest, await request.body())
        plan = self._plan(asked)
        if asked.stream:
            found = self._pieces(plan, request)
            return await event_stream(completion_chunks(found, plan, self.model.card, asked.include_usage))
        return _json(completion(await self._answers(plan, request), plan, self.model.card))

    async def _answers(self, plan: Plan, request: Request) -> list[Answer]:
        return await self.queue.run(partial(answer, self.model, self.scorer, plan), partial(_gone, request))

    def _pieces(self, plan: Plan, request: Request) -> AsyncIterator[Piece]:
        return self.queue.stream(partial(pieces, self.model, self.scorer, plan), partial(_gone, request))

    def _plan(self, asked: ChatRequest | CompletionRequest) -> Plan:
        self._check_name(asked.model)
        plan = plan_of(asked, self.model.card)
        check_request(plan, self.model.card)
        return plan

    def _names(self) -> list[str]:
        return list(dict.fromkeys((self.model.card.name, ALIAS)))

    def _check_name(self, name: str) -> None:
        if name not in self._names():
            served = f"{self.model.card.name!r} (also as {ALIAS!r})"
            message = f"the model {name!r} does not exist; this server has {served}"
            raise ApiError(404, message, param="model", code="model_not_found")


def _add_endpoints(app: FastAPI, endpoints: Endpoints) -> None:
    app.get("/health")(endpoints.health)
    app.get("/v1/models")(endpoints.models)
    app.get("/v1/models/{model_id:path}")(endpoints.one_model)
    app.post("/v1/chat/completions", openapi_extra=_body_of("ChatRequest"))(endpoints.chat)
    app.post("/v1/completions", openapi_extra=_body_of("CompletionRequest"))(endpoints.complete)


def _add_error_handlers(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return _json(error.body(), error.status, error_headers(error))

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = f"{request.method} {request.url.path}"
        known = {404: f"there is no endpoint {what}", 405: f"the endpoint does not take {what}"}
        refusal = ApiError(
            error.status_code, known.get(error.status_code, str(error.detail)), code="unknown_endpoint"
        )
        return _json(refusal.body(), error.status_code, dict(error.headers or {}))

    async def client_gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it; the number is nginx's name for this case

    async def failed(request: Request, error: Exception) -> Response:
        return _json(ApiError(500, "the server failed on this request; its log says why").body(), 500)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(ClientGone, client_gone)
    app.add_exception_handler(Exception, failed)


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(record: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json_bytes(record), status, headers, media_type="application/json")


def _body_of(name: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{name}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document; request bodies are read by hand, so their schemas are put in here."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, schemas = models_json_schema(
        [(ChatRequest, "validation"), (CompletionRequest, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
    return document
