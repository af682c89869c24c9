"""Every method against mergekit, on the same tensors and, once, on the same checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from steelyard.merging import dare as dare_module
from steelyard.merging import della as della_module
from steelyard.merging.methods import find_method
from steelyard.merging.verb import merge
from tiny import tiny_config, tiny_tokenizer

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("linear:weight=[1.0,0.5,2.0]", "linear", {"weight": [1.0, 0.5, 2.0]}),
    ("linear:weight=0.4,normalise=false", "linear", {"weight": 0.4, "normalize": False}),
    ("task-arithmetic:weight=[1.0,-0.5,2.0]", "task_arithmetic", {"weight": [1.0, -0.5, 2.0]}),
    ("task-arithmetic:normalise=true,scale=0.7", "task_arithmetic", {"normalize": True, "lambda": 0.7}),
    ("ties:density=0.3", "ties", {"density": 0.3}),
    ("ties:density=[0.2,0.5,1.0],weight=[1,0.5,2],normalise=false,scale=1.3", "ties",
     {"density": [0.2, 0.5, 1.0], "weight": [1.0, 0.5, 2.0], "normalize": False, "lambda": 1.3}),
    ("breadcrumbs:density=0.4,outliers=0.05", "breadcrumbs", {"density": 0.4, "gamma": 0.05}),
    ("breadcrumbs:density=0.9,outliers=0.2", "breadcrumbs", {"density": 0.9, "gamma": 0.2}),
    ("breadcrumbs-ties:density=0.4,weight=[1,2,3]", "breadcrumbs_ties",
     {"density": 0.4, "weight": [1.0, 2.0, 3.0]}),
    ("dare-ties:density=0.4,rescale=norm", "dare_ties", {"density": 0.4}),
    ("dare-ties:density=0.4,rescale=none,normalise=true", "dare_ties",
     {"density": 0.4, "rescale": False, "normalize": True}),
    ("dare-linear:density=0.6,rescale=norm,weight=[1,0.5,2]", "dare_linear",
     {"density": 0.6, "weight": [1.0, 0.5, 2.0]}),
    ("della:density=0.5,epsilon=0.2,rescale=norm", "della", {"density": 0.5, "epsilon": 0.2}),
    ("della-linear:density=0.3,rescale=norm,scale=0.5", "della_linear", {"density": 0.3, "lambda": 0.5}),
    ("model-stock", "model_stock", {}),
    ("model-stock:filter_wise=true", "model_stock", {"filter_wise": True}),
]  # fmt: skip


def ours(entry: str, tensors: list[torch.Tensor], base: torch.Tensor) -> torch.Tensor:
    method = find_method(entry)
    inputs = {"tensors": tensors, "base": base, "name": "w"}
    merged: torch.Tensor = method.function(**{key: inputs[key] for key in method.inputs}, **method.settings)
    return merged


@pytest.mark.parametrize(("entry", "name", "settings"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("shape", [(12, 40), (480,)], ids=["matrix", "vector"])
def test_equal_tensors(
    mergekit: Any,
    stacks: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    entry: str,
    name: str,
    settings: dict[str, Any],
    shape: tuple[int, ...],
) -> None:
    """What is drawn comes from torch's own generator on both sides, with one seed."""
    base, *tensors = [tensor.reshape(shape) for tensor in stacks]
    for module in (dare_module, della_module):
        monkeypatch.setattr(module, "generator_of", lambda seed, name: torch.default_generator)
    torch.manual_seed(11)
    mine = ours(entry, tensors, base)
    torch.manual_seed(11)
    given = {"weight": 1.0, **settings} if name != "model_stock" else settings
    if name == "linear":
        theirs = mergekit.merge_methods.merge_tensors(tensors, name, parameters=given)
    else:
        theirs = mergekit.merge_methods.merge_tensors([*tensors, base], name, parameters=given, base_index=3)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0, 1.2])
@pytest.mark.parametrize("other", ["random", "near", "opposite"])
def test_equal_arcs(mergekit: Any, stacks: list[torch.Tensor], t: float, other: str) -> None:
    first = stacks[0]
    second = {
        "random": stacks[1],
        "near": first + 0.001 * stacks[1],
        "opposite": -first,
    }[other]
    theirs = mergekit.merge_methods.merge_tensors([first, second], "slerp", parameters={"t": t}, base_index=0)
    mine = ours(f"slerp:t={t}", [first, second], first)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def with_tokens(folder: Path, seed: int, tokens: list[str]) -> str:
    """A random model whose tokenizer has tokens of its own behind the common ones."""
    import copy

    from transformers import LlamaForCausalLM

    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_tokens(tokens)
    torch.manual_seed(seed)
    LlamaForCausalLM(tiny_config(num_hidden_layers=1, vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("choice", ["base", "union"])
def test_equal_checkpoints_of_several_tokenizers(mergekit: Any, tmp_path: Path, choice: str) -> None:
    base = with_tokens(tmp_path / "base", 0, ["<base>", "<all>"])
    one = with_tokens(tmp_path / "one", 1, ["<one>", "<both>", "<all>"])
    two = with_tokens(tmp_path / "two", 2, ["<both>", "<two>"])
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "models": [{"model": one, "parameters": {"weight": 0.7}}, {"model": two, "parameters": {"weight": 0.4}}],
        "tokenizer": {"source": choice},
        "dtype": "float32",
    }
    configuration = mergekit.config.MergeConfiguration.model_validate(recipe)
    mergekit.merge.run_merge(configuration, str(tmp_path / "theirs"), mergekit.options.MergeOptions(quiet=True))
    merged = merge([one, two], "task-arithmetic:weight=[0.7,0.4]", base=base, tokenizer=choice)
    theirs, mine = [load_file(folder / "model.safetensors") for folder in (tmp_path / "theirs", merged.folder)]
    assert theirs.keys() == mine.keys()

    from transformers import AutoTokenizer

    vocabularies = [AutoTokenizer.from_pretrained(f).get_vocab() for f in (tmp_path / "theirs", merged.folder)]
    assert vocabularies[0].keys() == vocabularies[1].keys()
    assert len(vocabularies[1]) == (302 if choice == "base" else 305)
    for name, tensor in mine.items():
        if tensor.shape[0] == len(vocabularies[1]):  # ids may be given in another order
            for token, row in vocabularies[1].items():
                torch.testing.assert_close(tensor[row], theirs[name][vocabularies[0][token]], rtol=1e-5, atol=1e-6)
        else:
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)
