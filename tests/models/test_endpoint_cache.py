from __future__ import annotations

import json
import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.http_server import Server, choices, honest
from steelyard.contracts import Continuation, Message, Sampling
from steelyard.errors import EndpointError, InputError
from steelyard.models.endpoint import EndpointModel
from steelyard.models.endpoint_cache import ResponseCache

CHAT = [Message("user", "hello")]


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def model_of(server: Server, folder: Path, **options: Any) -> EndpointModel:
    settings = {"timeout": 5.0, "backoff": 0.01, "retries": 0, "response_cache": folder} | options
    return EndpointModel(server.url, "m", **settings)


def test_what_was_answered_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    def everything(model: EndpointModel) -> tuple[Any, ...]:
        scores = model.score([Continuation("one two", " three")])
        sampled = model.generate([CHAT, "raw"], Sampling(temperature=0.7, seed=5))
        return scores, sampled, model.embed(["a", "bb"]).tolist()

    first = everything(model_of(server, tmp_path))
    asked = len(server.requests)
    model = model_of(server, tmp_path)
    _ = model.card  # probing is never answered from the cache
    probes = len(server.requests)
    assert everything(model) == first
    assert len(server.requests) == probes > asked
    model.generate([CHAT], Sampling(temperature=0.7, seed=6))
    assert len(server.requests) == probes + 1
    other = EndpointModel(server.url, "other", response_cache=tmp_path)
    other.generate([CHAT], Sampling(temperature=0.7, seed=5))
    assert other.model in [body.get("model") for body in server.asked("chat/completions")]


def test_a_batch_that_broke_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    prompts = [[Message("user", str(number))] for number in range(6)]

    def until_four(path: str, body: dict[str, Any]) -> Any:
        late = path == "chat/completions" and body["messages"][0]["content"] in "45"
        return (400, "no") if late else honest(path, body)

    server.answer = until_four
    with pytest.raises(EndpointError, match="status 400"):
        model_of(server, tmp_path, concurrency=1).generate(prompts)
    server.answer = honest
    before = len(server.asked("chat/completions"))
    answers = model_of(server, tmp_path, concurrency=1).generate(prompts)
    assert [answer.text for answer in answers] == [f"<{number}>" for number in range(6)]
    assert len(server.asked("chat/completions")) == before + 2


@pytest.mark.parametrize("reply", [(500, "oops"), (200, "<html>"), (200, {}), (200, choices({"message": {}}))])
def test_errors_and_unusable_answers_are_never_kept(server: Server, tmp_path: Path, reply: Any) -> None:
    server.answer = lambda path, body: reply if path == "chat/completions" else honest(path, body)
    with pytest.raises(EndpointError):
        model_of(server, tmp_path).generate([CHAT])
    server.answer = honest
    assert model_of(server, tmp_path).generate([CHAT])[0].text == "<hello>"


def test_neither_prompts_nor_keys_are_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-42")
    secret = [Message("user", "sk-secret-42")]  # the server will answer with it
    url = server.url.replace("http://", "http://user:pw-secret@")
    model = EndpointModel(url, "m", response_cache=tmp_path)
    assert model.generate([secret, CHAT])[0].text == "<sk-secret-42>"
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"hello" in written
    assert b"secret" not in written


@pytest.mark.parametrize("content", [b"not a database at all, whatever it says" * 40, None])
def test_a_file_that_is_no_cache_is_an_error_in_one_line(
    server: Server, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "responses.sqlite"
    if content is None:
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE runs (id)")
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"responses.sqlite: cannot be used as a cache .* delete it") as caught:
        model_of(server, tmp_path).generate([CHAT])
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another folder"):
        model_of(server, tmp_path / "file").generate([CHAT])


def _write(folder: str, process: int) -> None:
    cache = ResponseCache(folder)
    for number in range(40):
        cache.put(f"{process}-{number}", "here", json.dumps({"n": number}))


def test_several_processes_share_one_file(tmp_path: Path) -> None:
    writers = [
        multiprocessing.get_context("fork").Process(target=_write, args=(str(tmp_path), n)) for n in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    cache = ResponseCache(tmp_path)
    assert all(cache.get(f"{process}-{n}") == {"n": n} for process in range(3) for n in range(40))
    assert cache.get("nothing") is None
