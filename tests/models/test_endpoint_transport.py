from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from models.http_server import Server, choices, hang, honest
from steelyard.contracts import Message
from steelyard.errors import EndpointError
from steelyard.models import endpoint_transport
from steelyard.models.endpoint import EndpointModel
from steelyard.models.endpoint_transport import LONGEST_WAIT, SILENT_RETRIES, Transport

CHAT = [Message("user", "hello")]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each pause between two tries would have been; none is made."""
    found: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", found.append)
    return found


def refusing(status: int, **headers: str) -> Any:
    def write(handler: Any) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return write


def transport_of(server: Server, **options: Any) -> Transport:
    return Transport(server.url, **{"timeout": 5.0, "retries": 2, "backoff": 0.01} | options)


def test_waits_grow_and_differ(server: Server, waits: list[float]) -> None:
    server.answer = lambda path, body: (503, "busy")
    with pytest.raises(EndpointError, match="status 503: busy"):
        transport_of(server, retries=5, backoff=1.0).post("x", {})
    assert [1 * 2**n <= wait <= 1 * 2**n + 1 for n, wait in enumerate(waits)] == [True] * 5
    assert len({wait % 1 for wait in waits}) > 1  # jitter


@pytest.mark.parametrize("asked", [12.0, 3600.0])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after(server: Server, waits: list[float], form: str, asked: float) -> None:
    stated = f"{asked:g}" if form == "seconds" else email.utils.formatdate(time.time() + asked, usegmt=True)
    replies = iter([refusing(429, Retry_After=stated)])
    server.answer = lambda path, body: next(replies, None) or (200, {"ok": 1})
    assert transport_of(server).post("x", {}) == {"ok": 1}
    assert waits == [pytest.approx(min(asked, LONGEST_WAIT), abs=2)]


@pytest.mark.parametrize("stated", ["soon", "-5", "nan", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_retry_after_that_says_nothing(server: Server, waits: list[float], stated: str) -> None:
    server.answer = lambda path, body: refusing(503, Retry_After=stated)
    with pytest.raises(EndpointError, match="status 503"):
        transport_of(server, retries=1).post("x", {})
    assert len(waits) == 1
    assert waits[0] < 1


def test_silence_is_tried_again_a_few_times_only(server: Server) -> None:
    server.answer = lambda path, body: hang
    with pytest.raises(EndpointError, match=r"no answer within 0\.1 s"):
        transport_of(server, timeout=0.1, retries=9).post("x", {})
    assert len(server.requests) == SILENT_RETRIES + 1


def test_an_answer_that_trickles(server: Server) -> None:
    def trickle(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    server.answer = lambda path, body: trickle
    with pytest.raises(EndpointError, match=r"was not complete within 2 s"):
        transport_of(server, timeout=2.0, retries=0).post("x", {})


def test_an_answer_without_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_transport, "LARGEST_ANSWER", 10_000)
    server.answer = lambda path, body: (200, "x" * 20_000)
    with pytest.raises(EndpointError, match="larger than 10,000 bytes"):
        transport_of(server).post("x", {})
    with pytest.raises(EndpointError, match="an event is larger than 10,000 bytes"):
        list(transport_of(server).events("x", {}))
    assert len(server.requests) == 2


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 100_000, "\x00", ""])
def test_junk(server: Server, content: str) -> None:
    server.answer = lambda path, body: (200, content)
    with pytest.raises(EndpointError, match="the answer is not JSON"):
        transport_of(server).post("x", {})


def test_one_limit_for_all_calls_of_a_model(server: Server) -> None:
    def slow(path: str, body: dict[str, Any]) -> Any:
        time.sleep(0.02)
        return honest(path, body)

    server.answer = slow
    model = EndpointModel(server.url, "m", concurrency=3, timeout=5)
    prompts = [[Message("user", str(number))] for number in range(6)]
    calls = [threading.Thread(target=model.generate, args=(prompts,)) for _ in range(4)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert 1 < server.busiest <= 3
    assert len(server.asked("chat/completions")) == 24


def test_a_probe_takes_500_for_no(server: Server) -> None:
    def partly(path: str, body: dict[str, Any]) -> Any:
        return (500, "what?") if body.get("echo") or path == "embeddings" else honest(path, body)

    server.answer = partly
    model = EndpointModel(server.url, "m", timeout=5, backoff=0.01)
    assert model.card.capabilities == {"generate", "chat"}
    assert len(server.asked("embeddings")) == 1


def test_a_probe_does_not_take_overload_for_no(server: Server, waits: list[float]) -> None:
    server.answer = lambda path, body: (503, "busy") if path == "embeddings" else honest(path, body)
    with pytest.raises(EndpointError, match="embeddings: status 503: busy"):
        _ = EndpointModel(server.url, "m", timeout=5).card


def test_addresses_beside_the_api(server: Server) -> None:
    server.answer = lambda path, body: (200, choices()) if path == "/own" else (404, "")
    transport = transport_of(server)
    assert transport.post("/own", {}) == choices()
    assert transport.place("/own") == server.url.removesuffix("/v1") + "/own"
