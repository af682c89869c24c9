from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from steelyard.errors import SteelyardError
from steelyard.models.fingerprint import fingerprint_folder
from steelyard.models.pooling import Dense, Pooling, read_pooling, write_pooling

EVERYTHING = Pooling(
    "last",
    max_length=12,
    prompts={"query": "ask: ", "passage": "read: ", "other": "x"},
    default_prompt="other",
    include_prompt=False,
    lower_case=True,
)


def make_pooling(folder: Path, settings: dict[str, Any], *, normalise: bool = True) -> None:
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), *([("Normalize", "2_Normalize")] if normalise else [])]
    modules = [
        {"idx": i, "type": f"sentence_transformers.models.{k}", "path": p} for i, (k, p) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "max"}, "max"),
    ],
)
def test_pooling_is_read(tmp_path: Path, settings: dict[str, Any], expected: str) -> None:
    make_pooling(tmp_path, settings)
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert read_pooling(tmp_path) == Pooling(expected, True, 256)


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
        {"pooling_mode_weightedmean_tokens": True},
        {"pooling_mode": "attention"},
        {},
    ],
)
def test_unknown_pooling_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    make_pooling(tmp_path, settings)
    with pytest.raises(SteelyardError, match="is not supported"):
        read_pooling(tmp_path)


def test_folder_without_modules_pools_nowhere(tiny_folder: Path) -> None:
    assert read_pooling(tiny_folder) is None


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "last", "eos"])
@pytest.mark.parametrize("normalise", [True, False])
def test_what_is_written_is_read_back(tmp_path: Path, mode: str, normalise: bool) -> None:
    pooling = Pooling(mode, normalise, 200)
    write_pooling(tmp_path, pooling, 32)
    assert read_pooling(tmp_path) == pooling


def test_everything_is_written_and_read_back(tmp_path: Path) -> None:
    write_pooling(tmp_path, EVERYTHING, 32)
    assert read_pooling(tmp_path) == EVERYTHING


@pytest.mark.parametrize("activation", ["Identity", "Tanh"])
def test_dense_layers_are_written_and_read_back(tmp_path: Path, activation: str) -> None:
    first = Dense(torch.randn(8, 4), torch.randn(8), activation)
    second = Dense(torch.randn(3, 8), None)
    write_pooling(tmp_path, Pooling("mean", dense=(first, second)), 4)
    read = read_pooling(tmp_path)
    assert read is not None
    vectors = torch.randn(5, 4)
    expected = vectors @ first.weight.T + first.bias
    expected = expected.tanh() if activation == "Tanh" else expected
    assert torch.allclose(read.dense[0].apply(vectors), expected, atol=1e-6)
    assert torch.equal(read.dense[1].weight, second.weight)
    assert read.dense[1].bias is None


def test_prefixes_by_role() -> None:
    assert EVERYTHING.prefix("query") == "ask: "
    assert EVERYTHING.prefix("document") == "read: "
    assert Pooling("mean", prompts={"all": "p: "}, default_prompt="all").prefix("query") == "p: "
    assert Pooling("mean", prompts={"query": "", "all": "p"}, default_prompt="all").prefix("query") == ""
    assert Pooling("mean", prompts={"query": "q: "}).prefix("document") == ""


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_bad_folders_are_refused_by_name(tmp_path: Path) -> None:
    dense = Dense(torch.ones(2, 4), None)

    def made(name: str, pooling: Pooling | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_pooling(folder, pooling or Pooling("mean", dense=(dense,)), 4)
        return folder

    folder = made("order")
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([listed[0], *listed[:0:-1]]))
    with pytest.raises(SteelyardError, match="the order Transformer, Normalize, Dense, Pooling"):
        read_pooling(folder)
    listed[1]["path"] = "../elsewhere"
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(SteelyardError, match="outside its folder"):
        read_pooling(folder)
    folder = made("activation")
    edit(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.activation.Softmin")
    with pytest.raises(SteelyardError, match="activation 'Softmin' is not supported"):
        read_pooling(folder)
    folder = made("residual")
    edit(folder / "2_Dense" / "config.json", use_residual=True)
    with pytest.raises(SteelyardError, match="no residual"):
        read_pooling(folder)
    folder = made("weights")
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(SteelyardError, match=r"2_Dense.model\.safetensors: missing"):
        read_pooling(folder)
    folder = made("bias")
    edit(folder / "2_Dense" / "config.json", bias=True)
    with pytest.raises(SteelyardError, match="does not hold the layer"):
        read_pooling(folder)
    folder = made("prompts", EVERYTHING)
    edit(folder / "config_sentence_transformers.json", default_prompt_name="lost")
    with pytest.raises(SteelyardError, match="'lost' is not among its prompts"):
        read_pooling(folder)
    edit(folder / "config_sentence_transformers.json", prompts={"query": 3})
    with pytest.raises(SteelyardError, match="must give a text for each name"):
        read_pooling(folder)
    folder = made("module")
    listed = json.loads((folder / "modules.json").read_text())
    listed[2]["type"] = "sentence_transformers.models.LSTM"
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(SteelyardError, match="module 'LSTM' is not supported"):
        read_pooling(folder)


def test_prefixes_and_dense_weights_are_in_the_fingerprint(tmp_path: Path) -> None:
    dense = Dense(torch.ones(2, 4), None)
    other = Dense(torch.zeros(2, 4), None)
    poolings = [
        Pooling("mean"),
        Pooling("mean", prompts={"query": "q: "}),
        Pooling("mean", prompts={"query": "r: "}),
        Pooling("mean", dense=(dense,)),
        Pooling("mean", dense=(other,)),
    ]
    found = []
    for number, pooling in enumerate(poolings):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_pooling(folder, pooling, 4)
        found.append(fingerprint_folder(folder, remember=False))
    assert len(set(found)) == len(poolings)
