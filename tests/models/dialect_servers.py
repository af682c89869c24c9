"""What vLLM, llama.cpp and TGI answer, in their documented formats, around one toy tokenizer and model.

The tokenizer knows a few pieces and takes the longest first, so that borders can fall inside a token. A token's
log-probability depends on the token before it, and the distribution over all pieces sums to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

BOS = 0
PIECES = ["<s>", "a", "b", "c", "ab", " a", " b", " ab", " abc", " ", "\n", "<u>", "</u>", "é"]
USAGE = {"prompt_tokens": 3, "completion_tokens": 1}


def encode(text: str) -> list[int]:
    ids = []
    while text:
        piece = max((piece for piece in PIECES if text.startswith(piece)), key=len)
        ids.append(PIECES.index(piece))
        text = text[len(piece) :]
    return ids


def distribution(before: int) -> list[float]:
    """Log-probabilities of every token after ``before``."""
    logits = [math.sin(1 + 7 * before + 3 * token) * 3 for token in range(len(PIECES))]
    total = math.log(sum(math.exp(value) for value in logits))
    return [value - total for value in logits]


def logprobs(ids: Sequence[int], start: int) -> list[float]:
    """Log-probability of each token from place ``start`` on."""
    return [distribution(ids[i - 1])[ids[i]] for i in range(start, len(ids))]


def ranked(before: int) -> list[int]:
    values = distribution(before)
    return sorted(range(len(PIECES)), key=lambda token: -values[token])


def rendered(messages: Any) -> str:
    return "".join(f"<u>{message['content']}</u>" for message in messages)


def vllm(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    if path == "models":
        return 200, {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 99}]}
    if path == "/tokenize":
        if "messages" in body:
            ids = encode(rendered(body["messages"]))
        else:
            ids = [BOS] * body["add_special_tokens"] + encode(body["prompt"])
        return 200, {"count": len(ids), "max_model_len": 99, "tokens": ids}
    if path == "/detokenize":
        return 200, {"prompt": "".join(PIECES[token] for token in body["tokens"])}
    if path == "completions" and "prompt_logprobs" in body:
        ids = body["prompt"]
        entries: list[Any] = [None]
        for place in range(1, len(ids)):
            order, values = ranked(ids[place - 1]), distribution(ids[place - 1])
            shown = dict.fromkeys([ids[place], *order[: body["prompt_logprobs"]]])
            entries.append(
                {
                    str(t): {"logprob": values[t], "rank": order.index(t) + 1, "decoded_token": PIECES[t]}
                    for t in shown
                }
            )
        choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": entries}
        return 200, {"choices": [choice], "usage": USAGE}
    return openai(path, body)


def llama_cpp(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    if path == "models":
        return 200, {"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}}]}
    if path == "/props":
        return 200, {"default_generation_settings": {"n_ctx": 77}, "build_info": "b1"}
    if path == "/tokenize":
        ids = [BOS] * body["add_special"] + encode(body["content"])
        pieces = [{"id": t, "piece": [195, 169] if PIECES[t] == "é" else PIECES[t]} for t in ids]
        return 200, {"tokens": pieces}
    if path == "/apply-template":
        return 200, {"prompt": rendered(body["messages"])}
    if path == "/completion":
        before = body["prompt"][-1]
        values = distribution(before)
        biased = list(values)
        for token, bias in body["logit_bias"]:
            biased[token] += bias
        token = max(range(len(PIECES)), key=lambda t: biased[t])
        top = [
            {"id": t, "token": PIECES[t], "bytes": [], "logprob": values[t]}
            for t in ranked(before)[: body["n_probs"]]
        ]
        item = {"id": token, "token": PIECES[token], "bytes": [], "logprob": values[token], "top_logprobs": top}
        return 200, {"content": PIECES[token], "completion_probabilities": [item], "stop_type": "limit"}
    if path == "completions" and body.get("echo"):
        return 500, {"error": {"code": 500, "message": "Only no echo is supported", "type": "server_error"}}
    return openai(path, body)


def tgi(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    if path == "models":
        return 200, {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "m"}]}
    if path == "/info":
        return 200, {"model_id": "m", "max_total_tokens": 55, "max_input_tokens": 54, "router": "x"}
    if path == "/generate":
        ids = [BOS, *encode(body["inputs"])]
        prefill = [
            {"id": t, "text": PIECES[t].strip(), "logprob": distribution(ids[i - 1])[t] if i else None}
            for i, t in enumerate(ids)
        ]
        made: list[int] = []
        for _ in range(body["parameters"]["max_new_tokens"]):
            made.append(ranked([*ids, *made][-1])[0])
        tokens = [{"id": t, "text": PIECES[t], "logprob": -1.0, "special": False} for t in made]
        return 200, {"generated_text": "x", "details": {"prefill": prefill, "tokens": tokens}}
    if path == "completions" and body.get("echo"):  # TGI leaves the field aside
        return openai(path, body | {"echo": False})
    return openai(path, body)


def openai(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Raw text is continued with "a", conversations are answered "ab"."""
    if path == "completions":
        return 200, {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": USAGE}
    if path == "chat/completions":
        message = {"role": "assistant", "content": "ab"}
        return 200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE}
    return 404, {"detail": "Not Found"}
