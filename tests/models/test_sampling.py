from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.contracts import Sampling
from steelyard.models.answers import Answer
from steelyard.models.generation import generate
from steelyard.models.sampling import Chooser, choose, kept, penalise, random_numbers, sample

CUTS = [
    Sampling(temperature=0.7, top_k=5),
    Sampling(temperature=1.3, top_p=0.8),
    Sampling(temperature=1.0, min_p=0.1),
    Sampling(temperature=0.9, top_k=20, top_p=0.7),
    Sampling(temperature=1.1, top_k=30, top_p=0.9, min_p=0.05),
    Sampling(temperature=2.0, top_p=0.999, min_p=0.3),
    Sampling(temperature=1.0, top_p=1e-6),
    Sampling(temperature=1.0, top_k=10_000, min_p=1.0),
]


def warped(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities that transformers' own processors leave, in the order in which its ``generate`` puts them."""
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = logits.double().unsqueeze(0)
    ids = torch.zeros(1, 1, dtype=torch.long)
    scores = TemperatureLogitsWarper(sampling.temperature)(ids, scores)
    scores = TopKLogitsWarper(sampling.top_k)(ids, scores) if sampling.top_k else scores
    scores = TopPLogitsWarper(sampling.top_p)(ids, scores) if sampling.top_p < 1 else scores
    scores = MinPLogitsWarper(sampling.min_p)(ids, scores) if sampling.min_p else scores
    return scores.softmax(-1)[0]


@pytest.mark.parametrize("sampling", CUTS)
@pytest.mark.parametrize("spread", [0.1, 3.0])  # nearly flat: more is kept than is looked at first
def test_cuts_keep_what_transformers_keeps(sampling: Sampling, spread: float) -> None:
    logits = torch.randn(3, 700, generator=torch.Generator().manual_seed(1)) * spread
    for row in logits:
        expected = warped(row, sampling)
        probabilities, tokens = kept((row / sampling.temperature).double(), sampling)
        assert set(tokens.tolist()) == set(expected.nonzero().flatten().tolist())
        found = torch.zeros(700, dtype=torch.float64).index_put_((tokens,), probabilities / probabilities.sum())
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("sampling", CUTS[:6])
def test_draws_follow_the_distribution_that_is_left(sampling: Sampling) -> None:
    logits = torch.randn(40, generator=torch.Generator().manual_seed(2)) * 2
    expected = warped(logits, sampling)
    generator = torch.Generator().manual_seed(0)
    count = 4000
    draws = torch.tensor([sample(logits, sampling, generator) for _ in range(count)])
    shares = draws.bincount(minlength=40) / count
    assert not bool((shares[expected == 0] > 0).any())
    assert torch.allclose(shares.double(), expected, atol=4 * math.sqrt(0.25 / count))


def test_a_tokens_place_in_the_uniform_numbers() -> None:
    logits = torch.tensor([0.0, -math.inf, math.log(3.0), -math.inf])
    generator = torch.Generator().manual_seed(5)
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    draws = [sample(logits, Sampling(temperature=1.0), generator) for _ in range(50)]
    assert draws == [0 if number < 0.25 else 2 for number in uniform.tolist()]


@given(st.lists(st.integers(0, 19), min_size=1, max_size=30), st.floats(0.5, 3.0))
@settings(max_examples=30, deadline=None)
def test_repetition_penalty_is_that_of_transformers(tokens: list[int], penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.randn(20, generator=torch.Generator().manual_seed(len(tokens)))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([tokens]), logits.unsqueeze(0))[0]
    penalise(logits, torch.tensor(list(dict.fromkeys(tokens))), penalty)
    assert torch.allclose(logits, expected)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bloom", "t5"])
def test_penalised_greedy_answers_are_those_of_transformers(engines: Any, kind: str) -> None:
    engine = engines(kind)
    prompts = ["The quick brown fox", "é", "The quick"]
    answers = generate(engine, prompts, Sampling(max_tokens=16, repetition_penalty=1.7))
    plain = generate(engine, prompts, Sampling(max_tokens=16))
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([engine.tokenizer(prompt)["input_ids"]])
        made = engine.module.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            repetition_penalty=1.7,
        )[0]
        expected = made[1:] if engine.encoder_decoder else made[ids.shape[1] :]
        assert answer.text == engine.tokenizer.decode(expected, skip_special_tokens=True)
    assert [answer.text for answer in answers] != [answer.text for answer in plain]


def test_rows_of_all_kinds_are_chosen_as_they_are_alone() -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(3))
    samplings = [Sampling(), Sampling(temperature=1.0), Sampling(temperature=1.0, top_k=3), Sampling(min_p=0.5)]

    def choosers() -> list[Chooser]:
        return [
            Chooser(s, random_numbers(s.seed, (1, 2)) if s.temperature else None, [3] if s.min_p else None, None)
            for s in samplings
        ]

    before = logits.clone()
    alone = [choose(logits[row : row + 1], [chooser])[0] for row, chooser in enumerate(choosers())]
    assert choose(logits, choosers()) == alone
    assert torch.equal(logits, before)


def test_each_prompt_has_its_own_sampling(engines: Any) -> None:
    engine = engines("llama")
    each = [
        Sampling(max_tokens=3),
        Sampling(max_tokens=9, logprobs=2),
        Sampling(max_tokens=5, temperature=1.0, seed=8, min_p=0.02, logprobs=4),
        Sampling(max_tokens=0),
        Sampling(max_tokens=7, repetition_penalty=2.0),
    ]
    prompts = ["The quick"] * 5
    together = generate(engine, prompts, each)
    for prompt, sampling, answer in zip(prompts, each, together, strict=True):
        alone = generate(engine, [prompt], sampling)[0]
        assert alone.tokens == answer.tokens
        assert [len(top) for top in answer.top] == [sampling.logprobs] * len(answer.tokens) * bool(answer.top)
        assert bool(answer.top) == bool(sampling.logprobs)


def test_sampled_logprobs_are_the_models_own(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, taken = engines("llama"), []
    original = Answer.take

    def take(self: Answer, token: int, logprob: float, *rest: Any) -> None:
        taken.append((token, logprob))
        original(self, token, logprob, *rest)

    monkeypatch.setattr(Answer, "take", take)
    generate(engine, ["The quick"], Sampling(max_tokens=6, temperature=2.0, top_k=9, repetition_penalty=1.5))
    ids = engine.tokenizer("The quick")["input_ids"]
    whole = ids + [token for token, _ in taken]
    with torch.no_grad():
        logprobs = engine.module(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    for place, (token, logprob) in enumerate(taken, len(ids) - 1):
        assert logprob == pytest.approx(float(logprobs[place, token]), abs=1e-4)
