from __future__ import annotations

import base64
import json
import math
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steelyard.contracts import Continuation, Interval
from steelyard.errors import CapabilityError, InputError, ModelError, UsageError
from steelyard.evaluation.benchmarks.compression.arithmetic_coding import compress, decompress
from steelyard.evaluation.benchmarks.compression.code_lengths import (
    byte_tokens,
    code_lengths,
    coding_windows,
    tokens_of,
)
from steelyard.evaluation.benchmarks.compression.compression_evaluation import compression_evaluation, ratio_gap
from steelyard.evaluation.benchmarks.compression.dated_documents import Document, read_documents
from steelyard.models.loading import load_model
from steelyard.models.ngrams.generalized_skip_ngram_lm import generalized_skip_ngram_lm
from steelyard.models.scripted import ScriptedModel

FILE = Path(__file__).parents[1] / "fixtures" / "dated.jsonl"
TEXT = "The quick brown fox jumps over the lazy dog. Größe: 12 µm\n\n  \t✓ 𝄞"
BINARY = bytes(range(256)) + random.Random(0).randbytes(40)


@pytest.fixture
def model(tiny_folder: Path) -> Any:
    return load_model(str(tiny_folder))


@pytest.mark.parametrize("content", [TEXT, BINARY, "", "x"], ids=["text", "bytes", "empty", "short"])
def test_the_coder_is_lossless_and_as_short_as_it_should_be(model: Any, content: str | bytes) -> None:
    pytest.importorskip("constriction")
    found = compress(model, content, context=64)
    assert decompress(model, found.code, context=64) == content
    assert 8 * len(found.code) <= found.bits * 1.01 + 8 * 16  # header, checksum, whole 32-bit words
    if content:
        planned = code_lengths(model, [Document(content)], context=64)[0]
        assert planned == pytest.approx(found.bits, rel=1e-4)


def test_a_wrong_model_context_or_code_is_noticed(model: Any, tmp_path: Path) -> None:
    pytest.importorskip("constriction")
    code = compress(model, TEXT, context=64).code
    with pytest.raises(ModelError, match="decoding gave something else"):
        decompress(model, code, context=8)
    for broken in (b"", b"gzip", code[:3], code[:-1]):
        with pytest.raises(InputError, match="not a code"):
            decompress(model, broken, context=64)
    damaged = code[:-6] + bytes([code[-6] ^ 0xFF]) + code[-5:]
    with pytest.raises(ModelError):
        decompress(model, damaged, context=64)
    with pytest.raises(CapabilityError, match="'weights'"):
        compress(ScriptedModel(), "a")


@pytest.mark.parametrize(("context", "stride"), [(4, None), (4, 4), (4, 1), (4, 3), (50, None)])
def test_windows_predict_every_token_once_within_the_context(context: int, stride: int | None) -> None:
    tokens = list(range(10, 33))
    windows = coding_windows(tokens, 0, context, stride)
    assert [t for w in windows for t in w.target] == tokens
    assert all(len(w.context) + len(w.target) - 1 <= context for w in windows)
    if stride and stride < context:
        assert all(len(w.context) == context - stride for w in windows[1:])


@torch.no_grad()
def test_code_lengths_are_those_of_the_module(model: Any) -> None:
    tokens = tokens_of(model.tokenizer, TEXT, "tiny")
    bits = 0.0
    for window in coding_windows(tokens, model.tokenizer.bos_token_id, 16, 4):
        ids = torch.tensor([[*window.context, *window.target]])
        logprobs = model.module(input_ids=ids).logits[0].double().log_softmax(-1)
        first = len(window.context)
        bits -= sum(float(logprobs[i - 1, ids[0, i]]) for i in range(first, ids.shape[1])) / math.log(2)
    assert code_lengths(model, [Document(TEXT)], context=16, stride=4)[0] == pytest.approx(bits, rel=1e-5)
    whole = model.score([Continuation("", TEXT)])[0]
    assert code_lengths(model, [Document(TEXT)])[0] == pytest.approx(-whole.logprob / math.log(2), rel=1e-6)


def test_bytes_are_one_token_each(model: Any) -> None:
    table = byte_tokens(model.tokenizer, "tiny")
    assert len(set(table)) == 256
    assert model.tokenizer.decode([table[b] for b in "Größe".encode()]) == "Größe"

    class Words:
        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    with pytest.raises(CapabilityError, match="single bytes"):
        byte_tokens(Words(), "words")


def test_rates_baselines_and_months(model: Any) -> None:
    found = compression_evaluation(model, data=str(FILE), context=64, cutoff="2023-06")
    documents = read_documents(FILE)
    bits = code_lengths(model, documents, context=64)
    assert found.values["bits_per_byte"].value == pytest.approx(bits.sum() / sum(len(d.raw) for d in documents))
    compressed = sum(len(zlib.compress(d.raw, 9)) + 12 for d in documents)  # gzip: 18 bytes around, zlib: 6
    assert found.values["gzip"].value == pytest.approx(8 * compressed / sum(len(d.raw) for d in documents))
    assert [row[0] for row in found.tables[1].rows] == ["2023-05", "2023-06", "2023-07", "2023-08"]
    after = [i for i, d in enumerate(documents) if d.month > "2023-06"]
    sizes = np.array([len(d.raw) for d in documents], dtype=float)
    assert found.values["bits_per_byte_after"].value == pytest.approx(bits[after].sum() / sizes[after].sum())
    assert [row[0] for row in found.tables[2].rows] == ["all", "letters", "news"]


def sentence(draw: random.Random, reverse: bool) -> str:
    words = [draw.choice(["the", "a", "one", "this"]), draw.choice(["cat", "dog", "hen", "fox"])]
    words += [draw.choice(["sees", "likes", "hears"]), draw.choice(["rain", "snow", "wind"])]
    return " ".join(words[::-1] if reverse else words) + "\n"


def dated(seed: int, *, drift: bool) -> list[Document]:
    draw = random.Random(seed)
    months = [f"2023-{month:02d}" for month in range(1, 13)]
    return [
        Document("".join(sentence(draw, drift and month > "2023-06") for _ in range(4)), f"{month}-05")
        for month in months
        for _ in range(6)
    ]


def test_a_planted_drift_is_found_and_none_where_there_is_none() -> None:
    draw = random.Random(99)
    model = generalized_skip_ngram_lm(
        ["".join(sentence(draw, reverse=False) for _ in range(200))], order=3, fallback=True
    )
    drifted = compression_evaluation(model, dated(1, drift=True), cutoff="2023-06")
    assert drifted.values["gap"].low > 0.5
    assert not drifted.notes
    gaps = [compression_evaluation(model, dated(s, drift=False), cutoff="2023-06") for s in range(20)]
    inside = sum(found.values["gap"].low <= 0 <= found.values["gap"].high for found in gaps)
    assert inside >= 16  # 19 expected; fewer than 16 has probability 0.0003
    assert any("no gap" in note for found in gaps for note in found.notes)


def test_the_gap_s_interval_covers_it() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        sides = []
        for rate, count in ((2.0, 12), (2.5, 30)):
            sizes = rng.uniform(50, 150, count)
            sides.append((sizes * rate + rng.normal(0, 20, count), sizes))
        gap = ratio_gap(*sides)
        hits += gap.low <= 0.5 <= gap.high
    assert 270 <= hits <= 298
    assert ratio_gap((np.ones(1), np.ones(1)), (np.ones(3), np.ones(3))).high == math.inf
    assert ratio_gap((np.ones(2), np.ones(2)), (np.ones(3), np.ones(3))) == Interval(0, 0, 0, 5)


def test_files_of_any_kind_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00")
    assert read_documents(tmp_path / "a.bin") == [Document(b"\xff\xfe\x00")]
    (tmp_path / "a.txt").write_text("é", encoding="utf-8")
    assert read_documents(tmp_path / "a.txt") == [Document("é")]
    row = {"base64": base64.b64encode(BINARY).decode(), "date": "2024-01"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    assert read_documents(tmp_path / "a.jsonl") == [Document(BINARY, "2024-01")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"date": "2023-01"}', "needs a text or base64"),
        ('{"text": ""}', "needs a text or base64"),
        ('{"base64": "%%"}', "cannot be decoded"),
        ('{"text": "a", "date": "May 2023"}', "does not start with a year"),
        ('{"text": ', "broken JSON"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(InputError, match=problem) as caught:
        read_documents(tmp_path / "a.jsonl")
    assert "a.jsonl:2" in str(caught.value)


def test_wrong_use_is_refused(model: Any) -> None:
    documents = [Document("a b", "2023-01"), Document("b c", "2023-02")]
    ngram = generalized_skip_ngram_lm(["a b", "b c"], order=1, fallback=True)
    for problem, arguments in {
        "give documents": {"documents": []},
        "needs a context": {"documents": documents, "stride": 4},
        "one side": {"documents": documents, "cutoff": "2024-01"},
        "exceeds": {"documents": documents, "context": 10**6},
        "between 1 and the context": {"documents": documents, "context": 8, "stride": 9},
    }.items():
        with pytest.raises(UsageError, match=problem):
            compression_evaluation(model, **arguments)
    with pytest.raises(InputError, match="has no date"):
        compression_evaluation(model, [*documents, Document("c")], cutoff="2023-01")
    with pytest.raises(CapabilityError, match="a chosen context"):
        compression_evaluation(ngram, documents, context=8)
    with pytest.raises(CapabilityError, match="a document of bytes"):
        compression_evaluation(ngram, [Document(b"\xff")])
