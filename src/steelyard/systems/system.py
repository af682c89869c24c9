"""A system: a model together with the way it is asked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.contracts import (
    Continuation,
    Embedder,
    Generation,
    LanguageModel,
    ModelCard,
    Prompt,
    PromptStyle,
    Sampling,
    Samplings,
    Score,
    StreamingModel,
    TextRole,
)
from steelyard.errors import CapabilityError, UsageError
from steelyard.systems.prompt_rendering import render_conversation, stop_strings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class System:
    """A language model that puts conversations to another model in a fixed style.

    Raw text passes through untouched. A conversation first gets the style's instruction and examples; in a plain
    style it becomes text, and answers then end where a short answer does (:func:`stop_strings`).

    Attributes:
        model: the model that is asked.
        style: how; an evaluation puts its own questions to ``model`` in this style.
    """

    def __init__(self, model: LanguageModel, style: PromptStyle, *, name: str | None = None) -> None:
        self.model = model
        self.style = style
        self._name = name

    @property
    def card(self) -> ModelCard:
        """The model's card under the system's name; the fingerprint covers the style too."""
        card = self.model.card
        style = json.dumps(dataclasses.asdict(self.style), sort_keys=True)
        digest = hashlib.sha256(f"system\n{card.fingerprint}\n{style}".encode()).hexdigest()
        return dataclasses.replace(card, name=self._name or card.name, fingerprint=digest[: len(card.fingerprint)])

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each continuation; one that follows a conversation is put as an answer in the system's style."""
        return self.model.score([self._continuation(request) for request in requests], top=top, detail=detail)

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Continue each prompt, in order; answers to conversations end where the style says."""
        each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
        chosen = [s if isinstance(p, str) else self.stopped(s) for p, s in zip(prompts, each, strict=True)]
        rendered = [self.rendered(prompt) for prompt in prompts]
        return self.model.generate(rendered, chosen[0] if len(set(chosen)) == 1 else chosen)

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """Yield increments as they appear; all in one where the model underneath does not stream."""
        if not isinstance(self.model, StreamingModel):
            yield from self.generate([prompt], sampling)
            return
        chosen = sampling if isinstance(prompt, str) else self.stopped(sampling)
        yield from self.model.stream(self.rendered(prompt), chosen)

    def embed(self, texts: Sequence[str], role: TextRole = "document") -> NDArray[np.float32]:
        """The model's own vectors of the texts: unit length, float32 (n, d)."""
        if not isinstance(self.model, Embedder):
            raise CapabilityError(f"system {self.card.name!r}: its model has no embeddings")
        return self.model.embed(texts, role)

    def rendered(self, prompt: Prompt) -> Prompt:
        """A prompt as the model gets it: a conversation in the system's style, raw text as it is."""
        if isinstance(prompt, str):
            return prompt
        if self.style.shots and not self.style.examples:
            raise UsageError(
                f"system {self.card.name!r} draws its {self.style.shots} examples from a task, and a conversation "
                "brings none; write them under prompt.examples in its system file"
            )
        return render_conversation(self.style, prompt)

    def _continuation(self, request: Continuation) -> Continuation:
        if isinstance(request.context, str):
            return request
        context = self.rendered(request.context)
        apart = isinstance(context, str) and request.text[:1].strip() != ""  # "Answer: x", not "Answer:x"
        return Continuation(context, f" {request.text}" if apart else request.text)

    def stopped(self, sampling: Sampling) -> Sampling:
        """``sampling`` with the strings that end an answer in the system's style."""
        stops = dict.fromkeys((*sampling.stop, *stop_strings(self.style)))
        return dataclasses.replace(sampling, stop=tuple(stops))


def unwrap(model: LanguageModel) -> tuple[LanguageModel, PromptStyle | None]:
    """A system's model and style; any other model as it is, with no style.

    >>> unwrap(System("m", PromptStyle("chat")))
    ('m', PromptStyle(style='chat', shots=0, seed=0, instruction='', examples=()))
    """
    if isinstance(model, System):
        return model.model, model.style
    return model, None
