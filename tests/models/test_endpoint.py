from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from models.http_server import Reply, Server, choices, delta, drop, echo, half, hang, honest, logprob_of, sse
from steelyard.contracts import Continuation, LanguageModel, Message, Sampling
from steelyard.errors import CapabilityError, EndpointError, UsageError
from steelyard.models.endpoint import EndpointModel

CHAT = [Message("user", "What is the capital of France?")]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def model_for(server: Server, **options: Any) -> EndpointModel:
    settings = {"timeout": 5.0, "backoff": 0.01, "retries": 2} | options
    return EndpointModel(server.url, "m", **settings)


def test_card_says_what_was_found(server: Server) -> None:
    model = model_for(server)
    assert isinstance(model, LanguageModel)
    card = model.card
    assert card.capabilities == {"generate", "chat", "score", "logprobs", "embed"}
    assert (card.verified, card.context_length, card.name) == (False, 4096, "m")
    assert card.fingerprint != EndpointModel(server.url, "other").card.fingerprint
    assert model_for(server).card.fingerprint == card.fingerprint


def test_conversations_and_raw_text(server: Server) -> None:
    model = model_for(server)
    chat, raw = model.generate([CHAT, "Once"], Sampling(max_tokens=7, stop=("\n",), top_k=3, seed=5))
    assert chat.text == "<What is the capital of France?>"
    assert (chat.finish_reason, chat.usage.completion_tokens) == ("stop", 2)
    assert (raw.text, raw.finish_reason) == (" [Once]", "length")
    body = next(b for p, b, _ in server.requests if p == "chat/completions" and b["max_tokens"] == 7)
    assert (body["stop"], body["top_k"], body["seed"], body["temperature"]) == (["\n"], 3, 5, 0.0)
    with_logprobs = model.generate([CHAT], Sampling(logprobs=1))[0]
    assert with_logprobs.token_logprobs == (-0.5,)
    assert with_logprobs.top == ({"a": -2.0},)
    with pytest.raises(UsageError, match="top_p"):
        model.generate([CHAT], Sampling(top_p=2))


def test_scores_begin_at_the_end_of_the_context(server: Server) -> None:
    first, second = model_for(server).score(
        [Continuation("one two", " three four"), Continuation("one ", "abc")], top=1
    )
    assert first.tokens == (" three", " four")
    assert first.logprob == logprob_of(" three") + logprob_of(" four")
    assert (first.utf8_bytes, first.context_tokens, first.greedy) == (11, 2, False)
    assert second.tokens == (" abc",)
    assert second.greedy
    assert second.top == ({" abc": -4.0, "x": -4.5},)


def test_a_server_that_must_write_one_token(server: Server) -> None:
    def picky(path: str, body: dict[str, Any]) -> Reply:
        if body.get("max_tokens") == 0:
            return 400, {"error": {"message": "max_tokens must be at least 1"}}
        return honest(path, body)

    server.answer = picky
    score = model_for(server).score([Continuation("one two", " three")])[0]
    assert score.tokens == (" three",)


def test_what_cannot_be_scored_is_said(server: Server) -> None:
    model = model_for(server)
    with pytest.raises(CapabilityError, match="chat template"):
        model.score([Continuation(CHAT, "x")])
    with pytest.raises(CapabilityError, match="without context"):
        model.score([Continuation("", "x")])
    assert model.score([Continuation("a", "")])[0].logprob == 0.0
    server.answer = lambda path, body: (404, {"detail": "no"}) if path == "completions" else honest(path, body)
    chat_only = model_for(server)
    assert chat_only.card.capabilities == {"generate", "chat", "embed"}
    with pytest.raises(CapabilityError, match="score"):
        chat_only.score([Continuation("a", "b")])
    with pytest.raises(CapabilityError, match="raw text"):
        chat_only.generate(["raw"])


def test_embeddings_are_unit_vectors_in_order(server: Server) -> None:
    found = model_for(server).embed(["a", "bbb"])
    assert found.dtype == np.float32
    expected = np.array([[1.0, 1.0], [3.0, 1.0]]) / np.array([[2**0.5], [10**0.5]])
    assert found == pytest.approx(expected, abs=1e-6)
    server.answer = lambda path, body: (404, "") if path == "embeddings" else honest(path, body)
    with pytest.raises(CapabilityError, match="embed"):
        model_for(server).embed(["a"])


def test_streaming(server: Server) -> None:
    events = [delta("Par"), delta("is"), delta("", "length"), {"choices": [], "usage": {"completion_tokens": 2}}]

    def streaming(path: str, body: dict[str, Any]) -> Any:
        if not body.get("stream"):
            return honest(path, body)
        return (400, {"error": "unknown field"}) if "stream_options" in body else sse(events)

    server.answer = streaming
    parts = list(model_for(server).stream(CHAT))
    assert [p.text for p in parts] == ["Par", "is", ""]
    assert [p.finish_reason for p in parts] == [None, None, "length"]
    assert parts[-1].usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (sse([delta("Par")], end=False), "before it was complete"),
        (sse(["{not json"]), "not JSON"),
        ((500, "oops"), "status 500"),
    ],
)
def test_broken_streams(server: Server, reply: Any, message: str) -> None:
    server.answer = lambda path, body: reply if body.get("stream") else honest(path, body)
    with pytest.raises(EndpointError, match=message):
        list(model_for(server).stream(CHAT))


@pytest.mark.parametrize(
    ("reply", "message", "tries"),
    [
        (hang, "no answer within 0.8 s", 3),
        (drop, "connection broke", 3),
        (half, "connection broke", 3),
        ((500, "internal\nerror"), "status 500: internal error", 3),
        ((503, {"error": {"message": "loading"}}), "status 503: loading", 3),
        ((400, {"error": {"message": "bad"}}), "status 400: bad", 1),
        ((401, {"error": "no key"}), "set STEELYARD_TEST_KEY", 1),
        ((200, "<html>\nhello</html>"), "not JSON", 1),
        ((200, "[1]"), "not a JSON object", 1),
        ((200, {"error": {"message": "model crashed"}}), "model crashed", 1),
        ((200, {}), "no choices instead of one", 1),
        ((200, choices()), "0 choices instead of one", 1),
        ((200, choices({"message": {"content": "a"}}, {"message": {"content": "b"}})), "2 choices", 1),
        ((200, choices({"finish_reason": "stop"})), "without 'content'", 1),
        ((200, choices({"message": {"role": "assistant"}})), "without 'content'", 1),
        ((200, choices({"message": {"content": 7}})), "without 'content'", 1),
    ],
)
def test_bad_servers_give_one_line(
    server: Server, reply: Any, message: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEELYARD_TEST_KEY", "sk-secret-42")
    server.answer = lambda path, body: reply if path == "chat/completions" else honest(path, body)
    model = model_for(server, timeout=0.8, api_key_env="STEELYARD_TEST_KEY")
    with pytest.raises(EndpointError, match=message) as caught:
        model.generate([CHAT])
    line = str(caught.value)
    assert "\n" not in line
    assert server.url in line
    assert "sk-secret" not in line
    assert len(server.asked("chat/completions")) == tries


@pytest.mark.parametrize("failure", [(500, "oops"), (429, "slow down"), drop, hang])
def test_passing_troubles_are_tried_again(server: Server, failure: Any) -> None:
    replies = iter([failure, failure])
    server.answer = lambda path, body: (body and next(replies, None)) or honest(path, body)
    assert model_for(server, timeout=0.8).generate([CHAT])[0].text == "<What is the capital of France?>"
    assert len(server.asked("chat/completions")) == 3


def test_unreachable_server(server: Server) -> None:
    server.close()
    model = model_for(server, retries=1)
    with pytest.raises(EndpointError, match="cannot connect"):
        model.generate([CHAT])
    with pytest.raises(EndpointError, match="cannot connect"):
        _ = model.card


@pytest.mark.parametrize("answer", [(500, "oops"), (404, {"detail": "no such model"})])
def test_card_of_a_server_that_offers_nothing(server: Server, answer: Reply) -> None:
    server.answer = lambda path, body: answer
    with pytest.raises(EndpointError, match=f"status {answer[0]}"):
        _ = model_for(server, retries=0).card


def test_unusable_scores(server: Server) -> None:
    model = model_for(server)
    assert "score" in model.card.capabilities
    good = echo("one two three", 0)
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        for value in (None, good["logprobs"][name][:-1]):
            broken = good | {"logprobs": good["logprobs"] | {name: value}}
            server.answer = lambda path, body, broken=broken: (200, choices(broken))
            with pytest.raises(EndpointError, match="unusable answer"):
                model.score([Continuation("one two", " three")])
    missing = good | {"logprobs": good["logprobs"] | {"token_logprobs": [None, None, None]}}
    server.answer = lambda path, body: (200, choices(missing))
    with pytest.raises(EndpointError, match="no log-probability for ' three'"):
        model.score([Continuation("one two", " three")])


@pytest.mark.parametrize(
    "data",
    [None, [], [{"embedding": [1.0]}], [{"embedding": [1.0]}, {}], [{"embedding": [1]}, {"embedding": [1, 2]}]],
)
def test_unusable_embeddings(server: Server, data: Any) -> None:
    model = model_for(server)
    assert "embed" in model.card.capabilities
    server.answer = lambda path, body: (200, {"data": data})
    with pytest.raises(EndpointError, match="unusable answer"):
        model.embed(["a", "b"])


def test_requests_run_side_by_side_in_order(server: Server) -> None:
    def slow(path: str, body: dict[str, Any]) -> Reply:
        time.sleep(0.05)
        return honest(path, body)

    server.answer = slow
    prompts = [[Message("user", str(i))] for i in range(12)]
    answers = model_for(server, concurrency=4).generate(prompts)
    assert [a.text for a in answers] == [f"<{i}>" for i in range(12)]
    assert 1 < server.busiest <= 4


def test_the_key_comes_from_the_environment_and_is_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEELYARD_TEST_KEY", "sk-secret-42")
    model = model_for(server, api_key_env="STEELYARD_TEST_KEY")
    model.generate([CHAT])
    assert server.requests[-1][2] == "Bearer sk-secret-42"
    assert "sk-secret" not in repr(model.card) + repr(vars(model)) + repr(model.transport)
    server.answer = lambda path, body: (400, {"error": {"message": "bad key sk-secret-42"}})
    with pytest.raises(EndpointError) as caught:
        model.generate([CHAT])
    assert "sk-secret" not in str(caught.value)
    with_password = EndpointModel(server.url.replace("http://", "http://user:pw@"), "m")
    assert "pw" not in with_password.transport.address
