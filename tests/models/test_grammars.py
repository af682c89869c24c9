from __future__ import annotations

import dataclasses
import json
import re
import sys
from typing import Any

import pytest
import torch

from steelyard.contracts import Grammar, Sampling
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.forward import Engine
from steelyard.models.generation import generate, stream
from streams import summary_of

PROMPTS = ["The quick", "é", "Question: What is the capital of France?\nAnswer:"]
CHOICES = ("Paris", 'London, or\n"so"', "é\\x", "Par")
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
GRAMMARS = {
    "choices": Grammar(choices=CHOICES),
    "regex": Grammar(regex=r"[0-9]{3}-(é|ab){1,4}x"),
    "schema": Grammar(json_schema=json.dumps(SCHEMA)),
}


def fits(kind: str, text: str) -> bool:
    """Whether a text is what a grammar of that kind demands, found without llguidance."""
    if kind == "choices":
        return text in CHOICES
    if kind == "regex":
        return re.fullmatch(r"[0-9]{3}-(é|ab){1,4}x", text) is not None
    value = json.loads(text)
    assert isinstance(value["name"], str)
    assert isinstance(value["age"], int)
    return set(value) == {"name", "age"} and len(value["name"]) <= 4 and 0 <= value["age"] <= 99


@pytest.mark.parametrize("kind", sorted(GRAMMARS))
@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_follow_the_grammar(engines: Any, kind: str, family: str, temperature: float) -> None:
    engine = engines(family)
    free = Sampling(max_tokens=12, temperature=temperature, seed=1)
    bound = dataclasses.replace(free, max_tokens=120, grammar=GRAMMARS[kind])
    answers = generate(engine, PROMPTS * 2, [bound] * 3 + [free] * 3)
    for answer in answers[:3]:
        assert answer.finish_reason == "stop"
        assert fits(kind, answer.text)
    assert not any(answer.text and answer.text in CHOICES for answer in answers[3:])
    parts = list(stream(engine, PROMPTS[0], bound))
    assert "".join(part.text for part in parts) == answers[0].text
    assert summary_of(parts).finish_reason == "stop"


def test_the_answer_ends_with_the_grammar(engines: Any) -> None:
    answer = generate(engines("llama"), ["The"], Sampling(max_tokens=50, grammar=Grammar(regex="a{5}")))[0]
    assert (answer.text, answer.finish_reason) == ("aaaaa", "stop")
    exact = answer.usage.completion_tokens
    again = generate(engines("llama"), ["The"], Sampling(max_tokens=exact, grammar=Grammar(regex="a{5}")))[0]
    assert again == answer
    empty = generate(engines("llama"), ["The"], Sampling(max_tokens=9, grammar=Grammar(choices=("",))))[0]
    assert (empty.text, empty.finish_reason) == ("", "stop")


def test_a_grammar_cut_short_says_length(engines: Any) -> None:
    answer = generate(engines("llama"), ["The"], Sampling(max_tokens=3, grammar=Grammar(regex="a{50}")))[0]
    assert set(answer.text) == {"a"}
    assert answer.finish_reason == "length"


def test_stop_strings_still_stop(engines: Any) -> None:
    sampling = Sampling(max_tokens=20, grammar=Grammar(regex="abc+"), stop=("bc",))
    answer = generate(engines("llama"), ["The"], sampling)[0]
    assert (answer.text, answer.finish_reason) == ("a", "stop")


def test_logprobs_are_the_models_own(engines: Any) -> None:
    engine = engines("llama")
    answer = generate(engine, ["The"], Sampling(max_tokens=20, grammar=Grammar(regex="zq"), logprobs=2))[0]
    ids = engine.tokenizer("The")["input_ids"]
    new = engine.tokenizer("zq")["input_ids"]
    with torch.no_grad():
        logprobs = engine.module(input_ids=torch.tensor([ids + new])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(ids) - 1 + place, token]) for place, token in enumerate(new)]
    assert answer.token_logprobs == pytest.approx(expected, abs=1e-4)
    assert max(answer.top[0].values()) > answer.token_logprobs[0]


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        (Grammar(regex="(a"), "regex of the grammar cannot be used: unclosed group"),
        (Grammar(json_schema='{"type"'), "is not JSON"),
        (Grammar(json_schema="[1]"), "must be an object"),
        (Grammar(json_schema='{"type": "foo"}'), "Invalid type: foo"),
        (Grammar(), "exactly one of"),
        (Grammar(choices=("a",), regex="a"), "exactly one of"),
    ],
)
def test_malformed_grammars_are_one_line(engines: Any, grammar: Grammar, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        generate(engines("llama"), ["a"], Sampling(grammar=grammar))
    assert "\n" not in str(caught.value)


def test_the_missing_package_is_named(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    engine = engines("llama")
    fresh = Engine(engine.module, engine.tokenizer, "fresh", 512)
    with pytest.raises(CapabilityError, match=r"pip install 'steelyard\[grammar\]'"):
        generate(fresh, ["a"], Sampling(grammar=Grammar(regex="a")))


def test_slow_tokenizers_are_refused(engines: Any) -> None:
    class Slow:
        eos_token_id = 2

        def __len__(self) -> int:
            return 300

    fresh = Engine(engines("llama").module, Slow(), "slow", 512)
    with pytest.raises(CapabilityError, match="slow: llguidance cannot use its tokenizer"):
        _ = fresh.grammar_tokenizer


@pytest.mark.real_model
def test_smollm2_answers_in_a_schema(smollm2: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"capital": {"enum": ["Paris", "Rome"]}},
        "required": ["capital"],
        "additionalProperties": False,
    }
    bound = Sampling(max_tokens=30, grammar=Grammar(json_schema=json.dumps(schema)))
    free = Sampling(max_tokens=4)
    answer, other = smollm2.generate(["The capital of France as JSON:", "Once upon"], [bound, free])
    assert json.loads(answer.text) == {"capital": "Paris"}
    assert answer.finish_reason == "stop"
    assert other.text == smollm2.generate(["Once upon"], free)[0].text
