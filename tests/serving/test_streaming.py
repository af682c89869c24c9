"""Streams: their events, their joined text, their failures, and clients that leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from serving.word_model import StreamingWordModel, WordModel, client_of, conversation
from steelyard.contracts import Generation, Prompt, Sampling
from steelyard.errors import CapabilityError
from steelyard.serving.server import serving


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("kind", [StreamingWordModel, WordModel])
def test_chat_stream(kind: type[WordModel]) -> None:
    with serving(kind()) as url:
        stream = client_of(url).chat.completions.create(
            model="words",
            messages=conversation("hello"),
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "a steelyard is a"
    assert len([text for text in texts if text]) == (4 if kind is StreamingWordModel else 1)
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (1, 4)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].object == "chat.completion.chunk"


def test_chat_stream_with_choices_and_logprobs(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="words",
        messages=conversation("hello"),
        max_tokens=2,
        n=2,
        stream=True,
        logprobs=True,
        top_logprobs=1,
    )
    texts = ["", ""]
    tokens: list[list[str]] = [[], []]
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.logprobs and choice.logprobs.content:
                tokens[choice.index] += [entry.token for entry in choice.logprobs.content]
    assert texts == ["a steelyard"] * 2
    assert tokens == [["a", " steelyard"]] * 2


def test_completion_stream_with_echo_has_the_offsets_of_the_whole(client: openai.OpenAI) -> None:
    asked: Any = {"model": "words", "prompt": ["once upon", "so"], "max_tokens": 3, "echo": True, "logprobs": 1}
    whole = client.completions.create(**asked)
    texts = ["", ""]
    offsets: list[list[int]] = [[], []]
    values: list[list[float]] = [[], []]
    for chunk in client.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            offsets[choice.index] += choice.logprobs.text_offset
            values[choice.index] += choice.logprobs.token_logprobs
    assert texts == [choice.text for choice in whole.choices]
    assert offsets == [choice.logprobs.text_offset for choice in whole.choices]
    assert values == [choice.logprobs.token_logprobs for choice in whole.choices]


def test_text_may_run_ahead_of_its_tokens() -> None:
    """A model may hold back the end of a word that could be a stop string, and name its token later."""

    class Ahead(WordModel):
        def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Generation]:
            yield Generation("stee", finish_reason=None)
            yield Generation("lyard a", ("steelyard",), token_logprobs=(-2.0,), finish_reason=None)
            yield Generation("rm", (" arm",), token_logprobs=(-3.0,))

    with serving(Ahead()) as url:
        chunks = list(client_of(url).completions.create(model="words", prompt="x", logprobs=0, stream=True))
        whole = client_of(url).completions.create(model="words", prompt="x", logprobs=0)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.text for choice in choices) == whole.choices[0].text == "steelyard a" + "rm"
    assert [o for choice in choices for o in choice.logprobs.text_offset] == [0, 9]
    assert whole.choices[0].logprobs.text_offset == [0, 9]


def test_events_on_the_wire(post: Callable[..., httpx.Response]) -> None:
    answer = post("/completions", {"model": "words", "prompt": "x", "max_tokens": 1, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.text.split("\n\n")
    assert all(line.startswith("data: ") for line in lines[:-1])
    assert lines[-2:] == ["data: [DONE]", ""]


def test_characters_that_end_lines_stay_inside_their_event() -> None:
    text = "one\u2028two\n\nthree\x85 \U0001f9ee"
    with serving(StreamingWordModel(text)) as url:
        stream = client_of(url).completions.create(model="words", prompt="x", stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream) == text


def test_a_failure_before_the_first_word_has_its_status(client: openai.OpenAI, model: WordModel) -> None:
    def refuse(prompt: Any, sampling: Any) -> str:
        raise CapabilityError("model 'words' has no chat template; use completions")

    model.answer = refuse
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        client.chat.completions.create(model="words", messages=conversation("x"), stream=True)


def test_a_failure_in_the_middle_reaches_the_client_without_internals() -> None:
    class Breaking(WordModel):
        def stream(self, prompt: Any, sampling: Any) -> Any:
            yield Generation(text="begun", finish_reason=None)
            raise RuntimeError("secret detail")

    with serving(Breaking()) as url:
        stream = client_of(url).completions.create(model="words", prompt="x", stream=True)
        assert next(stream).choices[0].text == "begun"
        with pytest.raises(openai.APIError, match="the server's log says why") as caught:
            list(stream)
    assert "secret" not in str(caught.value)


def test_a_client_that_leaves_stops_the_generation(client: openai.OpenAI, model: StreamingWordModel) -> None:
    model.answer = "word " * 60
    model.delay = 0.02
    stream = client.chat.completions.create(model="words", messages=conversation("x"), max_tokens=60, stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    client.close()
    assert eventually(lambda: model.stopped_after is not None)
    assert model.stopped_after is not None
    assert model.stopped_after < 50


def test_leaving_stops_an_unstreamed_answer_too(url: str, model: StreamingWordModel) -> None:
    model.answer = "word " * 60
    model.delay = 0.05
    impatient = client_of(url).with_options(timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        impatient.completions.create(model="words", prompt="x", max_tokens=60)
    assert eventually(lambda: model.stopped_after is not None)
    # The queue is free again for the next one.
    model.delay = 0.0
    assert (
        client_of(url).completions.create(model="words", prompt="x", max_tokens=2).choices[0].text == "word word"
    )
