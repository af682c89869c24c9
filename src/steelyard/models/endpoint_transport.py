"""Requests to an OpenAI-compatible server: time limits, retries, and one-line errors naming the address."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import tenacity

from steelyard.errors import EndpointError

RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 30.0
"""Seconds; a server that asks for more is waited for this long."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Refused(EndpointError):
    """The server answered with an error status; ``status`` tells which."""

    def __init__(self, message: str, status: int, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait


class Dropped(EndpointError):
    """The connection could not be made or broke before the answer was whole."""


@dataclass(frozen=True)
class Transport:
    """Sends JSON to ``url`` and reads JSON back. The key is read from the environment for each request."""

    url: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 4
    backoff: float = 0.5
    concurrency: int = 8

    @cached_property
    def client(self) -> httpx.Client:
        """Connections, kept open; system proxies are not asked about servers on this machine."""
        return httpx.Client(
            timeout=httpx.Timeout(self.timeout, connect=min(10.0, self.timeout)),
            limits=httpx.Limits(max_connections=self.concurrency),
            trust_env=httpx.URL(self.url).host not in LOOPBACK,
        )

    @cached_property
    def address(self) -> str:
        """The URL as it may be shown: without user name, password and query."""
        return str(httpx.URL(self.url).copy_with(username=None, password=None, query=None, fragment=None)).rstrip(
            "/"
        )

    def get(self, path: str) -> Any:
        """GET and parse JSON."""
        return self._retrying(lambda: self._send("GET", path, None))

    def post(self, path: str, body: Mapping[str, Any], *, retry: bool = True) -> Any:
        """POST and parse JSON; with ``retry`` overload, server errors and drops are tried again, later each time.

        Raises :class:`EndpointError` in one line: address, what was tried and why it failed.
        """
        if not retry:
            return self._send("POST", path, body)
        return self._retrying(lambda: self._send("POST", path, body))

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """POST and yield the JSON of each server-sent event until ``[DONE]``; tried again only until one came."""
        response = self._retrying(lambda: self._open(path, body))
        place = f"{self.address}/{path}"
        try:
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if data == "[DONE]":
                    return
                if data:
                    yield _parse(data, place)
        except httpx.HTTPError as error:
            raise self._broken(place, error) from error
        finally:
            response.close()
        raise EndpointError(f"{place}: the stream ended before it was complete")

    def _retrying(self, call: Any) -> Any:
        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait if isinstance(error, Refused) else None
            return min(
                LONGEST_WAIT, asked if asked is not None else self.backoff * 2 ** (state.attempt_number - 1)
            )

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_worth_another_try),
            stop=tenacity.stop_after_attempt(self.retries + 1),
            wait=wait,
            reraise=True,
        )
        return retrying(call)

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_env, "")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        place = f"{self.address}/{path}"
        try:
            response = self.client.request(method, f"{self._base()}/{path}", json=body, headers=self._headers())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._broken(place, error) from error
        self._check(response, place)
        return _parse(response.text, place)

    def _open(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        place = f"{self.address}/{path}"
        request = self.client.build_request("POST", f"{self._base()}/{path}", json=body, headers=self._headers())
        try:
            response = self.client.send(request, stream=True)
            if response.status_code >= 400:
                response.read()
        except httpx.HTTPError as error:
            raise self._broken(place, error) from error
        self._check(response, place)
        return response

    def _base(self) -> str:
        return self.url.rstrip("/")

    def _check(self, response: httpx.Response, place: str) -> None:
        status = response.status_code
        if status < 300:
            return
        wait = response.headers.get("retry-after", "")
        seconds = float(wait) if wait.replace(".", "", 1).isdigit() else None
        said = self._without_key(_said(response.text))
        hint = f"; set {self.api_key_env} to a valid key" if status in (401, 403) else ""
        raise Refused(f"{place}: status {status}{': ' + said if said else ''}{hint}", status, seconds)

    def _broken(self, place: str, error: Exception) -> EndpointError:
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
            return EndpointError(f"{place}: no answer within {self.timeout:g} s; is the server overloaded?")
        reason = self._without_key(str(error).splitlines()[0] if str(error) else type(error).__name__)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Dropped(f"{place}: cannot connect ({reason}); is the server running?")
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return EndpointError(f"{place}: not a valid address ({reason})")
        return Dropped(f"{place}: the connection broke ({reason})")

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.api_key_env, "")
        return text.replace(key, "***") if key else text


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, Dropped) or (isinstance(error, Refused) and error.status in RETRIED_STATUS)


def _parse(text: str, place: str) -> Any:
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise EndpointError(f"{place}: the answer is not JSON: {_short(text)!r}") from error
    if not isinstance(answer, dict):
        raise EndpointError(f"{place}: the answer is not a JSON object: {_short(text)!r}")
    if answer.get("error") and "choices" not in answer:
        raise EndpointError(f"{place}: {_short(_message(answer['error']))}")
    return answer


def _said(text: str) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        return _short(text)
    if not isinstance(answer, dict):
        return _short(text)
    return _short(_message(answer.get("error") or answer.get("detail") or answer.get("message") or ""))


def _message(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:157] + "..."
