"""Reading requests: what is obeyed, what is refused and under which name."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.serving.protocol import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    read_json,
    read_request,
)

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION = {"model": "m", "prompt": "hi"}
WEATHER = [{"type": "function", "function": {"name": "weather"}}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


def refusal(kind: Any, body: Any) -> ApiError:
    """The error that ``body`` is refused with."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        read_request(kind, raw)
    return caught.value


@pytest.mark.parametrize(
    ("change", "param", "part"),
    [
        ({"tools": WEATHER}, "tools", "not supported"),
        ({"functions": [{"name": "f"}]}, "functions", "not supported"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "goes with the type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 7}}}},
            "response_format.json_schema.schema",
            "not a JSON schema",
        ),
        ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"choice": ["a"], "regex": "b"}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex", "not a regular expression"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "at least 1"),
        ({"structured_outputs": {"grammar": "root ::= x"}}, "structured_outputs.grammar", "not permitted"),
        (
            {"structured_outputs": {"choice": ["a"]}, "response_format": {"type": "text"}},
            "structured_outputs",
            "response_format",
        ),
        ({"min_p": 1.5}, "min_p", "less than or equal to 1"),
        ({"repetition_penalty": 0}, "repetition_penalty", "greater than 0"),
        ({"audio": {"voice": "x"}}, "audio", "not supported"),
        ({"logit_bias": {"50256": -100}}, "logit_bias", "not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "not supported"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "not supported"),
        ({"temprature": 0.2}, "temprature", "did you mean 'temperature'?"),
        ({"max_token": 3}, "max_token", "did you mean 'max_tokens'?"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"temperature": True}, "temperature", "valid number"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 2.5}, "max_tokens", "integer"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "max_completion_tokens"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 1000}, "n", "less than or equal to"),
        ({"seed": 2**63}, "seed", "less than"),
        ({"stop": [""]}, "stop[0]", "at least 1"),
        ({"stop": [7]}, "stop[0]", "valid string"),
        ({"stream": "yes"}, "stream", "valid boolean"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream=true"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "unknown parameter"),
        ({"top_logprobs": 3}, "top_logprobs", "logprobs=true"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "hi"}, "messages", "valid list"),
        ({"messages": ["hi"]}, "messages[0]", "dictionary"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "'assistant'"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages[0].content", "'image_url'"),
        ({"messages": [{"role": "user", "content": "x", "name": "Al"}]}, "messages[0].name", "not supported"),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "messages[0].tool_calls",
            "not supported",
        ),
    ],
)
def test_refused_in_chat(change: dict[str, Any], param: str, part: str) -> None:
    error = refusal(ChatRequest, CHAT | change)
    assert (error.status, error.param) == (400, param)
    assert part in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("change", "param", "part"),
    [
        ({"prompt": None}, "prompt", "required"),
        ({"prompt": [1, 2, 3]}, "prompt", "tokenized_requests=False"),
        ({"prompt": [[1, 2], [3]]}, "prompt", "tokenized_requests=False"),
        ({"prompt": []}, "prompt", "at least 1"),
        ({"prompt": {"text": "x"}}, "prompt[0]", "valid string"),
        ({"best_of": 3}, "best_of", "not supported"),
        ({"suffix": "end"}, "suffix", "not supported"),
        ({"max_tokens": 0}, "max_tokens", "echo=true"),
        ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ({"logprobs": True}, "logprobs", "valid integer"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
        ({"prompt": ["a"] * 100, "n": 100}, "n", "2048"),
        ({"messages": []}, "messages", "unknown parameter"),
    ],
)
def test_refused_in_completions(change: dict[str, Any], param: str, part: str) -> None:
    error = refusal(CompletionRequest, COMPLETION | change)
    assert (error.status, error.param) == (400, param)
    assert part in error.message


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b"[1]", "must be a JSON object"),
        (b'{"temperature": NaN}', "NaN is not a JSON number"),
        (b'{"temperature": -Infinity}', "-Infinity is not a JSON number"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_bodies_that_are_no_request(body: bytes, part: str) -> None:
    error = refusal(ChatRequest, body)
    assert (error.status, error.code) == (400, "invalid_json")
    assert part in error.message


def test_numbers_too_large_for_a_float_are_refused() -> None:
    body = json.dumps(CHAT).encode()[:-1] + b', "temperature": 1e999}'
    assert refusal(ChatRequest, body).param == "temperature"


def test_half_a_surrogate_pair_is_refused() -> None:
    body = b'{"model": "m", "prompt": "\\ud800"}'
    assert "not valid Unicode" in refusal(CompletionRequest, body).message


def test_what_asks_for_nothing_is_let_through() -> None:
    request = read_request(
        ChatRequest,
        json.dumps(
            CHAT
            | {
                "tools": None,
                "tool_choice": "none",
                "logit_bias": {},
                "frequency_penalty": 0.0,
                "user": "u",
                "service_tier": "auto",
                "stop": None,
                "temperature": None,
            }
        ).encode(),
    )
    assert (request.temperature, request.stop) == (0.0, [])


def test_completions_read_one_prompt_or_several() -> None:
    one = read_request(CompletionRequest, json.dumps(COMPLETION | {"stop": "x"}).encode())
    assert (one.prompt, one.stop, one.max_tokens) == (["hi"], ["x"], 16)
    two = read_request(CompletionRequest, json.dumps(COMPLETION | {"prompt": ["a", ""]}).encode())
    assert two.prompt == ["a", ""]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*ChatRequest.model_fields, *CompletionRequest.model_fields, "tools", "x"])


patiently = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def outcome(read: Callable[[], Any]) -> Any:
    """What ``read`` gives, or the refusal it raises; any other error is the test's failure."""
    try:
        return read()
    except ApiError as error:
        return error


@patiently
@given(st.dictionaries(names, json_values))
def test_any_object_is_read_or_refused_by_name(record: dict[str, Any]) -> None:
    for kind in (ChatRequest, CompletionRequest):
        read = outcome(partial(read_request, kind, json.dumps(record).encode()))
        if isinstance(read, ApiError):
            assert read.status == 400
            assert read.param
            assert set(read.body()["error"]) == {"message", "type", "param", "code"}
        else:
            assert isinstance(read, kind)


@patiently
@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    read = outcome(partial(read_json, body))
    assert isinstance(read, dict) or read.code == "invalid_json"
