from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch

from steelyard.contracts import Sampling
from steelyard.models import recorded_step
from steelyard.models.forward import Engine
from steelyard.models.generation import generate
from tiny import tiny_tokenizer

PROMPTS = ["The quick", "é", "Question: What is the capital of France?\nAnswer:"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_step, "STEPS_BEFORE", 2)


def fresh(engine: Engine) -> Engine:
    """An engine of its own around a copy of the module, which records after the first step."""
    return Engine(copy.deepcopy(engine.module), tiny_tokenizer(), "fresh", 512)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "opt", "neox"])
def test_a_recorded_step_writes_the_same(engines: Any, kind: str) -> None:
    each = [Sampling(max_tokens=count, logprobs=1) for count in (20, 12, 30)]  # rows leave, columns grow
    plain = engines(kind)
    plain.recorder.steps = -(10**9)
    expected = generate(plain, PROMPTS, each)
    engine = fresh(plain)
    found = generate(engine, PROMPTS, each)
    assert engine.recorder.recorded is not None
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.text == theirs.text
        assert mine.token_logprobs == pytest.approx(theirs.token_logprobs, abs=1e-4)
    plain.recorder.steps = 0


def test_changed_weights_and_parts_are_felt(engines: Any) -> None:
    engine = fresh(engines("llama"))
    before = generate(engine, PROMPTS, Sampling(max_tokens=12))
    with torch.no_grad():
        engine.module.lm_head.weight.neg_()
    after = generate(engine, PROMPTS, Sampling(max_tokens=12))
    assert before != after
    assert [a.text for a in after] == [a.text for a in generate(fresh(engine), PROMPTS, Sampling(max_tokens=12))]
    first = engine.recorder.recorded
    engine.module.model.layers[1].mlp = copy.deepcopy(engine.module.model.layers[0].mlp)
    other = generate(engine, PROMPTS, Sampling(max_tokens=12))
    assert engine.recorder.recorded is not first
    assert [a.text for a in other] == [a.text for a in generate(fresh(engine), PROMPTS, Sampling(max_tokens=12))]


def test_hooks_are_never_recorded(engines: Any) -> None:
    engine = fresh(engines("llama"))
    seen = []
    engine.module.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    generate(engine, PROMPTS[:1], Sampling(max_tokens=9, stop=("\x00",)))
    assert engine.recorder.recorded is None
    assert len(seen) >= 9


def test_what_records_wrongly_is_not_used(engines: Any, caplog: pytest.LogCaptureFixture) -> None:
    engine = fresh(engines("llama"))

    class Deceptive(torch.nn.Module):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden * (2.0 if torch.jit.is_tracing() else 1.0)

    engine.module.model.norm = Deceptive()
    with caplog.at_level(logging.INFO):
        answers = generate(engine, PROMPTS[:2], Sampling(max_tokens=8))
    assert engine.recorder.recorded is None
    assert "gives other numbers" in caplog.text
    assert answers[0].text == generate(fresh(engine), PROMPTS[:2], Sampling(max_tokens=8))[0].text
