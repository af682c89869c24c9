from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from steelyard.contracts import Continuation
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.merging.sources import TensorInfo
from steelyard.merging.verb import merge
from steelyard.merging.vocabularies import map_rows, token_rows, union
from tiny import tiny_config, tiny_tokenizer


def model_with(folder: Path, seed: int, tokens: list[str], padding: int = 0, **config: Any) -> str:
    """A random model whose tokenizer has ``tokens`` of its own, and ``padding`` rows that belong to no token."""
    from transformers import LlamaForCausalLM

    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_tokens(tokens)
    torch.manual_seed(seed)
    settings = {"num_hidden_layers": 1, "vocab_size": len(tokenizer) + padding, **config}
    LlamaForCausalLM(tiny_config(**settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def rows(folder: str | Path, name: str = "model.embed_tokens.weight") -> dict[str, torch.Tensor]:
    from transformers import AutoTokenizer

    tensor = load_file(Path(folder) / "model.safetensors")[name]
    return {token: tensor[row] for token, row in AutoTokenizer.from_pretrained(str(folder)).get_vocab().items()}


def test_other_tokenizers_are_refused_without_a_choice(tmp_path: Path) -> None:
    one, two = model_with(tmp_path / "one", 0, ["<x>"]), model_with(tmp_path / "two", 1, ["<y>"])
    with pytest.raises(ModelError, match=r"different tokenizers \(301 and 301 tokens; '<x>' differs, 2 in all\)"):
        merge([one, two], "linear")
    more = model_with(tmp_path / "more", 2, ["<x>", "<y>"])
    with pytest.raises(
        ModelError, match=r"'lm_head.weight' is \[302, 32\] in .* --tokenizer union, base or first"
    ):
        merge([one, more], "linear")
    with pytest.raises(UsageError, match="no base model was given"):
        merge([one, more], "linear", tokenizer="base")


@pytest.mark.parametrize("tied", [True, False])
def test_rows_follow_their_tokens(tmp_path: Path, tied: bool) -> None:
    """The same tokens under other ids, tokens of one model alone, and padding rows."""
    one = model_with(tmp_path / "one", 0, ["<x>", "<y>"], tie_word_embeddings=tied)
    two = model_with(tmp_path / "two", 1, ["<y>", "<x>", "<z>"], padding=5, tie_word_embeddings=tied)
    merged = merge([one, two], "linear", tokenizer="union")
    names = ["model.embed_tokens.weight"] if tied else ["model.embed_tokens.weight", "lm_head.weight"]
    for name in names:
        mine, theirs, found = (rows(folder, name) for folder in (one, two, merged.folder))
        assert set(found) == {*mine, *theirs}
        for token in ("<x>", "<y>", "fox", "<|im_start|>"):
            if token in mine:
                torch.testing.assert_close(found[token], (mine[token] + theirs[token]) / 2)
        torch.testing.assert_close(found["<z>"], theirs["<z>"])
    model = merged.load()
    assert model.module.config.vocab_size == len(model.tokenizer) == 303
    assert model.score([Continuation("The", "<z> fox")])[0].logprob < 0
    assert merged.part.settings["tokenizer"] == "union"
    first = merge([one, two], "linear", tokenizer="first").load()
    assert first.tokenizer.get_vocab().keys() == mine.keys()
    assert first.module.config.vocab_size == 302


def test_a_base_fills_in_what_others_lack(tmp_path: Path) -> None:
    """A token the model lacks has the base's row there: a task vector of nothing."""
    base = model_with(tmp_path / "base", 0, ["<b>"])
    model = model_with(tmp_path / "model", 1, ["<m>"])
    merged = merge([model], "task-arithmetic", base=base, tokenizer="union")
    found, of_base, of_model = rows(merged.folder), rows(base), rows(model)
    torch.testing.assert_close(found["<b>"], of_base["<b>"])
    torch.testing.assert_close(found["<m>"], of_model["<m>"])
    assert rows(merge([model], "task-arithmetic", base=base, tokenizer="base").folder).keys() == of_base.keys()


def test_missing_rows_are_means_or_zeros() -> None:
    matrices = [torch.tensor([[2.0]]), torch.tensor([[4.0]]), torch.tensor([[9.0]])]
    places = [torch.tensor([0, -1, -1]), torch.tensor([0, -1, 0]), torch.tensor([-1, -1, 0])]
    assert [m.flatten().tolist() for m in map_rows(matrices, places, None)] == [
        [2.0, 0.0, 6.5],
        [4.0, 0.0, 4.0],
        [3.0, 0.0, 9.0],
    ]
    assert map_rows(matrices, places, 1)[2].flatten().tolist() == [4.0, 0.0, 9.0]


def test_a_union_keeps_the_first_tokenizers_ids() -> None:
    first, second = copy.deepcopy(tiny_tokenizer()), copy.deepcopy(tiny_tokenizer())
    first.add_tokens(["<a>"])
    second.add_tokens(["<b>"])
    second.add_special_tokens({"additional_special_tokens": ["<s>"]})
    both = union([first, second])
    assert {token: row for token, row in both.get_vocab().items() if row < 301} == first.get_vocab()
    assert {token for token, row in both.get_vocab().items() if row >= 301} == {"<b>", "<s>"}
    assert "<s>" in [str(token.content) for token in both.added_tokens_decoder.values() if token.special]
    assert len(first.get_vocab()) == 301
    assert both("a <b>")["input_ids"][-1] == both.get_vocab()["<b>"]


def test_rows_behind_the_matrix_do_not_exist() -> None:
    found = token_rows({"a": 0, "b": 1, "c": 3}, {"a": 1, "b": 7}, TensorInfo((2, 4), "F32"))
    assert found.tolist() == [1, -1, -1, -1]


def test_an_unknown_architecture_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = model_with(tmp_path / "one", 0, ["<x>"]), model_with(tmp_path / "two", 1, [])
    monkeypatch.setattr("steelyard.models.family_data.FAMILIES", {})
    with pytest.raises(CapabilityError, match="where LlamaForCausalLM keeps its token embedding is not known"):
        merge([one, two], "linear", tokenizer="union")
    assert merge([one, model_with(tmp_path / "three", 2, ["<x>"])], "linear").load().card.parameters
