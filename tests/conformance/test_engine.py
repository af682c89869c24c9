"""The engine over every family: alone, batched, shuffled and packed, scores are those of the module itself."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch

from family_models import CONFIGS, build
from steelyard.contracts import Continuation
from steelyard.models.families import FAMILIES
from steelyard.models.forward import Engine
from steelyard.models.scoring import score
from tiny import tiny_tokenizer

SCORING = sorted(name for name in CONFIGS if FAMILIES[name]["kind"] != "encoder")
HEADER = "The quick brown fox jumps. "


def requests() -> list[Continuation]:
    made = [
        Continuation(f"{HEADER}Pack box {i}:", text)
        for i in (7, 8)
        for text in (" A", " B", " A dozen", " A dozen jugs", " é✓")
    ]
    made += [Continuation("", HEADER), Continuation("abc ", "x"), Continuation("abc", ""), Continuation("", "")]
    made += [made[3], Continuation("Pack my box with five dozen liquor jugs " * 4, "now")]  # again; very long
    return made


def engine_of(name: str) -> Engine:
    module = build(name, vocab_size=300)
    return Engine(module, tiny_tokenizer(), f"tiny-{name}", 60)


@torch.no_grad()
def expected(engine: Engine, request: Continuation) -> float:
    """One forward pass of the module alone, cut from the left as the context length asks."""
    tokenizer = engine.tokenizer
    context = request.context.rstrip()
    text = request.context[len(context) :] + request.text
    if not request.text:
        return 0.0
    before = tokenizer(context)["input_ids"] if context else [tokenizer.bos_token_id]
    if engine.encoder_decoder:
        after = tokenizer(text)["input_ids"]
        output = engine.module(input_ids=torch.tensor([before[-60:]]), labels=torch.tensor([after]))
        return float(sum(output.logits[0].log_softmax(-1)[range(len(after)), after]))
    after = tokenizer(context + text)["input_ids"][len(before) :] if context else tokenizer(text)["input_ids"]
    whole = [*before, *after][-61:]
    logprobs = engine.module(input_ids=torch.tensor([whole[:-1]])).logits[0].float().log_softmax(-1)
    return float(sum(logprobs[i - 1, whole[i]] for i in range(len(whole) - len(after), len(whole))))


@pytest.mark.parametrize("name", SCORING)
def test_scores_are_those_of_the_module_however_they_are_batched(name: str) -> None:
    engine = engine_of(name)
    asked = requests()
    together = score(engine, asked)
    for request, found in zip(asked, together, strict=True):
        assert found.logprob == pytest.approx(expected(engine, request), abs=1e-4)
        assert len(found.tokens) == len(found.token_logprobs)
    order = random.Random(3).sample(range(len(asked)), len(asked))
    small = dataclasses.replace(engine, batch_tokens=24)
    shuffled = dict(zip(order, score(small, [asked[i] for i in order]), strict=True))
    for index, request in enumerate(asked):
        assert shuffled[index].logprob == pytest.approx(together[index].logprob, abs=1e-4)
        assert shuffled[index].greedy == together[index].greedy
        alone = score(engine, [request])[0]
        assert alone.logprob == pytest.approx(together[index].logprob, abs=1e-4)


@pytest.mark.parametrize("name", SCORING)
def test_masks_are_taken_by_all_that_are_said_to_take_them(name: str) -> None:
    assert engine_of(name).takes_masks == bool(FAMILIES[name].get("packed_masks"))


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3_text", "mistral", "gpt2"])
def test_no_token_is_computed_twice(name: str) -> None:
    engine = engine_of(name)
    passed: list[Any] = []
    score(engine, requests()[:10])  # what is found by trying is tried here
    handle = engine.module.register_forward_pre_hook(
        lambda _, __, given: passed.append(given["input_ids"]), with_kwargs=True
    )
    score(engine, requests()[:10])
    handle.remove()
    tokenizer = engine.tokenizer
    inputs = {tuple(tokenizer(r.context + r.text)["input_ids"][:-1]) for r in requests()[:10]}
    nodes = {tokens[: end + 1] for tokens in inputs for end in range(len(tokens))}
    assert sum(ids.numel() for ids in passed) == len(nodes)
