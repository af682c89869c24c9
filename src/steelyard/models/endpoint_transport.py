"""Requests to an OpenAI-compatible server: limits, retries, remembered answers, and errors in one line."""

from __future__ import annotations

import datetime
import email.utils
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import httpx
import tenacity

from steelyard.errors import EndpointError
from steelyard.models.endpoint_cache import ResponseCache

T = TypeVar("T")

PASSING_STATUS = frozenset({408, 425, 429, 502, 503, 504})
"""The server is there and cannot answer now."""
RETRIED_STATUS = PASSING_STATUS | {409, 500}
LONGEST_WAIT = 30.0
"""Seconds; a server that asks for more (``Retry-After``) is tried again after this long."""
SILENT_RETRIES = 2
"""How often at most a request is repeated that got no answer in time: each try costs the whole time limit."""
LARGEST_ANSWER = 256 * 2**20
"""Bytes; an answer that grows beyond is no answer to anything asked here."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Refused(EndpointError):
    """The server answered with an error status; ``status`` tells which, ``wait`` how long to wait."""

    def __init__(self, message: str, status: int, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait


class Dropped(EndpointError):
    """The connection could not be made or broke before the answer was whole."""


class Silent(EndpointError):
    """Nothing came within the time limit."""


class Unreadable(EndpointError):
    """An answer that is no JSON object, too large, or an error under a status that says success."""


@dataclass(frozen=True)
class Transport:
    """Sends JSON to ``url`` and reads JSON back. The key is read from the environment for each request.

    A path that begins with a slash is the server's own (``/tokenize``), beside the OpenAI API under ``/v1``.
    ``slots`` bounds how many requests are under way at once, whichever calls they belong to; a stream being read
    holds none, because its reader decides how long it lasts.
    """

    url: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 4
    backoff: float = 0.5
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(8), repr=False, compare=False)
    cache: ResponseCache | None = None

    @cached_property
    def client(self) -> httpx.Client:
        """Connections, kept open; system proxies are not asked about servers on this machine."""
        return httpx.Client(
            timeout=httpx.Timeout(self.timeout, connect=min(10.0, self.timeout), pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            trust_env=httpx.URL(self.url).host not in LOOPBACK,
            verify=httpx.URL(self.url).scheme != "http",  # reading certificates for nothing takes a while
        )

    @cached_property
    def address(self) -> str:
        """The URL as it may be shown: without user name, password and query."""
        return str(httpx.URL(self.url).copy_with(username=None, password=None, query=None, fragment=None)).rstrip(
            "/"
        )

    def place(self, path: str) -> str:
        """Where ``path`` is, as it may be shown."""
        return _at(self.address, path)

    def get(self, path: str) -> Any:
        """GET and parse JSON, as :meth:`post` does when probing."""
        return self._retrying(lambda: self._send("GET", path, None), PASSING_STATUS)

    def post(self, path: str, body: Mapping[str, Any], *, probing: bool = False) -> Any:
        """POST and parse JSON; overload, server errors, drops and silence are tried again, later each time.

        ``probing`` takes status 500 for a refusal: so some servers answer what they do not know.

        Raises :class:`EndpointError` in one line: address, what was tried and why it failed.
        """
        return self._retrying(
            lambda: self._send("POST", path, body), PASSING_STATUS if probing else RETRIED_STATUS
        )

    def ask(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """POST and understand the answer with ``read``; what was understood is remembered, errors never are."""
        if self.cache is None:
            return read(self.post(path, body))
        key = self.cache.key(self.address, path, body)
        found = self.cache.get(key)
        if found is not None:
            try:
                return read(found)
            except EndpointError:  # kept by a version that asked less of it
                pass
        answer = self.post(path, body)
        understood = read(answer)
        text = json.dumps(answer)
        if self._without_key(text) == text:
            self.cache.put(key, self.place(path), text)
        return understood

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """POST and yield the JSON of each server-sent event until ``[DONE]``; tried again only until one came."""

        def opened() -> httpx.Response:
            with self.slots:
                return self._open("POST", path, body)

        response = self._retrying(opened, RETRIED_STATUS)
        place = self.place(path)
        try:
            for line in _lines(response, place):
                data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
                if data == b"[DONE]":
                    return
                if data:
                    yield _parse(data, place)
        except httpx.HTTPError as error:
            raise self._broken(place, error) from error
        finally:
            response.close()
        raise EndpointError(f"{place}: the stream ended before it was complete")

    def _retrying(self, call: Callable[[], T], statuses: frozenset[int]) -> T:
        grows = tenacity.wait_exponential(self.backoff, LONGEST_WAIT) + tenacity.wait_random(0, self.backoff)

        def wait(state: tenacity.RetryCallState) -> float:
            error = _failure(state)
            asked = error.wait if isinstance(error, Refused) else None
            return min(LONGEST_WAIT, max(asked or 0.0, grows(state)))

        def stop(state: tenacity.RetryCallState) -> bool:
            allowed = min(self.retries, SILENT_RETRIES) if isinstance(_failure(state), Silent) else self.retries
            return state.attempt_number > allowed

        def passing(error: BaseException) -> bool:
            return isinstance(error, Dropped | Silent) or (isinstance(error, Refused) and error.status in statuses)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(passing), stop=stop, wait=wait, reraise=True
        )
        return retrying(call)

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_env, "")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        place = self.place(path)
        with self.slots:
            response = self._open(method, path, body)
            try:
                return _parse(self._content(response, place), place)
            except httpx.HTTPError as error:
                raise self._broken(place, error) from error
            finally:
                response.close()

    def _open(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        """The response, its body still to be read; an error status is raised."""
        place = self.place(path)
        try:
            request = self.client.build_request(method, _at(self.url, path), json=body, headers=self._headers())
            response = self.client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._broken(place, error) from error
        if response.status_code >= 300:
            try:
                said = self._content(response, place)
            except httpx.HTTPError:
                said = b""
            finally:
                response.close()
            raise self._refused(response, said, place)
        return response

    def _content(self, response: httpx.Response, place: str) -> bytes:
        """The whole body; bounded in bytes and, since each piece alone may be in time, in seconds."""
        begun, content = time.monotonic(), bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > LARGEST_ANSWER:
                raise Unreadable(f"{place}: the answer is larger than {LARGEST_ANSWER:,} bytes")
            if time.monotonic() - begun > self.timeout:
                raise Silent(f"{place}: the answer was not complete within {self.timeout:g} s")
        return bytes(content)

    def _refused(self, response: httpx.Response, content: bytes, place: str) -> Refused:
        status = response.status_code
        said = self._without_key(_said(content))
        hint = f"; set {self.api_key_env} to a valid key" if status in (401, 403) else ""
        wait = _seconds(response.headers.get("retry-after", ""))
        return Refused(f"{place}: status {status}{': ' + said if said else ''}{hint}", status, wait)

    def _broken(self, place: str, error: Exception) -> EndpointError:
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
            return Silent(f"{place}: no answer within {self.timeout:g} s; is the server overloaded?")
        reason = self._without_key(str(error).splitlines()[0] if str(error) else type(error).__name__)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Dropped(f"{place}: cannot connect ({reason}); is the server running?")
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return EndpointError(f"{place}: not a valid address ({reason})")
        return Dropped(f"{place}: the connection broke ({reason})")

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.api_key_env, "")
        return text.replace(key, "***") if key else text


def _at(base: str, path: str) -> str:
    base = base.rstrip("/")
    return base.removesuffix("/v1") + path if path.startswith("/") else f"{base}/{path}"


def _failure(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _seconds(stated: str) -> float | None:
    """``Retry-After`` in seconds, from either of its two forms.

    >>> _seconds("2"), _seconds("Thu, 01 Jan 1970 00:00:00 GMT"), _seconds("soon")
    (2.0, 0.0, None)
    """
    try:
        seconds = float(stated)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(stated)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        seconds = (moment - datetime.datetime.now(datetime.UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _lines(response: httpx.Response, place: str) -> Iterator[bytes]:
    rest = b""
    for piece in response.iter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        if len(rest) > LARGEST_ANSWER:
            raise Unreadable(f"{place}: an event is larger than {LARGEST_ANSWER:,} bytes")
        yield from whole
    if rest:
        yield rest


def _parse(content: bytes, place: str) -> Any:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{place}: the answer is not JSON: {_short(_text(content))!r}") from error
    if not isinstance(answer, dict):
        raise Unreadable(f"{place}: the answer is not a JSON object: {_short(_text(content))!r}")
    if answer.get("error") and "choices" not in answer:
        raise Unreadable(f"{place}: {_short(_message(answer['error']))}")
    return answer


def _said(content: bytes) -> str:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return _short(_text(content))
    if not isinstance(answer, dict):
        return _short(_text(content))
    return _short(_message(answer.get("error") or answer.get("detail") or answer.get("message") or ""))


def _text(content: bytes) -> str:
    return content[:4096].decode("utf-8", "replace")


def _message(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:157] + "..."
