from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steelyard.contracts import Continuation, Message
from steelyard.errors import CapabilityError, InputError, ModelError
from steelyard.models.forward import Engine
from steelyard.models.requests import encode_continuation, rolling_windows
from steelyard.models.scoring import score

HEADER = "Question: What is the capital of France?\nAnswer: Paris\n\n"
DECODERS = ("llama", "gemma2", "gemma3", "gpt2", "opt", "bloom", "neox", "mamba")


def requests() -> list[Continuation]:
    """Shared contexts, nested continuations, repeats, trailing spaces, empty contexts, non-ASCII text."""
    made = [
        Continuation(f"{HEADER}Question: pack {i} my box with {'dozen ' * i}?\nAnswer:", choice)
        for i in range(4)
        for choice in (" fox", " fox jumps", " lazy dog", " Paris")
    ]
    made += [Continuation("", "The quick brown fox. " * 8), Continuation("", "é — naïve ✓")]
    made += [
        Continuation("abc ", " x"),
        Continuation("abc ", " x"),
        Continuation(" \n", "y"),
        Continuation("a", "b"),
    ]
    return made


def reference(module: Any, tokenizer: Any, request: Continuation) -> float:
    """The rules in the plainest form: one full forward pass a request."""
    context = request.context.rstrip()
    text = request.context[len(context) :] + request.text
    ids = tokenizer(context)["input_ids"] if context else [tokenizer.bos_token_id]
    whole = tokenizer(context + text)["input_ids"] if context else ids + tokenizer(text)["input_ids"]
    with torch.no_grad():
        logprobs = module(input_ids=torch.tensor([whole])).logits[0].float().log_softmax(-1)
    return sum(float(logprobs[i - 1, whole[i]]) for i in range(len(ids), len(whole)))


@pytest.mark.parametrize("kind", DECODERS)
def test_scores_equal_one_full_forward_pass_each(engines: Any, kind: str) -> None:
    engine = engines(kind)
    scores = score(engine, requests())
    for request, found in zip(requests(), scores, strict=True):
        assert found.logprob == pytest.approx(reference(engine.module, engine.tokenizer, request), abs=1e-4)
        assert len(found.token_logprobs) == len(found.tokens)
        assert found.utf8_bytes == len(request.text.encode())


@pytest.mark.parametrize("kind", DECODERS)
def test_scores_do_not_depend_on_batching_or_order(engines: Any, kind: str) -> None:
    engine = engines(kind)
    asked = requests()
    alone = [score(engine, [request])[0] for request in asked]
    order = list(range(len(asked)))
    random.Random(1).shuffle(order)
    small = Engine(engine.module, engine.tokenizer, "small", 512, batch_tokens=40)
    for using in (engine, small):
        shuffled = dict(zip(order, score(using, [asked[i] for i in order]), strict=True))
        for index, expected in enumerate(alone):
            assert shuffled[index].logprob == pytest.approx(expected.logprob, abs=1e-4)
            assert shuffled[index].tokens == expected.tokens
            assert shuffled[index].greedy == expected.greedy


def test_pieces_join_to_the_text(engines: Any) -> None:
    for request, found in zip(requests(), score(engines("llama"), requests()), strict=True):
        spaces = request.context[len(request.context.rstrip()) :]
        assert "".join(found.tokens) == spaces + request.text


def test_greedy_and_top_agree_with_the_logits(engines: Any) -> None:
    engine = engines("llama")
    context = engine.tokenizer("The quick")["input_ids"]
    with torch.no_grad():
        logits = engine.module(input_ids=torch.tensor([context])).logits[0, -1]
    best = engine.tokenizer.decode([int(logits.argmax())])
    first, other = score(engine, [Continuation("The quick", " brown"), Continuation("The quick", "\x00")], top=3)
    values = logits.log_softmax(-1).sort(descending=True).values[:3]
    assert list(first.top[0].values()) == pytest.approx(values.tolist(), abs=1e-4)
    assert first.greedy == (best == " brown")
    assert len(other.top) == len(other.tokens)
    winner = next(iter(first.top[0]))
    if winner == best:
        assert score(engine, [Continuation("The quick", best)])[0].greedy


@pytest.mark.parametrize("kind", ["llama", "gemma2", "t5"])
def test_ranks_and_entropies_agree_with_the_distributions(engines: Any, kind: str) -> None:
    engine = engines(kind)
    asked = [Continuation("The quick", " brown fox"), Continuation("The quick", " dog"), Continuation("a", "")]
    for request, found in zip(asked, score(engine, asked, detail=True), strict=True):
        if not request.text:
            assert (found.ranks, found.entropies) == ((), ())
            continue
        context, text = engine.tokenizer(request.context)["input_ids"], engine.tokenizer(request.text)["input_ids"]
        with torch.no_grad():
            if engine.encoder_decoder:
                logits = engine.module(input_ids=torch.tensor([context]), labels=torch.tensor([text])).logits[0]
            else:
                logits = engine.module(input_ids=torch.tensor([context + text])).logits[0, len(context) - 1 : -1]
        logprobs = logits.log_softmax(-1)
        order = logprobs.argsort(-1, descending=True).tolist()
        assert list(found.ranks) == [row.index(token) for row, token in zip(order, text, strict=True)]
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        assert list(found.entropies) == pytest.approx(entropies.tolist(), abs=1e-4)
    assert score(engine, asked)[0].ranks == ()


def test_chunks_cut_between_contexts_and_lose_nothing(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import steelyard.models.scoring as scoring

    engine = engines("llama")
    asked = [Continuation(f"{HEADER}{i % 5}?", f" {i}") for i in range(40)]
    whole = score(engine, asked)
    monkeypatch.setattr(scoring, "CHUNK", 5)
    parts = list(scoring.chunks(asked))
    assert sorted(place for part in parts for place in part) == list(range(40))
    assert all(len({asked[place].context for place in part}) == 1 for part in parts)
    assert len(parts) == 5
    for one, other in zip(whole, score(engine, asked), strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_long_texts_are_scored_in_rolling_windows(engines: Any) -> None:
    engine = engines("llama")
    short = Engine(engine.module, engine.tokenizer, "short", 16)
    text = "Pack my box with five dozen liquor jugs. " * 3
    tokens = engine.tokenizer(text)["input_ids"]
    expected = 0.0
    for start in range(0, len(tokens), 16):
        end = min(start + 16, len(tokens))
        inputs = ([1, *tokens])[max(0, end - 16) : end] if start else [1, *tokens[: end - 1]]
        with torch.no_grad():
            logprobs = engine.module(input_ids=torch.tensor([inputs])).logits[0].log_softmax(-1)
        for back, token in enumerate(reversed(tokens[start:end])):
            expected += float(logprobs[-1 - back, token])
    found = score(short, [Continuation("", text)])[0]
    assert found.logprob == pytest.approx(expected, abs=1e-3)
    assert len(found.token_logprobs) == len(tokens)
    assert "".join(found.tokens) == text


def test_long_context_is_cut_from_the_left(engines: Any) -> None:
    engine = engines("llama")
    short = Engine(engine.module, engine.tokenizer, "short", 12)
    context, text = "The quick brown fox jumps over the lazy dog. " * 3, " Paris"
    whole = engine.tokenizer(context.rstrip() + " " + text)["input_ids"]
    size = len(whole) - len(engine.tokenizer(context.rstrip())["input_ids"])
    kept = whole[-13:]
    with torch.no_grad():
        logprobs = engine.module(input_ids=torch.tensor([kept[:-1]])).logits[0].log_softmax(-1)
    expected = sum(float(logprobs[i - 1, kept[i]]) for i in range(13 - size, 13))
    assert score(short, [Continuation(context, text)])[0].logprob == pytest.approx(expected, abs=1e-4)


def test_continuation_longer_than_the_context_is_refused(engines: Any) -> None:
    engine = engines("llama")
    short = Engine(engine.module, engine.tokenizer, "short", 8)
    with pytest.raises(InputError, match="rolling windows"):
        score(short, [Continuation("The quick brown", " fox jumps over the lazy dog" * 3)])


def test_a_long_text_in_stretches_equals_one_pass(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import steelyard.models.forward as forward

    for kind in ("llama", "gemma3"):
        engine = engines(kind)
        text = "The quick brown fox jumps over the lazy dog. " * 8
        whole = score(engine, [Continuation("", text)])[0].logprob
        monkeypatch.setattr(forward, "LOGIT_ELEMENTS", 300 * 64)
        limited = Engine(engine.module, engine.tokenizer, "limited", 512)
        assert limited.logit_rows == 64
        assert score(limited, [Continuation("", text)])[0].logprob == pytest.approx(whole, abs=1e-3)
        monkeypatch.undo()


def test_conversation_is_rendered_without_more_special_tokens(engines: Any) -> None:
    engine = engines("llama")
    rendered = "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    chat = score(engine, [Continuation([Message("user", "What?")], "Paris")])[0]
    raw = score(engine, [Continuation(rendered, "Paris")])[0]
    assert chat.logprob == pytest.approx(raw.logprob, abs=1e-5)
    assert chat.context_tokens == len(engine.tokenizer(rendered.rstrip(), add_special_tokens=False)["input_ids"])


def test_empty_text_costs_nothing_and_empty_conversation_is_refused(engines: Any) -> None:
    engine = engines("llama")
    assert score(engine, [Continuation("abc", "")])[0].logprob == 0.0
    assert score(engine, []) == []
    with pytest.raises(InputError, match="non-empty"):
        score(engine, [Continuation([], "x")])


def test_text_that_starts_with_the_prefix_token_is_not_given_another(engines: Any) -> None:
    encoded = encode_continuation(engines("llama").tokenizer, Continuation("", "<|im_start|>user"))
    assert encoded.context == (1,)
    assert 1 not in encoded.target


def test_not_a_number_names_model_and_request() -> None:
    from transformers import LlamaForCausalLM

    from tiny import tiny_config, tiny_tokenizer

    module = LlamaForCausalLM(tiny_config(num_hidden_layers=1)).eval()
    with torch.no_grad():
        module.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"broken.*' fox'"):
        score(Engine(module, tiny_tokenizer(), "broken", 64), [Continuation("The", " fox")])


def test_model_without_next_token_probabilities(engines: Any) -> None:
    with pytest.raises(CapabilityError, match="score"):
        score(engines("bert"), [Continuation("a", " b")])


def test_encoder_decoder_reads_the_context_in_its_encoder(engines: Any) -> None:
    engine = engines("t5")
    asked = requests()
    for request, found in zip(asked, score(engine, asked, top=2), strict=True):
        context = request.context.rstrip()
        text = request.context[len(context) :] + request.text
        source = engine.tokenizer(context)["input_ids"] or [1]
        target = engine.tokenizer(text)["input_ids"]
        with torch.no_grad():
            output = engine.module(input_ids=torch.tensor([source]), labels=torch.tensor([target]))
        logprobs = output.logits[0].log_softmax(-1)
        assert found.logprob == pytest.approx(sum(float(logprobs[i, t]) for i, t in enumerate(target)), abs=1e-3)
        assert len(found.top) == len(target)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 12))
def test_rolling_windows_predict_each_token_once(tokens: list[int], length: int) -> None:
    windows = rolling_windows(tokens, 99, length)
    assert [t for w in windows for t in w.target] == tokens
    seen = 0
    for window in windows:
        inputs = (window.context + window.target)[:-1]
        assert window.context
        assert len(inputs) <= length
        end = seen + len(window.target)
        assert inputs == tuple(([99, *tokens])[end - len(inputs) : end])
        seen = end
    assert all(len((w.context + w.target)[:-1]) == length for w in windows[:-1])


@pytest.mark.real_model
def test_smollm2_scores_equal_plain_transformers(smollm2: Any) -> None:
    asked = [
        Continuation("The capital of France is", " Paris"),
        Continuation("The capital of France is", " London, of course"),
        Continuation("", "Water boils at a hundred degrees. Äther — ✓"),
        Continuation([Message("user", "Name a colour.")], "Blue"),
    ]
    scores = smollm2.score(asked)
    for request, found in list(zip(asked, scores, strict=True))[:3]:
        assert found.logprob == pytest.approx(reference(smollm2.module, smollm2.tokenizer, request), abs=1e-3)
        assert "".join(found.tokens) == request.text
    assert scores[0].greedy
    assert smollm2.score(asked[1:2])[0].logprob == pytest.approx(scores[1].logprob, abs=1e-4)
