from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steelyard.errors import InputError, SteelyardError, UsageError
from steelyard.models.embedding import embed, embed_tokens, hidden
from steelyard.models.forward import Engine
from steelyard.models.loading import load_model
from steelyard.models.pooling import Dense, Pooling
from steelyard.models.pull import pull

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


def unit(vector: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vector.float(), dim=-1).numpy()


def test_equal_texts_are_computed_once(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines("bert")
    rows = []
    forward = engine.module.base_model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        rows.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.module.base_model, "forward", counted)
    found = embed(engine, ["a", "fox", "a", "a"])
    assert sum(rows) == 2
    assert np.array_equal(found[[0, 2, 3]], np.repeat(found[:1], 3, axis=0))


@pytest.mark.parametrize("kind", ["llama", "gemma3", "mamba"])
def test_eos_pooling_appends_a_token_and_takes_its_state(engines: Any, kind: str) -> None:
    engine = engines(kind)
    end = engine.tokenizer.eos_token
    found = embed(engine, [*TEXTS, f"already{end}"], Pooling("eos"))
    for text, vector in zip([*TEXTS, "already"], found, strict=True):
        assert vector == pytest.approx(unit(states(engine, text + end)[-1]), abs=1e-4)
    ids = engine.tokenizer(TEXTS[2])["input_ids"]
    cut = embed(engine, [TEXTS[2]], Pooling("eos", max_length=6))
    kept = torch.tensor([[*ids[:5], engine.tokenizer.eos_token_id]])
    with torch.no_grad():
        expected = engine.module.base_model(input_ids=kept).last_hidden_state[0, -1]
    assert cut[0] == pytest.approx(unit(expected), abs=1e-4)


def test_prefixes_are_chosen_by_role(engines: Any) -> None:
    engine = engines("llama")
    pooling = Pooling("mean", prompts={"query": "Question: ", "passage": "Answer: "})
    asked = embed(engine, TEXTS, pooling, "query")
    read = embed(engine, TEXTS, pooling)
    assert asked == pytest.approx(embed(engine, [f"Question: {t}" for t in TEXTS]), abs=1e-5)
    assert read == pytest.approx(embed(engine, [f"Answer: {t}" for t in TEXTS]), abs=1e-5)
    assert np.abs(asked - read).max() > 0.01


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_a_prefix_can_be_left_out_of_the_pooling(engines: Any, mode: str) -> None:
    engine = engines("bert")
    pooling = Pooling(mode, prompts={"query": "Question: "}, include_prompt=False)
    length = len(engine.tokenizer("Question: ")["input_ids"])
    for text, vector in zip(TEXTS, embed(engine, TEXTS, pooling, "query"), strict=True):
        kept = states(engine, f"Question: {text}")
        kept = kept[min(length, len(kept) - 1) :]
        expected = {"mean": kept.mean(0), "cls": kept[0], "max": kept.amax(0)}[mode]
        assert vector == pytest.approx(unit(expected), abs=1e-4)


def test_dense_layers_and_lower_case_are_applied(engines: Any) -> None:
    engine = engines("bert")
    layers = (Dense(torch.randn(16, 32), torch.randn(16), "Tanh"), Dense(torch.randn(4, 16), None))
    found = embed(engine, TEXTS, Pooling("mean", dense=layers, lower_case=True))
    for text, vector in zip(TEXTS, found, strict=True):
        expected = (layers[0].weight @ states(engine, text.lower()).mean(0) + layers[0].bias).tanh()
        assert vector == pytest.approx(unit(layers[1].weight @ expected), abs=1e-4)
    assert embed(engine, [], Pooling("mean", dense=layers)).shape == (0, 4)


@pytest.mark.parametrize("kind", ["bert", "llama", "mamba", "t5"])
def test_token_vectors(engines: Any, kind: str) -> None:
    engine = engines(kind)
    pooling = Pooling("mean", prompts={"query": "Question: "})
    found = embed_tokens(engine, TEXTS, pooling, "query")
    for text, vectors in zip(TEXTS, found, strict=True):
        expected = unit(states(engine, f"Question: {text}"))
        assert vectors.dtype == np.float32
        assert vectors.shape == expected.shape
        assert vectors == pytest.approx(expected, abs=1e-4)
    assert embed_tokens(engine, []) == []
    small = Engine(engine.module, engine.tokenizer, "small", 64, batch_tokens=8)
    again = embed_tokens(small, TEXTS, pooling, "query")
    assert all(a == pytest.approx(b, abs=1e-4) for a, b in zip(again, found, strict=True))


def test_what_is_not_text_is_refused(engines: Any) -> None:
    with pytest.raises(InputError, match="text 1 is NoneType"):
        embed(engines("bert"), ["a", None])  # type: ignore[list-item]
    with pytest.raises(InputError, match="not valid Unicode"):
        embed(engines("bert"), ["a\ud800"])
    endless = copy.deepcopy(engines("llama").tokenizer)
    endless.eos_token = None
    engine = Engine(engines("llama").module, endless, "endless", 64)
    with pytest.raises(UsageError, match="needs an end-of-sequence token"):
        embed(engine, ["a"], Pooling("eos"))


@pytest.mark.real_model
def test_vectors_equal_sentence_transformers(tmp_path: Path) -> None:
    reference = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    try:
        folder = pull("minilm")
    except SteelyardError as error:
        pytest.skip(f"all-MiniLM-L6-v2 cannot be fetched here: {error}")
    model = load_model(str(folder))
    texts = [*TEXTS, "Zażółć gęślą jaźń 東京 🙂", "word " * 400, "UPPER lower", "\n\t ", "a" * 3000]
    found = model.embed(texts)
    saved = model.save(tmp_path / "saved")
    assert np.array_equal(load_model(str(saved)).embed(texts), found)
    for place in (folder, saved):
        peer = reference.SentenceTransformer(str(place), device="cpu", local_files_only=True)
        assert peer.max_seq_length == 256
        expected = peer.encode(texts, convert_to_numpy=True, normalize_embeddings=True)
        assert (1 - (found * expected).sum(axis=1)).max() < 1e-5
    states = peer.encode(texts, output_value="token_embeddings")
    for ours, theirs in zip(model.embed_tokens(texts), states, strict=True):
        assert ours == pytest.approx(unit(theirs), abs=1e-4)


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
