"""Checkpoint folders: read exactly and quietly, and refused with one clear line when something is wrong."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from steelyard.contracts import AppliedPart
from steelyard.errors import ModelError, UsageError
from steelyard.models.checkpoint import bfloat16_pays, read_checkpoint, torch_dtype
from steelyard.models.checkpoint_files import check_safetensors, inspect_folder, licence_of
from steelyard.models.int8_linear import Int8Linear
from steelyard.models.quantized import int8_names, replace_linears
from tiny import tiny_llama, tiny_tokenizer

IDS = torch.tensor([[5, 9, 200, 12, 40]])


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may change."""
    return shutil.copytree(tiny_folder, tmp_path / "tiny")


def logits(module: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(IDS, **inputs).logits


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def shard(folder: Path) -> list[Path]:
    """Split the weights into two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in halves.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return [folder / file for file in halves]


def to_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


# ---------------------------------------------------------------------------------------- what is read


def test_equals_transformers(tiny_folder: Path) -> None:
    checkpoint = read_checkpoint(tiny_folder)
    expected = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder)
    assert torch.equal(logits(checkpoint.module), logits(expected.eval()))
    assert checkpoint.module.dtype == torch.float32
    assert not checkpoint.module.training
    assert checkpoint.tokenizer("fox").input_ids == tiny_tokenizer()("fox").input_ids
    assert (checkpoint.name, checkpoint.licence, checkpoint.parts) == (tiny_folder.name, None, ())


def test_shards_are_read(folder: Path, tiny_folder: Path) -> None:
    shard(folder)
    assert torch.equal(logits(read_checkpoint(folder).module), logits(read_checkpoint(tiny_folder).module))


def test_what_steelyard_recorded_is_honoured(folder: Path) -> None:
    record = {
        "format": 1,
        "name": "my-model",
        "licence": "mit",
        "source": "somewhere",
        "parts": [{"name": "sleb", "settings": {"remove": 1}}],
        "int8": [],
        "notes": ["a note"],
    }
    (folder / "steelyard.json").write_text(json.dumps(record))
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.name, checkpoint.licence, checkpoint.source) == ("my-model", "mit", "somewhere")
    assert checkpoint.parts == (AppliedPart("sleb", {"remove": 1}),)
    assert checkpoint.notes == ("a note",)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_int8_layers_are_put_back(tmp_path: Path, head: bool, tied: bool) -> None:
    read = read_checkpoint(tiny_llama(tmp_path / "float", tie_word_embeddings=tied))
    module = replace_linears(read.module, head=head)
    made = tmp_path / "int8"
    module.save_pretrained(made)
    read.tokenizer.save_pretrained(made)
    (made / "steelyard.json").write_text(json.dumps({"format": 1, "parts": [], "int8": int8_names(module)}))
    again = read_checkpoint(made).module
    assert int8_names(again) == int8_names(module)
    assert type(again) is transformers.LlamaForCausalLM
    assert isinstance(again.model.layers[0].mlp.up_proj, Int8Linear)
    assert again.model.layers[0].mlp.up_proj.integers.dtype == torch.int8
    assert torch.equal(logits(again), logits(module))
    (made / "steelyard.json").write_text(json.dumps({"int8": ["model.norm"]}))
    with pytest.raises(ModelError, match=r"'model\.norm' is listed as int8 but is no linear layer"):
        read_checkpoint(made)


def test_encoder_without_its_pooler(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    module = read_checkpoint(tmp_path).module
    assert type(module) is transformers.BertModel
    assert module.pooler is None  # its weights are not in the file
    with torch.no_grad():
        assert module(IDS).last_hidden_state.shape == (1, 5, 32)


def test_encoder_decoder(tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    original = transformers.T5ForConditionalGeneration(config).eval()
    original.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    again = read_checkpoint(tmp_path).module
    torch.testing.assert_close(logits(again, decoder_input_ids=IDS), logits(original, decoder_input_ids=IDS))


def test_pickle_only_by_flag(folder: Path, tiny_folder: Path) -> None:
    to_pickle(folder)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*--allow-pickle"):
        read_checkpoint(folder)
    again = read_checkpoint(folder, allow_pickle=True).module
    assert torch.equal(logits(again), logits(read_checkpoint(tiny_folder).module))


def test_code_in_a_pickle_does_not_run(folder: Path, tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "it-ran",))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": Bomb()}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        read_checkpoint(folder, allow_pickle=True)
    assert not (tmp_path / "it-ran").exists()


def test_remote_code_is_never_run(folder: Path, tmp_path: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')\nclass C: pass\nM = C\n")
    auto_map = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    change_config(folder, auto_map=auto_map)
    assert type(read_checkpoint(folder).module) is transformers.LlamaForCausalLM  # transformers' own code serves
    change_config(folder, auto_map=auto_map, model_type="evil")
    with pytest.raises(ModelError, match="needs code that comes with the checkpoint, which Steelyard never runs"):
        read_checkpoint(folder)
    assert not (tmp_path / "it-ran").exists()


def test_quiet(tiny_folder: Path) -> None:
    """In a process of its own, for pytest takes stderr over."""
    script = (
        "import pathlib, sys; from steelyard.models.checkpoint import read_checkpoint; "
        "read_checkpoint(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_folder)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_dtypes(tiny_folder: Path) -> None:
    assert torch_dtype("auto", "cpu") == torch_dtype(None) == torch_dtype("float32") == torch.float32
    assert torch_dtype("auto", "cuda:0") == torch.bfloat16
    assert torch_dtype(torch.float16) == torch.float16
    assert torch_dtype("fastest") in (torch.float32, torch.bfloat16)
    assert isinstance(bfloat16_pays(), bool)


@pytest.mark.parametrize(
    ("many", "single", "pays"), [(0.5, 0.6, True), (5.0, 0.6, False), (0.5, 1.3, False), (1.0, 0.5, False)]
)
def test_bfloat16_has_to_win_for_many_tokens_and_for_one(many: float, single: float, pays: bool) -> None:
    assert bfloat16_pays("cpu", ratio=lambda device, rows: single if rows == 1 else many) is pays


def test_chosen_dtypes(tiny_folder: Path) -> None:
    assert read_checkpoint(tiny_folder, dtype="bfloat16").module.dtype == torch.bfloat16
    with pytest.raises(UsageError, match="dtype 'int4' is unknown; choose auto"):
        torch_dtype("int4")


def test_licence_of_a_model_card(folder: Path) -> None:
    assert licence_of(folder) is None
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\nlicense: no\n")
    assert licence_of(folder) == "apache-2.0"
    (folder / "steelyard.json").write_text('{"licence": "mit"}')
    assert licence_of(folder) == "mit"


# -------------------------------------------------------------------------------------------- bad input


def truncate(name: str, by: int) -> Callable[[Path], Any]:
    return lambda f: (f / name).write_bytes((f / name).read_bytes()[:-by])


def write(name: str, content: str | bytes) -> Callable[[Path], Any]:
    return lambda f: (f / name).write_bytes(content.encode() if isinstance(content, str) else content)


def drop_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


HEADER = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json: missing; a checkpoint folder needs"),
    "broken config": (write("config.json", '{"model_type":\n,'), r"config\.json:2: not valid JSON"),
    "config not text": (write("config.json", b"\xff\xfe\x00"), r"config\.json: not valid JSON"),
    "config a list": (write("config.json", "[]"), r"config\.json: must hold one JSON object"),
    "deep config": (write("config.json", "[" * 100_000), r"config\.json: not valid JSON"),
    "no model type": (write("config.json", "{}"), r"config\.json: names no model_type"),
    "unknown architecture": (lambda f: change_config(f, model_type="x9"), "'x9' is unknown to this version"),
    "wrong shape": (lambda f: change_config(f, intermediate_size=48), r"tiny.*(shape|size)"),
    "absurd config": (lambda f: change_config(f, num_attention_heads=0), r"tiny: cannot be loaded"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights: expected model.safetensors"),
    "pickle only": (to_pickle, r"pytorch_model\.bin: pickle files can run code .*--allow-pickle"),
    "truncated weights": (truncate("model.safetensors", 100), r"model\.safetensors: truncated: [\d,]+ bytes, its"),
    "truncated header": (truncate("model.safetensors", 100_000), r"model\.safetensors: truncated"),
    "empty weights": (write("model.safetensors", b""), r"model\.safetensors: truncated or not a safetensors"),
    "not safetensors": (write("model.safetensors", b"<html>404</html>"), r"not a safetensors file"),
    "lfs pointer": (write("model.safetensors", "version https://git-lfs"), "Git LFS pointer"),
    "damaged header": (write("model.safetensors", struct.pack("<Q", 4) + b"{{{{"), "damaged safetensors header"),
    "trailing bytes": (
        write("model.safetensors", struct.pack("<Q", len(HEADER)) + HEADER + b"x" * 9),
        r"truncated: 71 bytes, its header announces 70|announces",
    ),
    "a weight missing": (drop_weight, "1 weights are missing, among them 'model.layers.1.mlp.up_proj.weight'"),
    "shard missing": (
        lambda f: shard(f)[1].unlink(),
        r"model-00002-of-00002\.safetensors: shard missing \(1 of 2",
    ),
    "shard truncated": (
        lambda f: shard(f) and truncate("model-00001-of-00002.safetensors", 10)(f),
        r"model-00001-of-00002\.safetensors: truncated",
    ),
    "index missing": (
        lambda f: shard(f) and (f / "model.safetensors.index.json").unlink(),
        "2 safetensors files but neither",
    ),
    "index empty": (
        lambda f: shard(f) and write("model.safetensors.index.json", "{}")(f),
        r"index\.json: no weight_map",
    ),
    "index escapes": (
        lambda f: shard(f) and write("model.safetensors.index.json", '{"weight_map": {"a": "../x"}}')(f),
        "names a shard outside its folder",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer; put its tokenizer.json"),
    "broken tokenizer": (write("tokenizer.json", '{"model": 1'), "its tokenizer cannot be read"),
    "broken record": (write("steelyard.json", "{"), r"steelyard\.json:1: not valid JSON"),
    "record of odd parts": (write("steelyard.json", '{"parts": ["int8"]}'), "`parts` is not a list of name and"),
    "odd module": (
        write("modules.json", '[{"type": "a.LSTM", "path": "2_LSTM"}]'),
        r"modules\.json: module 'LSTM' is not supported",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_folder_is_one_clear_error(folder: Path, case: str) -> None:
    spoil, message = SPOILT[case]
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        read_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such checkpoint folder"):
        read_checkpoint(tmp_path / "nothing")


def test_inspection_reads_no_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetensors.safe_open", lambda *a, **k: pytest.fail("loaded"))
    files = inspect_folder(folder)
    assert files.weights == (folder / "model.safetensors",)
    assert files.config["model_type"] == "llama"
    assert check_safetensors(files.weights[0])["model.norm.weight"]["shape"] == [32]
