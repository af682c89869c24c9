"""Citations of a grounded answer: in the message, in the last chunk, and sent back with a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest

from serving.word_model import StreamingWordModel, WordModel, client_of, conversation
from steelyard.contracts import Citation, Generation, Prompt, Sampling, Samplings
from steelyard.serving.server import serving

CITATIONS = (
    Citation(1, "c7", "handbook/hours.md", 120, 140, "We close at six.", 0, 11, 0.75, {"page": 3}),
    Citation(2, "c9", "handbook/rules.md", 7, 19, "<b>On Fridays", 12, 24, 0.5),
)


class CitingModel(WordModel):
    """Cites in every answer."""

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        return [replace(one, citations=CITATIONS) for one in super().generate(prompts, sampling)]


class StreamingCitingModel(StreamingWordModel):
    """The same, with the citations in the last piece of a stream."""

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        return [replace(one, citations=CITATIONS) for one in super().generate(prompts, sampling)]

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        for piece in super().stream(prompt, sampling):
            yield replace(piece, citations=CITATIONS) if piece.finish_reason else piece


EXPECTED = [asdict(citation) for citation in CITATIONS]


@pytest.mark.parametrize("kind", [CitingModel, StreamingCitingModel])
def test_citations_come_with_the_message_and_the_last_chunk(kind: type[WordModel]) -> None:
    asked: dict[str, Any] = {"model": "words", "messages": conversation("hello"), "max_tokens": 4}
    with serving(kind()) as url:
        client = client_of(url)
        message = client.chat.completions.create(**asked).choices[0].message
        chunks = list(client.chat.completions.create(**asked, stream=True))
        text = client.completions.create(model="words", prompt="hello", max_tokens=4).choices[0]
        pieces = list(client.completions.create(model="words", prompt="hello", max_tokens=4, stream=True))
    assert message.citations == EXPECTED  # type: ignore[attr-defined]
    assert text.citations == EXPECTED  # type: ignore[attr-defined]
    assert [getattr(chunk.choices[0].delta, "citations", None) for chunk in chunks] == [
        *[None] * (len(chunks) - 1),
        EXPECTED,
    ]
    assert chunks[-1].choices[0].finish_reason == "length"
    assert [getattr(piece.choices[0], "citations", None) for piece in pieces][-1] == EXPECTED


def test_answers_that_cite_nothing_have_no_such_field(post: Callable[..., httpx.Response]) -> None:
    answer = post("/chat/completions", {"model": "words", "messages": conversation("hello")}).json()
    assert "citations" not in answer["choices"][0]["message"]


def test_a_message_with_citations_can_be_sent_back(post: Callable[..., httpx.Response]) -> None:
    said = {"role": "assistant", "content": "At six.", "refusal": None, "citations": EXPECTED}
    messages = [*conversation("hello"), said, *conversation("and on Fridays?")]
    assert post("/chat/completions", {"model": "words", "messages": messages}).status_code == 200
