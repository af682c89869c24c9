"""Small servers on the loopback that answer as real ones do, and as they should not."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


class Server:
    """A small server on the loopback; ``answer(path, body)`` returns a status and JSON, text, or an action."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any], str | None]] = []
        self.busy = self.busiest = 0
        self.answer: Callable[[str, dict[str, Any]], Any] = honest
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.respond(self, body)

            def do_GET(self) -> None:
                outer.respond(self, {})

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies that were sent to ``path``."""
        return [body for sent, body, _ in self.requests if sent == path]

    def respond(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        path = handler.path.removeprefix("/v1/")
        self.requests.append((path, body, handler.headers.get("Authorization")))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            self.send(handler, self.answer(path, body))
        finally:
            self.busy -= 1

    def send(self, handler: BaseHTTPRequestHandler, reply: Any) -> None:
        if callable(reply):
            reply(handler)
            return
        status, content = reply
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def tokens_of(text: str) -> list[str]:
    """Words with the space before them."""
    return re.findall(r"\s*\S+", text)


def logprob_of(token: str) -> float:
    return -float(len(token))


def echo(prompt: str, count: int) -> dict[str, Any]:
    tokens = tokens_of(prompt) + [" new"] * count
    offsets = [sum(len(t) for t in tokens[:i]) for i in range(len(tokens))]
    return {
        "text": "".join(tokens),
        "finish_reason": "length",
        "logprobs": {
            "tokens": tokens,
            "token_logprobs": [None] + [logprob_of(t) for t in tokens[1:]],
            "top_logprobs": [None] + [{t: logprob_of(t), "x": -4.5} for t in tokens[1:]],
            "text_offset": offsets,
        },
    }


def honest(path: str, body: dict[str, Any]) -> Reply:
    """What a complete server answers; it has nothing beside the OpenAI API."""
    if path.startswith("/"):
        return 404, {"detail": "Not Found"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    if path == "models":
        return 200, {"data": [{"id": "m", "max_model_len": 4096}]}
    if path == "embeddings":
        data = [{"index": i, "embedding": [float(len(t)), 1.0]} for i, t in enumerate(body["input"])]
        return 200, {"data": data[::-1]}
    if path == "completions" and body.get("echo"):
        return 200, {"choices": [echo(body["prompt"], body["max_tokens"])]}
    if path == "completions":
        return 200, {"choices": [{"text": f" [{body['prompt']}]", "finish_reason": "length"}], "usage": usage}
    content = f"<{body['messages'][-1]['content']}>"
    logprobs = None
    if body.get("logprobs"):
        logprobs = {
            "content": [{"token": content, "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -2}]}]
        }
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop", "logprobs": logprobs}
    return 200, {"choices": [choice], "usage": usage}


def sse(events: list[Any], *, end: bool = True) -> Callable[[Any], None]:
    def write(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for event in events:
            handler.wfile.write(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode())
        if end:
            handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True

    return write


def delta(text: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": reason}]}


def hang(handler: Any) -> None:
    time.sleep(1.2)
    handler.close_connection = True


def drop(handler: Any) -> None:
    handler.connection.close()
    handler.close_connection = True


def half(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def choices(*items: Any) -> dict[str, Any]:
    return {"choices": list(items)}
