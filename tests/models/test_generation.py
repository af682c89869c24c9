from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Message, Sampling
from steelyard.errors import CapabilityError, InputError, ModelError, UsageError
from steelyard.models.answers import end_tokens
from steelyard.models.detokenizing import Detokenizer, find_stop, held_back
from steelyard.models.forward import Engine
from steelyard.models.generation import generate, stream
from steelyard.models.sampling import sample
from streams import summary_of
from tiny import tiny_tokenizer

SHARED = "Question: What is the capital of France?\nAnswer: Paris " * 3
PROMPTS = ["The quick", SHARED + "a", SHARED + "bcde fox", "", "é"]
KINDS = ("llama", "gemma2", "gemma3", "gpt2", "opt", "bloom", "neox", "mamba", "t5")


def reference(engine: Engine, prompt: str, count: int) -> list[int]:
    """The new tokens of transformers' own greedy generation."""
    ids = engine.tokenizer(prompt)["input_ids"] or [1]
    inputs = torch.tensor([ids])
    output = engine.module.generate(
        input_ids=inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=count, do_sample=False
    )[0].tolist()
    return output[1:] if engine.encoder_decoder else output[len(ids) :]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_transformers_alone_and_in_a_batch(engines: Any, kind: str) -> None:
    engine = engines(kind)
    settings = Sampling(max_tokens=24)
    together = generate(engine, PROMPTS, settings)
    alone = [generate(engine, [prompt], settings)[0] for prompt in PROMPTS]
    pair = generate(engine, PROMPTS[1:3], settings)
    assert [g.text for g in pair] == [g.text for g in alone[1:3]]
    for prompt, batched, single in zip(PROMPTS, together, alone, strict=True):
        expected = reference(engine, prompt, 24)
        text = engine.tokenizer.decode(expected, skip_special_tokens=True)
        assert batched.text == single.text == text
        assert "".join(batched.tokens) == text
        assert batched.usage.completion_tokens == len(expected)
        assert batched.token_logprobs == pytest.approx(single.token_logprobs, abs=1e-4)
        assert batched.finish_reason == ("stop" if expected[-1] == 2 else "length")


def ending_module(end_after: int) -> Any:
    """A Llama whose head makes it write tokens 40, 41, ... and then the end token."""
    from transformers import LlamaForCausalLM

    from tiny import tiny_config

    class Counting(LlamaForCausalLM):
        def forward(self, input_ids: Any = None, **kwargs: Any) -> Any:
            output = super().forward(input_ids=input_ids, **kwargs)
            last = input_ids[:, -output.logits.shape[1] :] if output.logits.shape[0] != 1 else input_ids[:, -1:].T
            wanted = torch.where(last >= 40 + end_after, 2, last + 1).reshape(output.logits.shape[:2])
            output.logits = torch.nn.functional.one_hot(wanted, 300).float() * 50
            return output

    return Counting(tiny_config(num_hidden_layers=1)).eval()


def test_rows_leave_the_batch_when_they_end() -> None:
    engine = Engine(ending_module(6), tiny_tokenizer(), "counting", 64)
    tokenizer = engine.tokenizer
    starts = [tokenizer.decode([token]) for token in (40, 43, 45)]
    answers = generate(engine, starts, Sampling(max_tokens=20))
    for start, answer in zip((40, 43, 45), answers, strict=True):
        assert answer.text == tokenizer.decode(list(range(start + 1, 47)))
        assert answer.finish_reason == "stop"
        assert answer.usage.completion_tokens == 47 - start
        assert answer.logprob == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "mamba"])
def test_stream_joins_to_the_whole_answer(engines: Any, kind: str) -> None:
    engine = engines(kind)
    whole = generate(engine, ["The quick"], Sampling(max_tokens=40))[0]
    stop = whole.text[9:12]
    for settings in (Sampling(max_tokens=40), Sampling(max_tokens=40, stop=(stop,)), Sampling(max_tokens=0)):
        parts = list(stream(engine, "The quick", settings))
        assert summary_of(parts) == generate(engine, ["The quick"], settings)[0]
        assert all(part.finish_reason is None for part in parts[:-1])
        assert parts[-1].finish_reason is not None
        assert all(part.text for part in parts[:-1])


def test_stop_strings_cut_across_tokens(engines: Any) -> None:
    engine = engines("llama")
    whole = generate(engine, ["The quick"], Sampling(max_tokens=40))[0]
    stop = whole.text[7:11]
    cut = generate(engine, ["The quick"], Sampling(max_tokens=40, stop=("never", stop)))[0]
    place = whole.text.find(stop)
    assert cut.text == whole.text[:place]
    assert cut.finish_reason == "stop"
    assert "".join(cut.tokens) == cut.text
    assert len(cut.tokens) == len(cut.token_logprobs)
    assert cut.usage.completion_tokens < 40


def test_a_seed_gives_the_same_sample_in_any_batch(engines: Any) -> None:
    for kind in ("llama", "gemma3", "mamba"):
        engine = engines(kind)
        settings = Sampling(max_tokens=12, temperature=1.0, top_p=0.9, seed=3)
        together = [g.text for g in generate(engine, PROMPTS, settings)]
        assert together == [generate(engine, [prompt], settings)[0].text for prompt in PROMPTS]
        other = Sampling(max_tokens=12, temperature=1.0, top_p=0.9, seed=4)
        assert together != [g.text for g in generate(engine, PROMPTS, other)]


def test_sampling_follows_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    generator = torch.Generator().manual_seed(0)
    draws = [sample(logits, Sampling(temperature=2.0), generator) for _ in range(4000)]
    shares = [draws.count(token) / 4000 for token in range(4)]
    assert shares == pytest.approx((logits / 2).softmax(-1).tolist(), abs=0.03)
    assert {sample(logits, Sampling(temperature=1.0, top_k=2), generator) for _ in range(300)} == {0, 1}
    assert {sample(logits, Sampling(temperature=1.0, top_p=0.8), generator) for _ in range(300)} == {0, 1}
    assert {sample(logits, Sampling(temperature=1.0, top_p=0.1), generator) for _ in range(50)} == {0}


def test_logprobs_equal_scores_of_the_same_tokens(engines: Any) -> None:
    engine = engines("gpt2")
    answer = generate(engine, ["The quick"], Sampling(max_tokens=8, logprobs=3))[0]
    ids = engine.tokenizer("The quick")["input_ids"]
    new = reference(engine, "The quick", 8)
    with torch.no_grad():
        logprobs = engine.module(input_ids=torch.tensor([ids + new])).logits[0].log_softmax(-1)
    expected = [float(logprobs[len(ids) - 1 + i, token]) for i, token in enumerate(new) if token != 2]
    assert answer.token_logprobs == pytest.approx(expected, abs=1e-4)
    assert answer.logprob == pytest.approx(math.fsum(expected), abs=1e-3)
    assert all(
        len(top) == 3 and max(top.values()) == pytest.approx(e, abs=1e-4)
        for top, e in zip(answer.top, expected, strict=True)
    )


def test_context_overflow(engines: Any) -> None:
    engine = engines("llama")
    short = Engine(engine.module, engine.tokenizer, "short", 20)
    ids = engine.tokenizer(SHARED)["input_ids"]
    answer = generate(short, [SHARED], Sampling(max_tokens=8))[0]
    assert answer.usage.prompt_tokens == 12
    assert answer.text == generate(engine, [engine.tokenizer.decode(ids[-12:])], Sampling(max_tokens=8))[0].text
    with pytest.raises(InputError, match="max_tokens 20"):
        generate(short, ["a"], Sampling(max_tokens=20))


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(max_tokens=-1),
        Sampling(temperature=-0.1),
        Sampling(temperature=math.inf),
        Sampling(top_p=0.0),
        Sampling(top_p=1.5),
        Sampling(top_k=-1),
        Sampling(stop=("",)),
    ],
)
def test_meaningless_settings_are_refused(engines: Any, settings: Sampling) -> None:
    with pytest.raises(UsageError, match="sampling"):
        generate(engines("llama"), ["a"], settings)


def test_conversations_need_a_chat_template(engines: Any) -> None:
    import copy

    engine = engines("llama")
    chat = [Message("user", "What?")]
    raw = "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    answers = generate(engine, [chat, raw], Sampling(max_tokens=6))
    assert answers[0].tokens == answers[1].tokens
    assert answers[0].token_logprobs == pytest.approx(answers[1].token_logprobs, abs=1e-4)
    bare = copy.deepcopy(engine.tokenizer)
    bare.chat_template = None
    with pytest.raises(CapabilityError, match="chat template"):
        generate(Engine(engine.module, bare, "bare", 512), [chat], Sampling(max_tokens=6))


def test_end_tokens_come_from_everywhere(engines: Any) -> None:
    assert end_tokens(engines("llama")) == {0, 2}  # <|endoftext|> and <|im_end|>


def test_not_a_number_is_an_error() -> None:
    from transformers import LlamaForCausalLM

    from tiny import tiny_config

    module = LlamaForCausalLM(tiny_config(num_hidden_layers=1)).eval()
    with torch.no_grad():
        module.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        generate(Engine(module, tiny_tokenizer(), "broken", 64), ["a"], Sampling(max_tokens=2))


@given(st.text(max_size=30))
def test_detokenizer_pieces_join_to_the_text(text: str) -> None:
    tokenizer = tiny_tokenizer()
    text = text.replace("\ufffd", "")
    detokenizer = Detokenizer(tokenizer, tokenizer("abc")["input_ids"])
    pieces = [detokenizer.push(token) for token in tokenizer(text)["input_ids"]]
    assert "".join(pieces) + detokenizer.flush() == text
    assert not any("\ufffd" in piece for piece in pieces)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_what_is_sent_never_contains_the_start_of_a_stop(text: str, stops: list[str]) -> None:
    sent = ""
    for end in range(len(text) + 1):
        so_far = text[:end]
        place = find_stop(so_far, stops)
        if place is not None:
            assert len(sent) <= place
            return
        sent = so_far[: len(so_far) - held_back(so_far, stops)]


@pytest.mark.real_model
def test_smollm2_greedy_equals_transformers(smollm2: Any) -> None:
    prompts = [
        "The capital of France is",
        "Once upon a time there was a small dog who",
        "The capital of France is",
    ]
    prompts[2] += " is Paris, and the food is good. " * 6 + "The capital of Italy is"
    settings = Sampling(max_tokens=16)
    together = smollm2.generate(prompts, settings)
    for prompt, answer in zip(prompts, together, strict=True):
        expected = reference(smollm2.engine, prompt, 16)
        assert answer.text == smollm2.tokenizer.decode(expected, skip_special_tokens=True)
        assert smollm2.generate([prompt], settings)[0].text == answer.text
    parts = list(smollm2.stream(prompts[0], settings))
    assert "".join(part.text for part in parts) == together[0].text
