"""What the server refuses, and how it queues: tokens, hosts, sizes, parallel requests, time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from serving.word_model import (
    StreamingWordModel,
    WordModel,
    client_of,
    conversation,
    last_user_words,
)
from steelyard.errors import EndpointError, InputError, UsageError
from steelyard.serving.app import create_app
from steelyard.serving.server import serving

ASK = {"model": "words", "prompt": "x", "max_tokens": 2}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error object of a response."""
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-x", messages=conversation("x"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "'words'" in caught.value.message


def test_a_bad_parameter_reaches_the_client_with_its_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="words", messages=conversation("x"), temperature=9)
    assert caught.value.param == "temperature"
    assert caught.value.type == "invalid_request_error"


def test_unknown_paths_and_methods_answer_in_the_same_shape(url: str, post: Any) -> None:
    assert error_of(post("/embeddings", {}))["message"] == "there is no endpoint POST /v1/embeddings"
    answer = httpx.get(url + "/completions")
    assert answer.status_code == 405
    assert "GET" in error_of(answer)["message"]


@pytest.fixture
def guarded() -> Iterator[str]:
    with serving(WordModel(), token="right-token") as url:
        yield url


def test_a_token_is_demanded_everywhere_but_for_health(guarded: str) -> None:
    for path in ("/v1/models", "/openapi.json", "/v1/nothing"):
        answer = httpx.get(guarded.removesuffix("/v1") + path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert error_of(answer)["code"] == "invalid_api_key"
    assert httpx.get(guarded.removesuffix("/v1") + "/health").status_code == 200
    assert client_of(guarded, "right-token").models.list().data[0].id == "words"


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer right-token2", "Basic right-token", "right-token", "é"]
)
def test_wrong_tokens(guarded: str, header: str) -> None:
    headers = {"authorization": header.encode("utf-8")}
    assert httpx.get(guarded + "/models", headers=headers).status_code == 401  # type: ignore[arg-type]


def test_the_official_client_says_what_is_wrong_with_the_token(guarded: str) -> None:
    with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer"):
        client_of(guarded, "wrong").models.list()


@pytest.mark.parametrize("token", ["", "two words", "naïve", "line\nend"])
def test_tokens_that_no_client_could_send(token: str) -> None:
    with pytest.raises(UsageError, match="--token"):
        create_app(WordModel(), token=token)


@pytest.mark.parametrize(("host", "status"), [("evil.example", 403), ("localhost", 200), ("[::1]:80", 200)])
def test_the_host_header_must_name_this_machine(url: str, host: str, status: int) -> None:
    assert httpx.get(url + "/models", headers={"host": host}).status_code == status


def test_other_pages_cannot_post_without_a_preflight(url: str) -> None:
    body = b'{"model": "words", "prompt": "x"}'
    answer = httpx.post(url + "/completions", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "application/json" in error_of(answer)["message"]
    answer = httpx.options(url + "/completions", headers={"origin": "http://evil.example"})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def in_pieces(size: int) -> Iterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(0, size, 1000):
        yield b" " * 1000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(chunked: bool) -> None:
    with serving(WordModel(), max_request_bytes=20_000) as url:
        content = in_pieces(60_000) if chunked else b" " * 60_000
        kind = {"content-type": "application/json"}
        answer = httpx.post(url + "/completions", content=content, headers=kind)
        assert answer.status_code == 413
        assert "20000 bytes" in error_of(answer)["message"]
        # One that just fits is read.
        body = b'{"model": "words", "prompt": "x"}'.ljust(20_000)
        assert httpx.post(url + "/completions", content=body, headers=kind).status_code == 200


def test_eight_at_once_are_all_answered_one_after_the_other() -> None:
    model = WordModel(last_user_words)
    model.delay = 0.01
    with serving(model) as url, ThreadPoolExecutor(8) as pool:
        client = client_of(url)

        def ask(number: int) -> str | None:
            answer = client.chat.completions.create(model="words", messages=conversation(f"no {number}"))
            return answer.choices[0].message.content

        assert list(pool.map(ask, range(8))) == [f"you said no {number}" for number in range(8)]
    assert model.most_running == 1


def test_a_model_that_takes_several_calls_gets_them_at_once() -> None:
    model = WordModel()
    model.delay = 0.2
    with serving(model, max_concurrent=4) as url, ThreadPoolExecutor(4) as pool:
        client = client_of(url)
        list(pool.map(lambda _: client.completions.create(**ASK), range(4)))  # type: ignore[call-overload]
    assert model.most_running > 1


def status_of(call: Callable[[], Any]) -> int:
    """200, or the status a refusal came with."""
    try:
        call()
    except openai.APIStatusError as error:
        return error.status_code
    return 200


def test_beyond_the_waiting_room_requests_are_refused_and_the_rest_answered() -> None:
    model = WordModel()
    model.hold.clear()
    with serving(model, max_waiting=2) as url, ThreadPoolExecutor(8) as pool:
        client = client_of(url)
        statuses: list[int] = []
        refused = threading.Event()

        def ask(number: int) -> None:
            body: Any = ASK | {"stream": number % 2 == 0}
            statuses.append(status_of(lambda: client.completions.create(**body)))
            if statuses.count(429) == 5:
                refused.set()

        futures = [pool.submit(ask, number) for number in range(8)]
        assert refused.wait(10)
        answer = httpx.post(url + "/completions", json=ASK)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert error_of(answer)["code"] == "queue_full"
        model.hold.set()
        for future in futures:
            future.result(10)
        assert sorted(statuses) == [200] * 3 + [429] * 5
        # And the places are free again.
        assert status_of(lambda: client.completions.create(**ASK)) == 200  # type: ignore[call-overload]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_given_up_after_the_time_limit(stream: bool) -> None:
    model = StreamingWordModel("word " * 60)
    model.delay = 0.05
    with serving(model, timeout=0.3) as url:
        body: Any = {"model": "words", "prompt": "x", "max_tokens": 60, "stream": stream}
        if stream:
            with pytest.raises(openai.APIError, match=r"no answer within 0\.3 seconds"):
                list(client_of(url).completions.create(**body))
        else:
            answer = httpx.post(url + "/completions", json=body)
            assert (answer.status_code, error_of(answer)["code"]) == (503, "timeout")
        # The model was told to stop, so the next one is answered.
        model.delay = 0.0
        assert httpx.post(url + "/completions", json=ASK).status_code == 200
    assert model.stopped_after is not None
    assert model.stopped_after < 60


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (InputError("the prompt is longer than the model's 64 tokens"), 400, True),
        (EndpointError("http://10.0.0.7/v1 refused the key"), 502, False),
        (RuntimeError("at /home/someone/model.py"), 500, False),
        (MemoryError("out of memory at 0x0"), 500, False),
    ],
)
def test_failures_of_the_model(
    url: str, model: WordModel, error: Exception, status: int, shown: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(prompt: Any, sampling: Any) -> str:
        raise error

    model.answer = fail
    with caplog.at_level(logging.ERROR, logger="steelyard.serving"):
        answer = httpx.post(url + "/completions", json=ASK)
    assert answer.status_code == status
    assert (str(error) in answer.text) is shown
    assert (str(error) in caplog.text) is not shown


def test_the_token_is_not_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    model = WordModel(lambda prompt, sampling: str(1 / 0))
    with caplog.at_level(logging.DEBUG), serving(model, token="a-secret-token") as url:
        httpx.post(url + "/completions", json=ASK, headers={"authorization": "Bearer a-secret-token"})
        httpx.post(url + "/completions", json=ASK, headers={"authorization": "Bearer not-a-secret-token"})
    out, err = capfd.readouterr()
    server_log = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("steelyard", "uvicorn")))
    assert "ZeroDivisionError" in caplog.text + err
    assert "secret-token" not in server_log + out + err


@pytest.mark.parametrize(
    "limits",
    [
        {"max_request_bytes": 0},
        {"max_concurrent": 0},
        {"max_waiting": -1},
        {"timeout": 0},
        {"timeout": float("nan")},
    ],
)
def test_limits_that_cannot_work(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(limits))):
        create_app(WordModel(), **limits)
