"""Models that score from a rule: an oracle, a constant, a random one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.contracts import Continuation, Generation, ModelCard, Score, Usage


def last_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1].content)


@dataclass
class Chooser:
    """Scores each request by ``rule(context, text)`` and writes what ``writer(prompt)`` says."""

    rule: Callable[[str, str], float]
    writer: Callable[[str], str] = lambda prompt: ""
    name: str = "chooser"

    @property
    def card(self) -> ModelCard:
        return ModelCard(self.name, fingerprint=f"print-of-{self.name}")

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        found = [self.rule(last_text(request.context), request.text) for request in requests]
        return [
            Score(value, (value,), (request.text,), len(request.text.encode()), False, context_tokens=3)
            for value, request in zip(found, requests, strict=True)
        ]

    def generate(self, prompts: Sequence[Any], sampling: Any = None) -> list[Generation]:
        return [Generation(self.writer(last_text(prompt)), usage=Usage(5, 2)) for prompt in prompts]


def uniform(context: str, text: str) -> float:
    """Every continuation alike."""
    return -1.0


def at_random(context: str, text: str) -> float:
    """A number that depends on nothing but the request's hash."""
    digest = hashlib.sha256(f"{context}\0{text}".encode()).digest()
    return -1.0 - int.from_bytes(digest[:4], "big") / 2**32


def knowing(task: Any) -> Callable[[str, str], float]:
    """An oracle of a task's letters: it finds the asked question in the prompt's end."""

    def rule(context: str, text: str) -> float:
        asked = [s for s in task.samples() if s.data["prompt"] in context]
        sample = max(asked, key=lambda s: context.rfind(s.data["prompt"]))
        return -0.1 if text.strip() == "ABCDEFGH"[sample.data["answer"]] else -5.0

    return rule
