from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from steelyard.contracts import (
    Continuation,
    Example,
    Generation,
    LanguageModel,
    Message,
    ModelCard,
    Prompt,
    PromptStyle,
    Sampling,
    Score,
)
from steelyard.errors import CapabilityError, UsageError
from steelyard.systems.system import System, unwrap

ASK = [Message("user", "2+2?")]
SHOTS = PromptStyle("plain", shots=1, examples=(Example("1+1?", "2"),))


class Recorder:
    """A model that answers with what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    @property
    def card(self) -> ModelCard:
        return ModelCard("recorder", "f" * 32, parameters=7, licence="mit", capabilities=frozenset({"generate"}))

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        self.asked.append((list(requests), top))
        return [Score(-1.0, (), (), len(request.text), False) for request in requests]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Generation]:
        self.asked.append((list(prompts), sampling))
        return [Generation(f"{prompt!r}") for prompt in prompts]


class Whole(Recorder):
    """A recorder that also streams and embeds."""

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Any:
        yield Generation(f"{prompt!r}", finish_reason=None)
        yield Generation(f"{sampling.stop!r}")

    def embed(self, texts: Sequence[str], role: str = "document") -> Any:
        return np.ones((len(texts), 1), dtype=np.float32)


def test_a_system_is_a_language_model() -> None:
    assert isinstance(System(Recorder(), PromptStyle()), LanguageModel)


def test_raw_text_passes_untouched_and_order_is_kept() -> None:
    model = Recorder()
    sampling = Sampling(max_tokens=5, stop=("END",))
    answers = System(model, SHOTS).generate(["as it is", ASK, "this too"], sampling)
    rendered = "Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:"
    assert [a.text for a in answers] == [repr("as it is"), repr(rendered), repr("this too")]
    stopped = Sampling(max_tokens=5, stop=("END", "\n"))
    assert model.asked == [(["as it is", rendered, "this too"], [sampling, stopped, sampling])]


def test_chat_gets_instruction_and_examples_and_no_stop() -> None:
    model = Recorder()
    style = PromptStyle("chat", instruction="Be brief.", examples=(Example("1+1?", "2"),))
    System(model, style).generate([ASK])
    expected = [Message("system", "Be brief."), Message("user", "1+1?"), Message("assistant", "2"), *ASK]
    assert model.asked == [([expected], Sampling())]


def test_scores_follow_the_style() -> None:
    model = Recorder()
    requests = [Continuation("raw", "x"), Continuation(ASK, "4"), Continuation(ASK, " 4")]
    scores = System(model, PromptStyle()).score(requests, top=2)
    plain = "Question: 2+2?\nAnswer:"
    assert model.asked == [([requests[0], Continuation(plain, " 4"), Continuation(plain, " 4")], 2)]
    assert len(scores) == 3
    System(model, PromptStyle("chat")).score([Continuation(ASK, "4")])
    assert model.asked[-1] == ([Continuation(ASK, "4")], 0)


def test_streams_and_embeds_where_the_model_does() -> None:
    system = System(Whole(), PromptStyle())
    assert [g.text for g in system.stream(ASK)] == [repr("Question: 2+2?\nAnswer:"), repr(("\n",))]
    assert [g.text for g in system.stream("raw")] == [repr("raw"), repr(())]
    assert system.embed(["a", "b"], "query").shape == (2, 1)
    silent = System(Recorder(), PromptStyle())
    assert [g.text for g in silent.stream("raw")] == [repr("raw")]
    with pytest.raises(CapabilityError, match="no embeddings"):
        silent.embed(["a"])


def test_card_is_the_models_under_another_name_and_print() -> None:
    model = Recorder()
    cards = [System(model, s).card for s in (PromptStyle(), PromptStyle("chat"), PromptStyle(seed=1), SHOTS)]
    assert len({card.fingerprint for card in cards} | {model.card.fingerprint}) == 5
    assert all(len(card.fingerprint) == 32 for card in cards)
    assert System(model, PromptStyle(), name="best").card.name == "best"
    assert cards[0].name == "recorder"
    assert (cards[0].parameters, cards[0].licence) == (7, "mit")


def test_examples_that_only_a_task_has_are_missed_aloud() -> None:
    system = System(Recorder(), PromptStyle("chat", shots=2, seed=7))
    with pytest.raises(UsageError, match=r"2 examples from a task.*prompt\.examples"):
        system.generate([ASK])
    assert system.generate(["raw text still works"])


def test_unwrap() -> None:
    model = Recorder()
    assert unwrap(System(model, SHOTS)) == (model, SHOTS)
    assert unwrap(model) == (model, None)
