"""Steelyard's client before Steelyard's server: the model behind it answers as it does in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.word_model import WordModel, client_of, conversation
from steelyard.contracts import Continuation, Grammar, Message, OpenWeights, Sampling
from steelyard.errors import CapabilityError, EndpointError
from steelyard.models.endpoint import EndpointModel
from steelyard.models.loading import load_model
from steelyard.serving.server import serving

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture
def local(tiny_folder: Path) -> OpenWeights:
    model = load_model(str(tiny_folder))
    assert isinstance(model, OpenWeights)
    return model


@pytest.fixture
def remote(local: OpenWeights) -> Iterator[EndpointModel]:
    with serving(local) as url:
        yield EndpointModel(url, local.card.name, retries=0)


def test_the_same_scores(local: OpenWeights, remote: EndpointModel) -> None:
    assert remote.server.kind == "steelyard"
    assert remote.server.context_length == local.card.context_length
    requests = [
        Continuation("The quick brown fox", " jumps over"),
        Continuation("The quick brown fox ", "jumps"),
        Continuation("one two three", " four"),
        Continuation("caf", "é au lait"),
        Continuation("a\n", "b"),
    ]
    for mine, theirs in zip(local.score(requests, top=2), remote.score(requests, top=2), strict=True):
        assert theirs.token_logprobs == pytest.approx(mine.token_logprobs, abs=1e-4)
        assert theirs.logprob == pytest.approx(mine.logprob, abs=1e-4)
        assert (theirs.tokens, theirs.greedy, theirs.utf8_bytes) == (mine.tokens, mine.greedy, mine.utf8_bytes)
    with pytest.raises(CapabilityError, match="entropies"):
        remote.score(requests, detail=True)


def test_the_same_texts(local: OpenWeights, remote: EndpointModel) -> None:
    greedy, sampled = Sampling(max_tokens=6), Sampling(max_tokens=6, temperature=0.8, top_k=20, seed=3)
    for sampling in (greedy, sampled):
        mine = local.generate(["The quick brown"], sampling)[0]
        theirs = remote.generate(["The quick brown"], sampling)[0]
        assert (theirs.text, theirs.finish_reason, theirs.usage) == (mine.text, mine.finish_reason, mine.usage)
        pieces = list(remote.stream("The quick brown", sampling))
        assert "".join(piece.text for piece in pieces) == mine.text
        assert (pieces[-1].finish_reason, pieces[-1].usage) == (mine.finish_reason, mine.usage)
    several = [Sampling(max_tokens=6, temperature=0.8, seed=seed) for seed in (1, 2, 1)]
    first, second, again = remote.generate(["The quick brown"] * 3, several)
    assert first.text == again.text != second.text


@pytest.mark.parametrize(
    ("grammar", "answer", "wrong"),
    [
        (Grammar(choices=("yes", "no")), "no", "maybe"),
        (Grammar(regex="[0-9]{4}"), "1984", "98"),
        (Grammar(json_schema=json.dumps(SCHEMA)), '{"city": "Paris"}', '{"town": "Paris"}'),
    ],
)
def test_every_setting_arrives(grammar: Grammar, answer: str, wrong: str) -> None:
    model = WordModel(answer)
    sampling = Sampling(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        seed=11,
        min_p=0.1,
        repetition_penalty=1.2,
        grammar=grammar,
    )
    with serving(model) as url:
        remote = EndpointModel(url, "words", retries=0)
        for prompt in ("Say", (Message("user", "Say"),)):
            assert remote.generate([prompt], sampling)[0].text == answer
            assert model.asked[-1] == (prompt, sampling)
        model.answer = wrong
        with pytest.raises(EndpointError, match="does not keep to the grammar, which the server may not know"):
            remote.generate(["Say"], sampling)
        with pytest.raises(EndpointError, match="does not keep to the grammar"):
            list(remote.stream("Say", sampling))


def test_the_official_client_asks_for_a_schema() -> None:
    model = WordModel('{"city": "Paris"}')
    with serving(model) as url:
        client_of(url).chat.completions.create(
            model="words",
            messages=conversation("Where?"),
            response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
        )
        client_of(url).chat.completions.create(
            model="words", messages=conversation("Where?"), response_format={"type": "json_object"}
        )
    grammars = [sampling.grammar for _, sampling in model.asked]
    assert grammars == [Grammar(json_schema=json.dumps(SCHEMA)), Grammar(json_schema='{"type": "object"}')]


def test_several_choices_are_one_call_with_seeds_of_their_own() -> None:
    model = WordModel(lambda prompt, sampling: f"seed {sampling.seed}")
    calls = []
    whole = model.generate
    model.generate = lambda prompts, sampling: calls.append(len(prompts)) or whole(prompts, sampling)  # type: ignore
    with serving(model) as url:
        answer = client_of(url).completions.create(model="words", prompt=["a", "b"], n=2, temperature=1, seed=5)
    assert [choice.text for choice in answer.choices] == ["seed 5", "seed 6"] * 2
    assert calls == [4]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 8)
