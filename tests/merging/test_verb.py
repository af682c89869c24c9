from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import steelyard
from steelyard.contracts import Continuation, OpenWeights
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.merging.methods import find_method
from steelyard.merging.sources import open_source
from steelyard.merging.streaming import plan_merge
from steelyard.merging.verb import merge
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from tiny import tiny_llama
from tiny_files import tiny_gguf

REQUEST = [Continuation("The quick brown", " fox")]


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        found |= load_file(file)
    return found


def changed(folder: str, target: Path, **config: Any) -> str:
    """A copy of a checkpoint with other settings in its configuration."""
    shutil.copytree(folder, target)
    file = target / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return str(target)


def test_the_average_of_checkpoints(folders: list[str], tmp_path: Path) -> None:
    merged = steelyard.merge(folders[:2], "linear:weight=[3,1]", out=tmp_path / "out")
    one, two, found = (weights(folder) for folder in (*folders[:2], tmp_path / "out"))
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, 0.75 * one[name] + 0.25 * two[name])
    model = merged.load()
    assert isinstance(model, OpenWeights)
    assert model.card.name == "linear(m0, m1)"
    part = model.card.parts[0]
    assert part.name == "linear"
    assert part.settings["weight"] == [3.0, 1.0]
    assert part.settings["normalise"] is True  # what was not said is recorded too
    assert [entry["fingerprint"] for entry in part.settings["models"]] == [
        load_model(folder).card.fingerprint for folder in folders[:2]
    ]
    assert not list(tmp_path.glob(".*"))  # nothing half-written is left


def test_models_in_memory_merge_as_their_files_do(folders: list[str]) -> None:
    loaded = [load_model(folder) for folder in folders[:2]]
    assert merge(loaded, "slerp").load().score(REQUEST) == merge(folders[:2], "slerp").load().score(REQUEST)


def test_without_a_folder_it_is_built_once(folders: list[str]) -> None:
    first = merge(folders[:2], "ties", base=folders[2])
    file = first.folder / "model.safetensors"
    before = file.stat().st_mtime_ns
    assert merge(folders[:2], "ties", base=folders[2]).folder == first.folder
    assert file.stat().st_mtime_ns == before
    assert merge(folders[:2], "ties:density=0.3", base=folders[2]).folder != first.folder


def test_shards_load_anywhere(folders: list[str], tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    plan = plan_merge(find_method("linear"), [open_source(folder) for folder in folders[:2]], None)
    plan.write(tmp_path, shard_bytes=40_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    whole = merge(folders[:2], "linear").load()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        theirs = LlamaForCausalLM.from_pretrained(tmp_path)(ids).logits
        torch.testing.assert_close(theirs, whole.module(ids).logits)
    assert load_model(tmp_path).score(REQUEST) == whole.score(REQUEST)


def test_memory_holds_one_tensor_of_each_model(folders: list[str], tmp_path: Path) -> None:
    """However many tensors there are, those read for one are gone when the next is read."""
    import dataclasses

    alive: set[int] = set()
    most = 0

    def watched(source: Any) -> Any:
        def read(name: str) -> torch.Tensor:
            nonlocal most
            tensor = source.read(name).clone()
            alive.add(id(tensor))
            weakref.finalize(tensor, alive.discard, id(tensor))
            most = max(most, len(alive))
            return tensor

        return dataclasses.replace(source, read=read)

    sources = [watched(open_source(folder)) for folder in folders]
    plan_merge(find_method("ties"), sources[:2], sources[2]).write(tmp_path)
    assert most == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_result_is_rounded_once(folders: list[str], dtype: str) -> None:
    merged = merge(folders[:2], "linear", dtype=dtype)
    one, two, found = (weights(folder) for folder in (*folders[:2], merged.folder))
    for name, tensor in found.items():
        assert torch.equal(tensor, (0.5 * one[name] + 0.5 * two[name]).to(getattr(torch, dtype)))
    assert json.loads((merged.folder / "config.json").read_text())["dtype"] == dtype


def test_half_precision_models_stay_so_and_are_averaged_in_single(folders: list[str], tmp_path: Path) -> None:
    halves = []
    for folder in folders[:2]:
        target = tmp_path / Path(folder).name
        shutil.copytree(folder, target)
        tensors = {name: tensor.bfloat16() for name, tensor in weights(folder).items()}
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        halves.append(str(target))
    one, two, found = (weights(folder) for folder in (*halves, merge(halves, "linear:weight=[1,3]").folder))
    for name, tensor in found.items():
        expected = (0.25 * one[name].float() + 0.75 * two[name].float()).bfloat16()
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize("tied", [(True, True), (True, False)])
def test_tied_heads(tmp_path: Path, tied: tuple[bool, bool]) -> None:
    """Both tied: the result is. One tied: its embedding stands in for its head."""
    models = [
        str(tiny_llama(tmp_path / f"m{seed}", layers=1, seed=seed, tie_word_embeddings=tie))
        for seed, tie in enumerate(tied)
    ]
    merged = merge(models, "linear")
    module = merged.load().module
    heads = [load_model(model).module.lm_head.weight for model in models]  # type: ignore[union-attr]
    torch.testing.assert_close(module.lm_head.weight, (heads[0] + heads[1]) / 2)
    assert (module.lm_head.weight is module.model.embed_tokens.weight) == all(tied)
    assert ("lm_head.weight" in weights(merged.folder)) != all(tied)


def test_gguf_files_are_converted_first(tmp_path: Path) -> None:
    modules = [tiny_gguf(tmp_path / f"{seed}.gguf", seed=seed) for seed in range(2)]
    merged = merge([str(tmp_path / f"{seed}.gguf") for seed in range(2)], "linear").load()
    theirs = [dict(module.named_parameters())["model.norm.weight"] for module in modules]
    torch.testing.assert_close(dict(merged.module.named_parameters())["model.norm.weight"], sum(theirs) / 2)
    assert merged.score(REQUEST)[0].logprob < 0


def test_licences_that_differ_are_told(folders: list[str], tmp_path: Path) -> None:
    shutil.copytree(folders[0], tmp_path / "mit")
    (tmp_path / "mit" / "README.md").write_text("---\nlicense: mit\n---\n")
    merged = merge([str(tmp_path / "mit"), folders[1]], "linear")
    assert "licences differ" in merged.notes[0]
    assert "mit: mit" in merged.notes[0]
    assert merged.load().card.licence is None
    assert merge([str(tmp_path / "mit")] * 2, "linear").load().card.licence == "mit"


def test_random_methods_depend_on_their_seed_alone(folders: list[str]) -> None:
    def merged(seed: int) -> dict[str, torch.Tensor]:
        return weights(merge(folders[:2], f"dare-ties:seed={seed}", base=folders[2]).folder)

    one, again, other = merged(1), merged(1), merged(2)
    assert all(torch.equal(one[name], again[name]) for name in one)
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(one[name], other[name])
    zeros = [(one[f"model.layers.{layer}.mlp.up_proj.weight"] == 0) for layer in range(2)]
    assert not torch.equal(*zeros) or not zeros[0].any()


# ------------------------------------------------------------------------------------------- bad input


def test_other_shapes_are_refused_by_name(folders: list[str], tmp_path: Path) -> None:
    wide = str(tiny_llama(tmp_path / "wide", layers=2, intermediate_size=96))
    with pytest.raises(
        ModelError, match=r"'model.layers.0.mlp.\w+.weight' is \[.*96.*\] in .*wide and \[.*64.*\]"
    ):
        merge([folders[0], wide], "linear", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    deep = str(tiny_llama(tmp_path / "deep", layers=3))
    with pytest.raises(ModelError, match=r"m0 lacks the tensor 'model.layers.2.*' .*one architecture and depth"):
        merge([folders[0], deep], "linear")


def test_other_architectures_and_meanings_are_refused(folders: list[str], tmp_path: Path) -> None:
    mistral = changed(folders[1], tmp_path / "mistral", architectures=["MistralForCausalLM"], model_type="mistral")
    with pytest.raises(ModelError, match=r"is a MistralForCausalLM and .* a LlamaForCausalLM"):
        merge([folders[0], mistral], "linear")
    heads = changed(folders[1], tmp_path / "heads", num_attention_heads=2, num_key_value_heads=1)
    with pytest.raises(ModelError, match=r"num_attention_heads is 2 in .*heads and 4 in .*another meaning"):
        merge([folders[0], heads], "linear")
    longer = changed(folders[1], tmp_path / "longer", max_position_embeddings=1024)
    merged = merge([folders[0], longer], "linear")
    assert "max_position_embeddings is 1024" in merged.notes[0]
    assert json.loads((merged.folder / "steelyard.json").read_text())["notes"] == list(merged.notes)


def test_integers_are_refused(folders: list[str], tmp_path: Path) -> None:
    from steelyard.compression.int8 import int8

    small = int8(load_model(folders[0]))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="its layers hold integers"):
        merge([small, folders[1]], "linear")
    with pytest.raises(ModelError, match="its layers hold integers"):
        merge([str(small.save(tmp_path / "small")), folders[1]], "linear")
    quantized = changed(folders[0], tmp_path / "quantized", quantization_config={"quant_method": "gptq"})
    with pytest.raises(ModelError, match="its weights are quantized"):
        merge([quantized, folders[1]], "linear")


def test_damaged_weights_leave_nothing_behind(folders: list[str], tmp_path: Path) -> None:
    shutil.copytree(folders[0], tmp_path / "nan")
    tensors = weights(folders[0])
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"nan: tensor 'model.norm.weight' has values that are no numbers"):
        merge([str(tmp_path / "nan"), folders[1]], "linear", out=tmp_path / "out")
    with pytest.raises(ModelError, match="overflows when merged"):
        merge(folders[:2], "linear:weight=1e7,normalise=false", dtype="float16", out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["nan"]


def test_a_full_disk_leaves_nothing_behind(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("steelyard.merging.streaming.write_tensors", full)
    with pytest.raises(ModelError, match="the disk is full"):
        merge(folders[:2], "linear", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_wrong_use(folders: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown merge method 'tise'; did you mean 'ties'"):
        merge(folders, "tise")
    with pytest.raises(UsageError, match="'ties' has no setting 'densty'; did you mean 'density'"):
        merge(folders, "ties:densty=0.5")
    with pytest.raises(UsageError, match="density"):
        merge(folders, "ties:density=1.5", base=folders[0])
    with pytest.raises(UsageError, match="ties merges what models have beyond a base"):
        merge(folders, "ties")
    with pytest.raises(UsageError, match="linear takes no base"):
        merge(folders[:2], "linear", base=folders[2])
    with pytest.raises(UsageError, match="at least two models"):
        merge(folders[:1], "linear")
    with pytest.raises(UsageError, match="two models, not 3"):
        merge(folders, "slerp")
    with pytest.raises(UsageError, match="3 values for 2 models"):
        merge(folders[:2], "linear:weight=[1,2,3]")
    with pytest.raises(UsageError, match="dtype 'int4' is unknown"):
        merge(folders[:2], "linear", dtype="int4")
    with pytest.raises(UsageError, match="tokenizer 'all' is unknown"):
        merge(folders[:2], "linear", tokenizer="all")
    with pytest.raises(UsageError, match="takes no task"):
        merge(folders[:2], "linear", fitness=lambda model: 1.0)
    with pytest.raises(CapabilityError, match="not in this process"):
        merge([ScriptedModel(), folders[0]], "linear")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not an empty folder"):
        merge(folders[:2], "linear", out=tmp_path / "full")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="an adapter, not a model"):
        merge([str(tmp_path / "lora"), folders[0]], "linear")


def test_the_command(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from steelyard.cli.main import app

    out = tmp_path / "out"
    command = ["merge", *folders[:2], "--base", folders[2], "--with", "ties:density=0.5,weight=[1,0.5]", "--out"]
    done = CliRunner().invoke(app, [*command, str(out), "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["part"]["settings"]["weight"] == [1.0, 0.5]
    assert record["folder"] == str(out)
    assert load_model(out).card.parts[0].name == "ties"
