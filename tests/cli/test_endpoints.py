"""An endpoint that fails: one clear line, exit code 1, and what was finished is kept."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from steelyard.cli.main import main
from steelyard.errors import EndpointError
from steelyard.evaluation.recorded import evaluate_recorded
from steelyard.models.loading import load_model
from steelyard.runs.store import RunStore


class Chat:
    """A chat server that answers "four" until told to misbehave: ``500``, ``drop``, ``hang`` or ``junk``."""

    def __init__(self) -> None:
        self.trouble = ""
        self.after = 0
        self.answered = 0
        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1#words"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                real = "Two and two" in json.dumps(body)
                if real and chat.trouble and chat.answered >= chat.after:
                    chat.misbehave(self)
                    return
                chat.answered += real
                message = {"role": "assistant", "content": "four"}
                reply = {"choices": [{"index": 0, "text": "four", "message": message, "finish_reason": "stop"}]}
                self.reply(200, json.dumps({"id": "x", "model": "words", "usage": {}, **reply}))

            def do_GET(self) -> None:
                self.reply(200, '{"object": "list", "data": [{"id": "words", "object": "model"}]}')

            def reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def misbehave(self, handler: Any) -> None:
        if self.trouble == "drop":
            handler.connection.close()
        elif self.trouble == "hang":
            self.released.wait(20)
        elif self.trouble == "junk":
            handler.reply(200, "<html>not what you asked for</html>")
        else:
            handler.reply(500, "out of order")


@pytest.fixture
def chat() -> Iterator[Chat]:
    running = Chat()
    yield running
    running.released.set()
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [{"id": f"q{n}", "prompt": f"Two and two, {n}?", "answers": ["four"]} for n in range(48)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("trouble", ["500", "junk"])
def test_a_failing_endpoint_is_one_line_on_the_command_line(
    chat: Chat,
    task: Path,
    trouble: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chat.trouble = trouble
    monkeypatch.setattr(sys, "argv", ["steelyard", "eval", chat.url, "--task", str(task), "--style", "chat"])
    with pytest.raises(SystemExit) as stop:
        main()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 1
    assert len(lines) == 1
    assert f"127.0.0.1:{chat.server.server_port}" in lines[0]


@pytest.mark.parametrize("trouble", ["500", "drop", "hang", "junk"])
def test_what_was_finished_is_kept_and_the_same_call_goes_on(
    chat: Chat, task: Path, tmp_path: Path, trouble: str
) -> None:
    chat.trouble, chat.after = trouble, 40
    options = {"timeout": 0.5, "retries": 1, "backoff": 0.01}
    with RunStore.open(tmp_path / "runs.db") as store:
        with pytest.raises(EndpointError, match="32 of 48 samples are kept"):
            evaluate_recorded(load_model(chat.url, **options), task, store=store, style="chat")
        assert [run.status for run in store.runs()] == ["failed"]
        chat.trouble = ""
        chat.released.set()
        done = evaluate_recorded(load_model(chat.url, **options), task, store=store, style="chat").evaluation
        assert done.reused == 32
        assert done.summary["accuracy"].value == 1.0


def test_options_of_the_command_line(
    chat: Chat,
    task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that another store knows nothing of is answered from the responses that were kept."""

    def measure(store: str, *more: str) -> None:
        command = ["steelyard", "eval", chat.url, "--task", str(task), "--style", "chat", "--json"]
        kept = ["--cache-responses", str(tmp_path / "kept"), "--timeout", "5", "--store", str(tmp_path / store)]
        monkeypatch.setattr(sys, "argv", [*command, *kept, *more])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        assert json.loads(capsys.readouterr().out)

    measure("one.db")
    assert chat.answered == 48
    measure("two.db")
    assert chat.answered == 48
