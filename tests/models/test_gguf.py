"""GGUF files: converted exactly, with the tokenizer they mean, and refused with one clear line when damaged."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import ModelError
from steelyard.models.gguf import convert_gguf
from steelyard.models.gguf_header import read_header
from steelyard.models.gguf_tokenizer import PRE_TOKENIZERS, WHOLE_WORDS_FIRST
from tiny import tiny_tokenizer
from tiny_files import tiny_gguf


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))


def tokenizer_of(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_conversion_keeps_weights_tokenizer_and_template(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    original = tiny_gguf(tmp_path / "tiny.gguf")
    folder = convert_gguf(tmp_path / "tiny.gguf")
    assert capfd.readouterr() == ("", "")
    again = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([[5, 9, 200, 12]])
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, original(ids).logits, atol=1e-5, rtol=1e-5)
    tokenizer = tokenizer_of(folder)
    assert (
        tokenizer.decode(tokenizer("The quick brown fox, naïve 狐").input_ids) == "The quick brown fox, naïve 狐"
    )
    assert tokenizer("fox <|im_end|>").input_ids[-1] == 2
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert tokenizer.model_max_length == 512
    record = json.loads((folder / "steelyard.json").read_text())
    assert (record["name"], record["licence"], record["source"]) == ("Tiny Llama", "mit", "tiny.gguf")
    assert record["notes"] == []
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())


def test_the_second_time_nothing_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    folder = convert_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr("steelyard.models.gguf._read", lambda file: pytest.fail("converted again"))
    (tmp_path / "tiny.gguf").rename(tmp_path / "moved.gguf")
    assert convert_gguf(tmp_path / "moved.gguf") == folder


@pytest.mark.parametrize(
    ("pre", "digits"),
    [("smollm", [1] * 7), ("gpt-2", [7]), ("qwen2", [1] * 7), ("llama-bpe", [3, 3, 1]), ("default", [3, 3, 1])],
)
def test_pre_tokenizer_named_by_the_file_is_used(tmp_path: Path, pre: str, digits: list[int]) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", pre=pre)
    backend = tokenizer_of(convert_gguf(tmp_path / "tiny.gguf")).backend_tokenizer
    pieces = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str("1234567")]
    assert [len(piece) for piece in pieces] == digits
    assert backend.model.ignore_merges is (pre in WHOLE_WORDS_FIRST)


def test_unknown_pre_tokenizer_is_noted(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "odd.gguf", pre="quux")
    tiny_gguf(tmp_path / "none.gguf", pre=None)
    notes = [
        json.loads((convert_gguf(tmp_path / f"{n}.gguf") / "steelyard.json").read_text())["notes"]
        for n in ("odd", "none")
    ]
    assert "unknown pre-tokenizer 'quux'" in notes[0][0]
    assert "does not name its pre-tokenizer" in notes[1][0]


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
@settings(max_examples=15, deadline=None)
@given(text=st.text(max_size=40))
def test_every_pre_tokenizer_loses_nothing(name: str, text: str) -> None:
    from tokenizers import decoders, pre_tokenizers

    pieces = [piece for piece, _ in PRE_TOKENIZERS[name](pre_tokenizers).pre_tokenize_str(text)]
    assert decoders.ByteLevel().decode(pieces) == text


@pytest.mark.parametrize(
    ("pre", "add_bos", "add_eos", "expected"),
    [
        ("smollm", None, None, []),
        ("smollm", True, None, [1]),
        ("smollm", True, True, [1, 2]),
        ("smollm", False, True, [2]),
        ("llama-bpe", None, None, [1]),
        ("llama-bpe", False, None, []),
    ],
)
def test_special_tokens_around_a_text(
    tmp_path: Path, pre: str, add_bos: bool | None, add_eos: bool | None, expected: list[int]
) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", pre=pre, add_bos=add_bos, add_eos=add_eos)
    tokenizer = tokenizer_of(convert_gguf(tmp_path / "tiny.gguf"))
    bare = tokenizer("quick", add_special_tokens=False).input_ids
    assert [token for token in tokenizer("quick").input_ids if token not in bare] == expected


def test_every_end_token_ends_generation(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", eot=7)
    saved = json.loads((convert_gguf(tmp_path / "tiny.gguf") / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [2, 7]


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("keep", [0.0, 0.0005, 0.02, 0.3, 0.98])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    file = tmp_path / "tiny.gguf"
    tiny_gguf(file)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    with pytest.raises(ModelError, match=r"tiny\.gguf: .*(truncated|empty)") as caught:
        convert_gguf(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 not a model", "not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1 is not supported"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60), "truncated or damaged"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + b"x" * 99, "truncated or damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "does not name its architecture"),
    ],
)
def test_damaged_head(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        convert_gguf(tmp_path / "bad.gguf")
    assert str(tmp_path / "bad.gguf") in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_any_damage_to_the_head_is_one_clear_error_or_none(tmp_path_factory: Any, at: int, garbage: bytes) -> None:
    folder = tmp_path_factory.mktemp("damage")
    writer = GGUFWriter(str(folder / "a.gguf"), "llama")
    writer.add_token_list(["a", "b", "c"])
    writer.add_context_length(4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    content = bytearray((folder / "a.gguf").read_bytes())
    at %= len(content)
    content[at : at + len(garbage)] = garbage
    (folder / "a.gguf").write_bytes(content)
    with contextlib.suppress(ModelError):  # anything else fails the test
        assert isinstance(read_header(folder / "a.gguf").architecture, str)


def test_split_file_and_unsupported_architecture(tmp_path: Path) -> None:
    writer = GGUFWriter(str(tmp_path / "split.gguf"), "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match="one part of a split GGUF file"):
        convert_gguf(tmp_path / "split.gguf")
    tiny_gguf(tmp_path / "odd.gguf", architecture="rwkv6")
    with pytest.raises(ModelError, match=r"odd\.gguf: cannot be converted \(.*rwkv6"):
        convert_gguf(tmp_path / "odd.gguf")
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "hole.gguf", leave_out="blk.1.ffn_up.weight")
    with pytest.raises(
        ModelError, match=r"weights are missing, among them 'model\.layers\.1\.mlp\.up_proj\.weight'"
    ):
        convert_gguf(tmp_path / "hole.gguf")


# ------------------------------------------------------------------------------------------ real model


@pytest.mark.real_model
def test_smollm2_tokens(smollm2_folder: Path) -> None:
    """Token ids of the original tokenizer, as published; the plain GPT-2 rule gives others for digits."""
    tokenizer = tokenizer_of(smollm2_folder)
    assert tokenizer("Hello world! 123").input_ids == [19556, 905, 17, 216, 33, 34, 35]
    assert tokenizer("  multiple   spaces").input_ids == [216, 2701, 256, 5600]
    assert tokenizer("Café déjà vu.").input_ids == [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30]
    assert tokenizer("\n").input_ids == [198]
    assert tokenizer.decode(tokenizer("In 2024,\t12.5%").input_ids) == "In 2024,\t12.5%"
