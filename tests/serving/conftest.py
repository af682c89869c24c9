"""Servers around a small model, on free loopback ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from serving.word_model import StreamingWordModel, client_of
from steelyard.serving.server import serving


@pytest.fixture
def model() -> StreamingWordModel:
    return StreamingWordModel()


@pytest.fixture
def url(model: StreamingWordModel) -> Iterator[str]:
    with serving(model) as address:
        yield address


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return client_of(url)


@pytest.fixture
def post(url: str) -> Callable[..., httpx.Response]:
    """Send raw JSON records or bytes to an endpoint."""

    def send(path: str, body: Any, **headers: str) -> httpx.Response:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        kind = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return httpx.post(url + path, **content, headers=kind, timeout=20)

    return send
