from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steelyard.contracts import (
    AppliedPart,
    Continuation,
    Embedder,
    Message,
    ModelCard,
    OpenWeights,
    Sampling,
    StreamingModel,
)
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.checkpoint import read_checkpoint
from steelyard.models.families import family_of
from steelyard.models.probing import probe
from steelyard.models.quantized import int8_names, replace_linears
from steelyard.models.weights import TransformersModel, size_of
from tiny import tiny_tokenizer


def model_of(module: Any, name: str = "tiny") -> TransformersModel:
    tokenizer = tiny_tokenizer()
    parameters, memory = size_of(module)
    card = ModelCard(
        name,
        "0" * 32,
        parameters,
        memory,
        512,
        licence="mit",
        source="a test",
        capabilities=probe(module, tokenizer),
    )
    return TransformersModel(module, tokenizer, card, family_of(module))


def test_it_is_what_the_contracts_say(engines: Any) -> None:
    model = model_of(engines("llama").module)
    assert isinstance(model, OpenWeights)
    assert isinstance(model, StreamingModel)
    assert isinstance(model, Embedder)


def test_verbs_reach_the_engine(engines: Any) -> None:
    model = model_of(engines("llama").module)
    assert model.score([Continuation("The", " fox")], top=2)[0].top
    settings = Sampling(max_tokens=4)
    answer = model.generate([[Message("user", "Hi")]], settings)[0]
    assert "".join(part.text for part in model.stream([Message("user", "Hi")], settings)) == answer.text
    assert model.embed(["a", "b"]).shape == (2, 32)
    assert model.hidden(["a"], [0])[0].shape[0] == 1


def test_another_pooling_is_another_fingerprint_and_survives_saving(engines: Any, tmp_path: Path) -> None:
    model = model_of(engines("llama").module)
    other = model.with_pooling(mode="eos", prompts={"query": "Question: "}, max_length=9)
    assert other.module is model.module
    assert (
        len({model.card.fingerprint, other.card.fingerprint, other.with_pooling(mode="max").card.fingerprint}) == 3
    )
    texts = ["The quick brown fox jumps over the lazy dog", "a", ""]
    assert not np.allclose(other.embed(texts), model.embed(texts), atol=1e-3)
    assert len(other.embed_tokens(["The quick brown fox jumps over the lazy dog"], "query")[0]) == 9
    read = read_checkpoint(other.save(tmp_path / "saved"))
    assert read.pooling == other.pooling
    back = TransformersModel(read.module, read.tokenizer, model.card, model.family, pooling=read.pooling)
    for role in ("query", "document"):
        assert np.array_equal(back.embed(texts, role), other.embed(texts, role))
    assert not (model.save(tmp_path / "plain") / "modules.json").exists()
    with pytest.raises(UsageError, match="no setting 'prompt'; did you mean 'prompts'"):
        model.with_pooling(prompt="x")


def test_missing_capabilities_are_named(engines: Any) -> None:
    model = model_of(engines("bert").module, "an-encoder")
    for call in (
        lambda: model.score([Continuation("a", "b")]),
        lambda: model.generate(["a"]),
        lambda: model.stream("a"),
    ):
        with pytest.raises(CapabilityError, match="an-encoder lacks"):
            call()
    assert model.embed(["a"]).shape == (1, 32)


def test_evolving_changes_the_fingerprint_and_the_size(engines: Any) -> None:
    model = model_of(engines("llama").module)
    part = AppliedPart("int8", {"head": True})
    smaller = model.evolve(replace_linears(model.module, head=True), part)
    assert smaller.card.parts == (part,)
    assert smaller.card.fingerprint != model.card.fingerprint
    assert smaller.card.memory_bytes < 0.5 * model.card.memory_bytes
    assert smaller.card.parameters == model.card.parameters
    again = model.evolve(model.module, AppliedPart("int8", {"head": False}))
    assert again.card.fingerprint != smaller.card.fingerprint
    assert smaller.evolve(smaller.module, part).card.parts == (part, part)
    assert model.card.parts == ()


def test_shared_tensors_count_once(engines: Any) -> None:
    module = engines("gemma3").module
    total = sum(p.numel() for p in module.state_dict().values())
    parameters, memory = size_of(module)
    assert parameters == total - 300 * 32
    assert memory >= parameters * 4


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "neox", "mamba", "t5"])
@pytest.mark.parametrize("int8", [False, True])
def test_saved_models_answer_the_same_when_read_again(engines: Any, tmp_path: Path, kind: str, int8: bool) -> None:
    model = model_of(engines(kind).module)
    if int8:
        head = kind != "t5"
        model = model.evolve(replace_linears(model.module, head=head), AppliedPart("int8", {"head": head}))
    folder = model.save(tmp_path / "deep" / "saved")
    read = read_checkpoint(folder)
    assert read.parts == model.card.parts
    assert read.licence == "mit"
    assert int8_names(read.module) == int8_names(model.module)
    assert size_of(read.module) == size_of(model.module)
    back = TransformersModel(read.module, read.tokenizer, model.card, model.family)
    asked = [Continuation("The quick", " brown fox")]
    assert back.score(asked) == model.score(asked)
    record = json.loads((folder / "steelyard.json").read_text())
    assert record["format"] == 1
    assert record["int8"] == int8_names(model.module)


def test_plain_checkpoints_are_transformers_checkpoints(engines: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = model_of(engines("llama").module)
    module = AutoModelForCausalLM.from_pretrained(model.save(tmp_path / "saved"))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(module(input_ids=ids).logits, model.module(input_ids=ids).logits)


def test_saving_replaces_only_its_own_folders(engines: Any, tmp_path: Path) -> None:
    model = model_of(engines("llama").module)
    (tmp_path / "empty").mkdir()
    model.save(tmp_path / "empty")
    renamed = TransformersModel(
        model.module, model.tokenizer, dataclasses.replace(model.card, name="second"), model.family
    )
    renamed.save(tmp_path / "empty")
    assert json.loads((tmp_path / "empty" / "steelyard.json").read_text())["name"] == "second"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="holds other files"):
        model.save(foreign)
    with pytest.raises(ModelError, match="is a file"):
        model.save(foreign / "thesis.txt")
    assert (foreign / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "foreign"]


def test_a_failed_save_leaves_what_was_there(
    engines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(engines("llama").module)
    folder = model.save(tmp_path / "saved")
    before = (folder / "model.safetensors").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(model.tokenizer, "save_pretrained", full, raising=False)
    with pytest.raises(ModelError, match="the disk is full") as caught:
        model.save(folder)
    assert "\n" not in str(caught.value)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_an_unwritable_place_is_one_line(engines: Any) -> None:
    with pytest.raises(ModelError, match="cannot be written") as caught:
        model_of(engines("llama").module).save(Path("/proc/steelyard"))
    assert "\n" not in str(caught.value)
