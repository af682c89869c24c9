"""What every request passes before anything reads it: host, token, content type, size and time of the body."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Collection
from typing import Any, TypeAlias

from steelyard.errors import UsageError
from steelyard.serving.protocol import ApiError

Scope: TypeAlias = Any
Receive: TypeAlias = Any
Send: TypeAlias = Any

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_PATHS = frozenset({"/health"})
BODY_SECONDS = 30.0
DRAIN_FACTOR = 8
"""An oversized body is read on, unkept, to this multiple of the limit: a client that is still writing when the
connection closes would see a broken pipe instead of the 413."""


class Guard:
    """ASGI middleware. ``hosts`` are the names a request may address the server by (None: any).

    A page in a browser can make a name of its own resolve to 127.0.0.1 and so reach a loopback server; its
    requests then carry that name in the Host header, which is why the header is checked. Bodies must be
    ``application/json``: a browser sends that to another origin only after a preflight, which is not answered.
    """

    def __init__(
        self, app: Any, *, token: str | None, hosts: Collection[str] | None, max_request_bytes: int
    ) -> None:
        self.app = app
        self.token = token
        self.hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self.max_request_bytes = max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request, read its body, and hand both on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check_host(scope)
            self._check_token(scope)
            self._check_content_type(scope)
            body = await asyncio.wait_for(self._read(scope, receive), BODY_SECONDS)
        except TimeoutError:
            await send_error(ApiError(408, f"the request body took over {BODY_SECONDS:g} seconds"), send)
            return
        except ApiError as error:
            await send_error(error, send)
            return
        if body is None:
            return
        await self.app(scope, _replaying(body, receive), _with_headers(send))

    def _check_host(self, scope: Scope) -> None:
        if self.hosts is None:
            return
        host = _header(scope, b"host")
        if host is None or _host_name(host) not in self.hosts:
            message = "this server answers only to requests addressed to " + ", ".join(sorted(self.hosts))
            raise ApiError(403, message, code="host_not_allowed")

    def _check_token(self, scope: Scope) -> None:
        if self.token is None or scope["path"] in OPEN_PATHS:
            return
        given = _header(scope, b"authorization") or ""
        scheme, _, value = given.partition(" ")
        right = hmac.compare_digest(value.strip().encode("latin-1"), self.token.encode("utf-8"))
        if scheme.lower() != "bearer" or not right:
            raise ApiError(401, "a token is required as 'Authorization: Bearer ...'", code="invalid_api_key")

    def _check_content_type(self, scope: Scope) -> None:
        if scope["method"] != "POST":
            return
        kind = (_header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(400, "send the request body with the header 'Content-Type: application/json'")

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or None when the client left before its end."""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece = message.get("body", b"")
            size += len(piece)
            if size <= self.max_request_bytes:
                pieces.append(piece)
            else:
                pieces.clear()
            if not message.get("more_body") or size > self.max_request_bytes * DRAIN_FACTOR:
                break
        if size > self.max_request_bytes:
            limit = f"{self.max_request_bytes} bytes"
            raise ApiError(
                413, f"the request body is larger than this server's limit of {limit}", code="too_large"
            )
        return b"".join(pieces)


def check_token(token: str | None) -> None:
    """Refuse a token that no client could send."""
    if token is None:
        return
    if not token or not token.isascii() or not token.isprintable() or any(c.isspace() for c in token):
        raise UsageError("the token must be printable ASCII without spaces and not empty; choose another --token")


def json_bytes(value: Any) -> bytes:
    """JSON in ASCII, so that no character can end a line of an event stream; NaN is refused."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


async def send_error(error: ApiError, send: Send) -> None:
    """Send one error as a whole response."""
    body = json_bytes(error.body())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in error_headers(error).items()]
    await _with_headers(send)({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_headers(error: ApiError) -> dict[str, str]:
    """The headers that go with some errors."""
    if error.status == 401:
        return {"www-authenticate": "Bearer"}
    return {"retry-after": "1"} if error.status == 429 else {}


def _header(scope: Scope, name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


def _host_name(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once, then whatever comes next: the client's leaving."""
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_headers(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            extra = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return sending
