"""Prompts scored as the model reads them: no token in front that its tokenizer would not put there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.word_model import WordModel, words
from steelyard.contracts import Continuation, Score
from steelyard.serving.prompt_scoring import PromptScorer

PROMPTS = [
    "The capital of France is Paris.",
    "a",
    "word",
    "",
    "one  two\n",
    "x" * 300,
]
ODD = [" a space before", "\n\n  two lines and spaces before", "🧮🧮 abacus", " "]
"""Prompts whose first token is white space or a part of a character."""


def tokens_and_logprobs(model: Any, prompt: str) -> list[float]:
    """Log P of each token but the first, by running the module on the prompt's own tokens."""
    encoded = model.tokenizer(prompt, add_special_tokens=False).input_ids
    if not encoded:
        return []
    tokens = torch.tensor([encoded])
    with torch.no_grad():
        logprobs = model.module(tokens).logits.log_softmax(-1)
    values: list[float] = logprobs[0, :-1].gather(1, tokens[0, 1:, None])[:, 0].tolist()
    return values


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Any:
    from steelyard.models.loading import load_model

    return load_model(str(tiny_folder))


def check(model: Any) -> None:
    """Every prompt gets as many tokens as its tokenizer makes of it, with the module's own values."""
    for prompt, score in zip(PROMPTS + ODD, PromptScorer(model).score(PROMPTS + ODD, 1), strict=True):
        expected = tokens_and_logprobs(model, prompt)
        assert "".join(score.tokens) == prompt
        assert len(score.tokens) == (len(expected) + 1 if prompt else 0)
        assert len(score.top) == len(score.token_logprobs) == len(score.tokens)
        if prompt not in ODD:
            assert list(score.token_logprobs[1:]) == pytest.approx(expected, abs=1e-3)


def test_a_tokenizer_that_adds_nothing(tiny: Any) -> None:
    assert tiny.tokenizer("a").input_ids == tiny.tokenizer("a", add_special_tokens=False).input_ids
    check(tiny)


@pytest.mark.real_model
def test_the_real_model(smollm2: Any) -> None:
    check(smollm2)


class Beginning(WordModel):
    """Puts a token of its own before every text."""

    def _score(self, request: Continuation, top: int) -> Score:
        return replace(super()._score(request, top), context_tokens=1 + len(words(str(request.context))))


class NoBeginning(WordModel):
    """Reads texts as they are, and tells what it scored."""

    def __init__(self) -> None:
        super().__init__()
        self.scored: list[Continuation] = []

    def _score(self, request: Continuation, top: int) -> Score:
        self.scored.append(request)
        context = words(str(request.context))
        return replace(super()._score(request, top), context_tokens=max(1, len(context)))


def test_a_tokenizer_with_a_beginning_scores_everything_after_it() -> None:
    score = PromptScorer(Beginning()).score(["so it goes"], 0)[0]
    assert (score.tokens, score.token_logprobs) == (("so", " it", " goes"), (-2.0, -3.0, -5.0))


def test_without_one_the_first_token_is_the_context() -> None:
    model = NoBeginning()
    score = PromptScorer(model).score(["so it goes", "so"], 0)
    assert [s.tokens for s in score] == [("so", " it", " goes"), ("so",)]
    assert Continuation("so", " it goes") in model.scored
    assert Continuation("", "so it goes") not in model.scored
