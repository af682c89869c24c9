from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from steelyard.errors import InputError, UsageError
from steelyard.models.checkpoint_files import Pooling
from steelyard.models.embedding import embed, hidden
from steelyard.models.forward import Engine

TEXTS = ["The quick brown fox", "a", "Pack my box with five dozen liquor jugs", "", "é"]


def states(engine: Any, text: str) -> torch.Tensor:
    """Final hidden states of one text, unpadded: (tokens, width)."""
    ids = torch.tensor([engine.tokenizer(text)["input_ids"] or [1]])
    body = engine.module.get_encoder() if engine.encoder_decoder else engine.module.base_model
    with torch.no_grad():
        return body(input_ids=ids).last_hidden_state[0]


@pytest.mark.parametrize("kind", ["bert", "llama", "gemma3", "gpt2", "mamba", "t5"])
@pytest.mark.parametrize("mode", ["mean", "cls", "last", "max"])
def test_vectors_equal_pooling_one_text_at_a_time(engines: Any, kind: str, mode: str) -> None:
    engine = engines(kind)
    pools = {
        "mean": lambda s: s.mean(0),
        "cls": lambda s: s[0],
        "last": lambda s: s[-1],
        "max": lambda s: s.amax(0),
    }
    found = embed(engine, TEXTS, Pooling(mode, True))
    assert found.dtype == np.float32
    for text, vector in zip(TEXTS, found, strict=True):
        expected = pools[mode](states(engine, text))
        expected = (expected / expected.norm()).numpy()
        assert vector == pytest.approx(expected, abs=1e-4)


def test_batching_does_not_matter_and_nothing_is_fine(engines: Any) -> None:
    engine = engines("bert")
    small = Engine(engine.module, engine.tokenizer, "small", 64, batch_tokens=8)
    assert embed(small, TEXTS) == pytest.approx(embed(engine, TEXTS), abs=1e-5)
    assert embed(engine, []).shape == (0, 32)


def test_long_texts_are_cut_on_the_right_and_that_is_logged(
    engines: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engines("bert")
    text = "The quick brown fox jumps over the lazy dog. " * 4
    kept = engine.tokenizer.decode(engine.tokenizer(text)["input_ids"][:10])
    with caplog.at_level(logging.WARNING, logger="steelyard"):
        found = embed(engine, [text], Pooling("mean", True, 10))
    assert found == pytest.approx(embed(engine, [kept]), abs=1e-5)
    assert "first 10" in caplog.text


def test_unknown_pooling_is_refused(engines: Any) -> None:
    with pytest.raises(UsageError, match="median"):
        embed(engines("bert"), ["a"], Pooling("median", True))


@pytest.mark.parametrize("kind", ["llama", "bert", "gpt2", "mamba"])
def test_hidden_states_equal_transformers(engines: Any, kind: str) -> None:
    engine = engines(kind)
    texts = [text for text in TEXTS if text]
    for text, found in zip(texts, hidden(engine, texts), strict=True):
        ids = torch.tensor([engine.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            expected = engine.module(input_ids=ids, output_hidden_states=True).hidden_states
        assert found.dtype == np.float32
        assert found.shape == (len(expected), ids.shape[1], 32)
        assert found == pytest.approx(torch.cat(expected).numpy(), abs=1e-4)
    chosen = hidden(engine, texts, [0, -1])
    everything = hidden(engine, texts)
    assert all(np.array_equal(a, b[[0, -1]]) for a, b in zip(chosen, everything, strict=True))


def test_hidden_refuses_what_it_cannot_do(engines: Any) -> None:
    engine = engines("llama")
    with pytest.raises(UsageError, match="0 to 3"):
        hidden(engine, ["a"], [4])
    short = Engine(engine.module, engine.tokenizer, "short", 4)
    with pytest.raises(InputError, match="text 1"):
        hidden(short, ["a", "The quick brown fox jumps over"])
