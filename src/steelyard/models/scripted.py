"""A language model that answers from a table or a function: for tests of everything that uses models."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from steelyard.contracts import (
    Capability,
    Continuation,
    FinishReason,
    Generation,
    ModelCard,
    Prompt,
    Sampling,
    Samplings,
    Score,
    Usage,
)
from steelyard.errors import CapabilityError, ModelError
from steelyard.models.requests import sampling_each

Answers: TypeAlias = Mapping[str, str] | Callable[[str], str]
Scores: TypeAlias = Callable[[str, str], float]

_WORDS = re.compile(r"\s*\S+|\s+")


class ScriptedModel:
    r"""Answers prompts from ``answers`` and scores continuations by ``scores(context, continuation)``.

    A token is a word with the white space before it. ``seconds`` is slept per call; ``calls`` lists what was
    asked: ("score" or "generate", the number of requests). A conversation is looked up as its rendered text
    ("user: ...\n"...) and, failing that, as its last message.

        model = ScriptedModel({"2 + 2 =": " 4"})
        model.generate(["2 + 2 ="])[0].text            # " 4"
    """

    def __init__(
        self,
        answers: Answers = {},  # noqa: B006 - never changed
        *,
        name: str = "scripted",
        scores: Scores | None = None,
        seconds: float = 0.0,
        context_length: int | None = None,
        parameters: int | None = None,
    ) -> None:
        self.answers = answers
        self.name = name
        self.scores = scores
        self.seconds = seconds
        self.context_length = context_length
        self.parameters = parameters
        self.calls: list[tuple[str, int]] = []

    @property
    def card(self) -> ModelCard:
        """The fingerprint depends on the name and the table, or on the code of the functions."""
        capabilities: set[Capability] = {"generate", "chat"}
        if self.scores is not None:
            capabilities |= {"score", "logprobs"}
        content = [self.name, _content(self.answers), _content(self.scores), self.context_length, self.parameters]
        return ModelCard(
            name=self.name,
            fingerprint=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32],
            parameters=self.parameters,
            context_length=self.context_length,
            family="scripted",
            capabilities=frozenset(capabilities),
        )

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score by the function; the log-probability is spread evenly over the words."""
        if self.scores is None:
            raise CapabilityError(f"{self.name} lacks the capability 'score': give ScriptedModel(scores=...)")
        if detail:
            raise CapabilityError(f"{self.name} has no distributions, so neither ranks nor entropies")
        self._called("score", len(requests))
        return [self._score(request, top) for request in requests]

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Answer from the table; stop strings and ``max_tokens`` are kept."""
        self._called("generate", len(prompts))
        each = sampling_each(prompts, sampling)
        return [self._answer(prompt, chosen) for prompt, chosen in zip(prompts, each, strict=True)]

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """The answer word by word."""
        whole = self.generate([prompt], sampling)[0]
        for token in whole.tokens:
            yield Generation(token, (token,), 0.0, None, Usage(), (0.0,))
        yield Generation("", (), 0.0, whole.finish_reason, whole.usage)

    def _called(self, verb: str, count: int) -> None:
        self.calls.append((verb, count))
        if self.seconds:
            time.sleep(self.seconds)

    def _score(self, request: Continuation, top: int) -> Score:
        context = prompt_text(request.context)
        value = float(self.scores(context, request.text)) if self.scores is not None else math.nan
        if math.isnan(value):
            raise ModelError(f"{self.name}: log-probabilities of {request.text[:40]!r} are not numbers")
        tokens = tuple(_WORDS.findall(request.text))
        each = value / len(tokens) if tokens else 0.0
        return Score(
            logprob=value,
            token_logprobs=(each,) * len(tokens),
            tokens=tokens,
            utf8_bytes=len(request.text.encode()),
            greedy=value > -1e-9,
            context_tokens=len(_WORDS.findall(context)),
            top=tuple({token: each} for token in tokens) if top else (),
        )

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Generation:
        text = prompt_text(prompt)
        answer = self._look_up(text, prompt)
        reason: FinishReason = "stop"
        places = [place for stop in sampling.stop if stop and (place := answer.find(stop)) >= 0]
        answer = answer[: min(places)] if places else answer
        tokens = tuple(_WORDS.findall(answer))
        if len(tokens) > sampling.max_tokens:
            tokens, reason = tokens[: sampling.max_tokens], "length"
        zeros = (0.0,) * len(tokens)
        usage = Usage(len(_WORDS.findall(text)), len(tokens))
        top = tuple({token: 0.0} for token in tokens) if sampling.logprobs else ()
        return Generation("".join(tokens), tokens, 0.0, reason, usage, zeros, top)

    def _look_up(self, text: str, prompt: Prompt) -> str:
        if callable(self.answers):
            return self.answers(text)
        if text in self.answers:
            return self.answers[text]
        last = prompt if isinstance(prompt, str) else prompt[-1].content
        if last in self.answers:
            return self.answers[last]
        raise ModelError(f"{self.name}: no answer to {last[-60:]!r} in its table")


def prompt_text(prompt: Prompt) -> str:
    """A prompt as text: conversations as one line a message, ending with the assistant's turn."""
    if isinstance(prompt, str):
        return prompt
    return "".join(f"{message.role}: {message.content}\n" for message in prompt) + "assistant:"


def _content(source: Any) -> Any:
    if source is None:
        return None
    if callable(source):
        code = getattr(source, "__code__", None)
        return [getattr(source, "__qualname__", type(source).__qualname__), code.co_code.hex() if code else ""]
    return dict(source)
