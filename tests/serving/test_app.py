"""The endpoints, asked by the official client."""

from __future__ import annotations

from dataclasses import replace
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
from steelyard.contracts import Continuation, Generation, Message, ModelCard, Prompt, Sampling, Score
from steelyard.serving.server import serving


def test_models_are_listed_under_their_name_and_default(client: openai.OpenAI) -> None:
    assert [entry.id for entry in client.models.list()] == ["words", "default"]
    entry = client.models.retrieve("words")
    assert (entry.id, entry.object, entry.owned_by) == ("words", "model", "steelyard")
    with pytest.raises(openai.NotFoundError, match="this server has 'words'"):
        client.models.retrieve("other/model")


def test_chat_answers_with_text_reason_and_usage(client: openai.OpenAI, model: WordModel) -> None:
    answer = client.chat.completions.create(
        model="words",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "this?"}]},
        ],
        max_completion_tokens=3,
        temperature=0.5,
        top_p=0.9,
        stop=["!"],
        seed=11,
        user="someone",
        metadata={"team": "a"},
        store=False,
        frequency_penalty=0,
        response_format={"type": "text"},
    )
    choice = answer.choices[0]
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (
        "a steelyard is",
        "assistant",
        "length",
    )
    assert answer.object == "chat.completion"
    assert answer.model == "words"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 3, 8)
    prompt, sampling = model.asked[0]
    assert list(prompt) == [Message("system", "Be brief."), Message("user", "What is\nthis?")]
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (3, 0.5, 0.9)
    assert (sampling.stop, sampling.seed) == (("!",), 11)


def test_chat_is_greedy_unless_asked_otherwise(client: openai.OpenAI, model: WordModel) -> None:
    client.chat.completions.create(model="default", messages=conversation("hello"))
    _, sampling = model.asked[0]
    assert (sampling.temperature, sampling.max_tokens, sampling.logprobs) == (0.0, 16, 0)


def test_an_answer_can_be_sent_back_as_the_client_holds_it(client: openai.OpenAI, model: WordModel) -> None:
    first = client.chat.completions.create(model="words", messages=conversation("hello"))
    turns: list[Any] = [*conversation("hello"), first.choices[0].message, *conversation("again")]
    client.chat.completions.create(model="words", messages=turns)
    assert [message.role for message in model.asked[1][0]] == ["user", "assistant", "user"]


def test_chat_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="words", messages=conversation("hello"), max_tokens=2, logprobs=True, top_logprobs=2
    )
    content = answer.choices[0].logprobs.content
    assert [(entry.token, entry.logprob) for entry in content] == [("a", -1.0), (" steelyard", -10.0)]
    assert content[1].bytes == list(b" steelyard")
    assert [(top.token, top.logprob) for top in content[1].top_logprobs] == [(" the", -1.5), (" steelyard", -10.0)]
    plain = client.chat.completions.create(
        model="words", messages=conversation("hello"), max_tokens=2, logprobs=True
    )
    assert [entry.top_logprobs for entry in plain.choices[0].logprobs.content] == [[], []]


def test_choices_of_one_request_have_seeds_of_their_own() -> None:
    model = WordModel(lambda prompt, sampling: f"seed {sampling.seed}")
    with serving(model) as url:
        client = client_of(url)
        answer = client.chat.completions.create(
            model="words", messages=conversation("go"), n=3, temperature=1, seed=5
        )
        assert [choice.message.content for choice in answer.choices] == ["seed 5", "seed 6", "seed 7"]
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 6)
        model.asked.clear()
        answer = client.chat.completions.create(model="words", messages=conversation("go"), n=3, seed=5)
        assert {choice.message.content for choice in answer.choices} == {"seed 5"}
        assert len(model.asked) == 1  # greedy choices are one and the same


def test_completions_of_several_prompts_keep_their_order() -> None:
    model = WordModel(last_user_words)
    with serving(model) as url:
        prompts = [f"p{number}" for number in range(70)]
        answer = client_of(url).completions.create(model="words", prompt=prompts, n=2, temperature=1)
    assert [choice.text for choice in answer.choices] == [f"you said {p}" for p in prompts for _ in range(2)]
    assert [choice.index for choice in answer.choices] == list(range(140))
    assert answer.object == "text_completion"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (70, 420)


def test_completion_stops_at_a_stop_string(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="words", prompt="x", stop=" is")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("a steelyard", "stop")


def test_echo_gives_the_prompt_back_and_can_generate_nothing(client: openai.OpenAI, model: WordModel) -> None:
    answer = client.completions.create(model="words", prompt="once upon", max_tokens=1, echo=True)
    assert answer.choices[0].text == "once upona"
    answer = client.completions.create(model="words", prompt="once upon", max_tokens=0, echo=True)
    assert answer.choices[0].text == "once upon"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 0)
    assert len(model.asked) == 1


def test_echo_with_logprobs_scores_the_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="words", prompt="once upon a", max_tokens=1, echo=True, logprobs=1)
    block = answer.choices[0].logprobs
    assert block.tokens == ["once", " upon", " a", "a"]
    assert block.token_logprobs == [None, -5.0, -2.0, -1.0]
    assert block.text_offset == [0, 4, 9, 11]
    assert block.top_logprobs == [
        None,
        {" the": -1.5, " upon": -5.0},
        {" the": -1.5, " a": -2.0},
        {"a": -1.0},
    ]
    text = answer.choices[0].text
    assert [text[start:][: len(token)] for token, start in zip(block.tokens, block.text_offset, strict=True)] == (
        block.tokens
    )


def test_lm_evaluation_harness_reads_its_numbers(post: Any) -> None:
    """The request of its ``local-completions`` model, read as its ``parse_logprobs`` reads it."""
    payload = {
        "model": "words",
        "prompt": ["which is it x", "so a"],
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    answer = post("/completions", payload).json()
    read = []
    for choice, context_tokens in zip(sorted(answer["choices"], key=lambda c: c["index"]), (3, 1), strict=True):
        values = choice["logprobs"]["token_logprobs"][context_tokens:-1]
        tops = choice["logprobs"]["top_logprobs"][context_tokens:-1]
        greedy = all(value == max(top.values()) for value, top in zip(values, tops, strict=True))
        read.append((sum(values), greedy))
    assert read == [(-2.0, False), (-2.0, False)]


def test_a_model_that_ends_at_once_still_gives_one_entry_after_the_prompt() -> None:
    with serving(WordModel("")) as url:
        answer = client_of(url).completions.create(
            model="words", prompt="so it goes", max_tokens=1, echo=True, logprobs=1
        )
    block = answer.choices[0].logprobs
    assert block.tokens == ["so", " it", " goes", ""]
    assert block.token_logprobs == [None, -3.0, -5.0, None]
    assert len(block.text_offset) == len(block.top_logprobs) == 4


def test_a_prompt_that_brings_its_own_beginning_keeps_it_as_a_token() -> None:
    """Such a prompt is scored after that token, which the harness counts when it decodes an empty context."""

    class Beginning(WordModel):
        def _score(self, request: Continuation, top: int) -> Score:
            return super()._score(replace(request, text=request.text.removeprefix("<s>")), top)

    with serving(Beginning()) as url:
        asked: Any = {"model": "words", "max_tokens": 1, "echo": True, "logprobs": 1}
        answer = client_of(url).completions.create(prompt=["<s>so it", "<s>"], **asked)
    first, second = (choice.logprobs for choice in answer.choices)
    assert first.tokens == ["<s>", "so", " it", "a"]
    assert first.token_logprobs == [None, -2.0, -3.0, -1.0]
    assert first.text_offset == [0, 3, 5, 8]
    assert (second.tokens, second.token_logprobs) == (["<s>", "a"], [None, -1.0])


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_was_cut_is_refused_not_answered(stream: bool) -> None:
    class Cutting(WordModel):
        def _whole(self, prompt: Prompt, sampling: Sampling) -> Generation:
            whole = super()._whole(prompt, sampling)
            room = 64 - sampling.max_tokens
            return replace(whole, usage=replace(whole.usage, prompt_tokens=min(room, whole.usage.prompt_tokens)))

    with serving(Cutting()) as url:
        client = client_of(url)
        asked: Any = {"model": "words", "prompt": "word " * 63, "max_tokens": 4}
        with pytest.raises(openai.APIError, match="context is 64 tokens and max_tokens takes 4") as caught:
            list(client.completions.create(**asked, stream=stream))
        assert caught.value.code == "context_length_exceeded"
        # The length of a prompt that was scored is known, so one that just fits is answered.
        asked |= {"prompt": " ".join(["word"] * 60), "echo": True, "logprobs": 0}
        assert client.completions.create(**asked).usage is not None


def test_capabilities_are_looked_at_before_any_work() -> None:
    class Silent(WordModel):
        @property
        def card(self) -> ModelCard:
            return ModelCard("words", "fp", capabilities=frozenset({"score", "generate"}))

    model = Silent()
    with serving(model) as url, pytest.raises(openai.BadRequestError, match="gives no log-probabilities"):
        client_of(url).chat.completions.create(
            model="words", messages=conversation("x"), logprobs=True, stream=True
        )
    assert model.asked == []


def test_a_model_without_logprobs_is_said_to_have_none(client: openai.OpenAI, model: WordModel) -> None:
    whole = model._whole
    model._whole = lambda prompt, sampling: whole(prompt, type(sampling)(max_tokens=3))  # type: ignore[method-assign]
    with pytest.raises(openai.BadRequestError, match="gives no log-probabilities"):
        client.completions.create(model="words", prompt="x", logprobs=1)


def test_minus_infinity_is_written_as_a_number(client: openai.OpenAI, model: StreamingWordModel) -> None:
    score = model._score

    def never(request: Any, top: int) -> Any:
        return replace(score(request, top), token_logprobs=(-1.0, float("-inf")))

    model._score = never  # type: ignore[method-assign]
    answer = client.completions.create(model="words", prompt="a b", max_tokens=0, echo=True, logprobs=1)
    assert answer.choices[0].logprobs.token_logprobs == [None, -9999.0]


def test_health_and_the_openapi_document(url: str) -> None:
    root = url.removesuffix("/v1")
    assert httpx.get(root + "/health").json() == {"status": "ok"}
    document = httpx.get(root + "/openapi.json").json()
    schema = document["components"]["schemas"]["CompletionRequest"]
    assert "echo" in schema["properties"]
    body = document["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/CompletionRequest"}
    assert httpx.get(root + "/docs").status_code == httpx.get(root + "/redoc").status_code == 404


@pytest.mark.real_model
def test_the_client_gets_what_the_model_generates(smollm2: Any) -> None:
    question = "Name the capital of France."
    prompt = "The capital of France is"
    expected = smollm2.generate([[Message("user", question)]], Sampling(max_tokens=12))[0]
    continued = smollm2.generate([prompt], Sampling(max_tokens=6))[0]
    with serving(smollm2) as url:
        client = client_of(url)
        answer = client.chat.completions.create(
            model="default", messages=conversation(question), max_tokens=12, temperature=0
        )
        streamed = client.chat.completions.create(
            model="default", messages=conversation(question), max_tokens=12, stream=True
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
        raw = client.completions.create(model="default", prompt=prompt, max_tokens=6, echo=True, logprobs=1)
    assert answer.choices[0].message.content == text == expected.text
    assert answer.choices[0].finish_reason == expected.finish_reason
    assert raw.choices[0].text == prompt + continued.text
    block = raw.choices[0].logprobs
    assert "".join(block.tokens) == raw.choices[0].text
    assert block.token_logprobs[0] is None
    assert all(value < 0 for value in block.token_logprobs[1:])
    # What greedy decoding chose was the most probable token each time.
    for value, top in list(zip(block.token_logprobs, block.top_logprobs, strict=True))[-6:]:
        assert value == max(top.values())
