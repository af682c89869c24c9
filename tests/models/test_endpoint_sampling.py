from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.dialect_servers import llama_cpp, openai, tgi, vllm
from models.http_server import Server, honest
from steelyard.contracts import Grammar, Message, Sampling
from steelyard.errors import CapabilityError, EndpointError, UsageError
from steelyard.models.endpoint import EndpointModel
from steelyard.models.endpoint_grammar import departure

CHAT = (Message("user", "a"),)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
NAMED = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
CHOICES, REGEX = Grammar(choices=("ab", "a")), Grammar(regex="a|ab")
JSON = Grammar(json_schema=json.dumps(SCHEMA))


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def owned_by(owner: str) -> Callable[[str, dict[str, Any]], Any]:
    def answer(path: str, body: dict[str, Any]) -> Any:
        return (200, {"data": [{"id": "m", "owned_by": owner}]}) if path == "models" else openai(path, body)

    return answer


def sent(server: Server, answer: Any, prompt: Any, sampling: Sampling) -> dict[str, Any]:
    """What a server of one kind is sent, without what all are sent."""
    server.answer = answer
    model = EndpointModel(server.url, "m", retries=0, timeout=5)
    path = "completions" if isinstance(prompt, str) else "chat/completions"
    if isinstance(prompt, str):
        _ = model.offer
    before = len(server.asked(path))
    model.generate([prompt], sampling)
    (body,) = server.asked(path)[before:]
    return {k: v for k, v in body.items() if k not in ("model", "prompt", "messages", "max_tokens", "temperature")}


def test_defaults_of_a_servers_own_are_overruled(server: Server) -> None:
    plain = Sampling()
    common = {"seed": 0, "top_p": 1.0}
    neutral = {"min_p": 0.0, "repetition_penalty": 1.0}
    assert sent(server, vllm, CHAT, plain) == common | neutral | {"top_k": -1}
    assert sent(server, owned_by("sglang"), CHAT, plain) == common | neutral | {"top_k": -1}
    llama = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repeat_last_n": -1}
    assert sent(server, llama_cpp, CHAT, plain) == common | llama
    assert sent(server, tgi, CHAT, plain) == {"seed": 0}  # it refuses a top_p of 1
    assert sent(server, honest, CHAT, plain) == common


def test_settings_that_are_not_openais(server: Server) -> None:
    sampling = Sampling(top_k=3, min_p=0.2, repetition_penalty=1.5, seed=2**32 - 1)
    wanted = {"top_k": 3, "min_p": 0.2, "repetition_penalty": 1.5}
    for answer in (vllm, honest):
        assert wanted.items() <= sent(server, answer, "a", sampling).items()
    body = sent(server, llama_cpp, "a", sampling)
    assert (body["repeat_penalty"], body["min_p"], body["seed"]) == (1.5, 0.2, 0)
    for answer, setting in ((tgi, "top_k"), (owned_by("library"), "top_k")):
        with pytest.raises(CapabilityError, match=f"cannot sample with {setting}: its server"):
            sent(server, answer, CHAT, sampling)


@pytest.mark.parametrize(
    ("answer", "prompt", "grammar", "fields"),
    [
        (vllm, CHAT, CHOICES, {"structured_outputs": {"choice": ["ab", "a"]}}),
        (vllm, "a", REGEX, {"structured_outputs": {"regex": "a|ab"}}),
        (llama_cpp, CHAT, CHOICES, {"grammar": 'root ::= "ab" | "a"'}),
        (tgi, CHAT, CHOICES, {"response_format": {"type": "regex", "value": "(ab)|(a)"}}),
        (owned_by("sglang"), CHAT, CHOICES, {"regex": "(ab)|(a)"}),
        (honest, CHAT, Grammar(choices=("<a>",)), {"structured_outputs": {"choice": ["<a>"]}}),
    ],
)
def test_each_server_is_asked_for_a_grammar_in_its_own_words(
    server: Server, answer: Any, prompt: Any, grammar: Grammar, fields: dict[str, Any]
) -> None:
    assert fields.items() <= sent(server, answer, prompt, Sampling(grammar=grammar)).items()


@pytest.mark.parametrize(
    ("answer", "prompt", "fields"),
    [
        (vllm, CHAT, {"response_format": NAMED}),
        (llama_cpp, CHAT, {"response_format": NAMED}),
        (llama_cpp, "a", {"json_schema": SCHEMA}),
        (tgi, CHAT, {"response_format": {"type": "json", "value": SCHEMA}}),
        (owned_by("library"), CHAT, {"response_format": NAMED}),
    ],
)
def test_json_schemas(server: Server, answer: Any, prompt: Any, fields: dict[str, Any]) -> None:
    def obedient(path: str, body: dict[str, Any]) -> Any:
        if path.endswith("completions") and fields.items() <= body.items():
            text = '{"n": 3}'
            return 200, {"choices": [{"text": text, "message": {"content": text}, "finish_reason": "stop"}]}
        return answer(path, body)

    body = sent(server, obedient, prompt, Sampling(grammar=JSON))
    assert fields.items() <= body.items()


@pytest.mark.parametrize(
    ("answer", "prompt", "grammar", "message"),
    [
        (llama_cpp, CHAT, REGEX, "cannot keep to a regular expression"),
        (owned_by("library"), CHAT, CHOICES, "JSON schemas only"),
        (owned_by("library"), "a", JSON, "raw text"),
        (tgi, "a", REGEX, "raw text"),
        (tgi, "a", JSON, "raw text"),
    ],
)
def test_what_a_server_is_known_not_to_keep_to(
    server: Server, answer: Any, prompt: Any, grammar: Grammar, message: str
) -> None:
    with pytest.raises(CapabilityError, match=message):
        sent(server, answer, prompt, Sampling(grammar=grammar))


def test_a_server_that_leaves_the_grammar_aside(server: Server) -> None:
    for grammar in (Grammar(choices=("yes", "no")), Grammar(regex="[0-9]+"), JSON):
        with pytest.raises(EndpointError, match="does not keep to the grammar, which the server may not know"):
            sent(server, honest, CHAT, Sampling(grammar=grammar))


@pytest.mark.parametrize(
    ("grammar", "text", "complete", "said"),
    [
        (CHOICES, "ab", True, ""),
        (CHOICES, "abc", True, "none of the choices"),
        (CHOICES, "b", False, "none of the choices"),
        (REGEX, "ab", True, ""),
        (Grammar(regex="[0-9]{4}"), "19", False, ""),
        (Grammar(regex="[0-9]{4}"), "19", True, "regular expression"),
        (Grammar(regex="[0-9]{4}"), "x9", False, "regular expression"),
        (JSON, '{"n": 1}', True, ""),
        (JSON, '{"n": "one"}', True, "'one' is not of type 'integer'"),
        (JSON, '{"n": ', True, "not JSON"),
        (JSON, '{"n": ', False, ""),
    ],
)
def test_departures(grammar: Grammar, text: str, complete: bool, said: str) -> None:
    found = departure(grammar, text, complete)
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        (Grammar(json_schema="{"), "not JSON"),
        (Grammar(json_schema='{"type": 7}'), "no JSON schema"),
        (Grammar(json_schema='{"$ref": "http://127.0.0.1:9/x"}'), "no JSON schema"),
        (Grammar(regex="("), "regex is wrong"),
    ],
)
def test_grammars_that_mean_nothing(grammar: Grammar, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        departure(grammar, "1", True)
