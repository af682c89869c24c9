"""A small model whose words and log-probabilities are plain to see, and the official client for it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import openai

from steelyard.contracts import (
    Continuation,
    Generation,
    ModelCard,
    Prompt,
    Sampling,
    Samplings,
    Score,
    Usage,
)

GREEDY = Sampling()


def words(text: str) -> tuple[str, ...]:
    """Tokens: a word with the space before it. Joined they are the text."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


class WordModel:
    """Continues every prompt with ``answer`` (a text, or a function of prompt and sampling).

    A token's log-probability is minus its length; the alternative " the" always has -1.5.
    """

    def __init__(self, answer: str | Callable[[Prompt, Sampling], str] = "a steelyard is a balance") -> None:
        self.answer = answer
        self.delay = 0.0
        self.running = 0
        self.most_running = 0
        self.stopped_after: int | None = None
        self.asked: list[tuple[Prompt, Sampling]] = []
        self.hold = threading.Event()
        self.hold.set()
        self._lock = threading.Lock()

    @property
    def card(self) -> ModelCard:
        return ModelCard("words", "0123456789abcdef", parameters=7, context_length=64)

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        return [self._score(request, top) for request in requests]

    def _score(self, request: Continuation, top: int) -> Score:
        tokens = words(request.text)
        values = tuple(-float(len(token)) for token in tokens)
        return Score(
            logprob=sum(values),
            token_logprobs=values,
            tokens=tokens,
            utf8_bytes=len(request.text.encode()),
            greedy=False,
            top=tuple(self._top(token, top) for token in tokens) if top else (),
        )

    def _top(self, token: str, top: int) -> dict[str, float]:
        ranked = sorted({token: -float(len(token)), " the": -1.5}.items(), key=lambda item: -item[1])
        return dict(ranked[:top])

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = GREEDY) -> list[Generation]:
        each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
        return [self._generate(prompt, one) for prompt, one in zip(prompts, each, strict=True)]

    def _generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        with self._lock:
            self.asked.append((prompt, sampling))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            self.hold.wait(20)
            time.sleep(self.delay)
            return self._whole(prompt, sampling)
        finally:
            with self._lock:
                self.running -= 1

    def _whole(self, prompt: Prompt, sampling: Sampling) -> Generation:
        text = self.answer if isinstance(self.answer, str) else self.answer(prompt, sampling)
        for stop in sampling.stop:
            text = text.partition(stop)[0]
        full = words(text)
        tokens = full[: sampling.max_tokens]
        asked = prompt if isinstance(prompt, str) else " ".join(message.content for message in prompt)
        values = tuple(-float(len(token)) for token in tokens)
        return Generation(
            text="".join(tokens),
            tokens=tokens,
            logprob=sum(values),
            finish_reason="length" if len(full) > len(tokens) else "stop",
            usage=Usage(len(words(asked)), len(tokens)),
            token_logprobs=values if sampling.logprobs else (),
            top=tuple(self._top(token, sampling.logprobs) for token in tokens) if sampling.logprobs else (),
        )


class StreamingWordModel(WordModel):
    """The same, word by word; ``stopped_after`` says how many words were out when a stream was closed early."""

    def stream(self, prompt: Prompt, sampling: Sampling = GREEDY) -> Iterator[Generation]:
        self.asked.append((prompt, sampling))
        whole = self._whole(prompt, sampling)
        out = 0
        try:
            for number, token in enumerate(whole.tokens):
                self.hold.wait(20)
                time.sleep(self.delay)
                out += 1
                yield Generation(
                    text=token,
                    tokens=(token,),
                    logprob=-float(len(token)),
                    finish_reason=None,
                    token_logprobs=whole.token_logprobs[number : number + 1],
                    top=whole.top[number : number + 1],
                )
            yield Generation(text="", finish_reason=whole.finish_reason, usage=whole.usage)
        except GeneratorExit:
            self.stopped_after = out
            raise


def last_user_words(prompt: Prompt, sampling: Sampling) -> str:
    """An answer that shows which question it belongs to."""
    text = prompt if isinstance(prompt, str) else prompt[-1].content
    return f"you said {text}"


def conversation(*contents: str) -> list[dict[str, Any]]:
    """Messages of alternating user and assistant turns."""
    return [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(contents)]


def client_of(url: str, token: str = "unused", **options: Any) -> openai.OpenAI:
    """The official client, without its retries, which would hide refusals."""
    return openai.OpenAI(base_url=url, api_key=token, max_retries=0, timeout=20, **options)
