"""Factors against sums of outer products taken from a plain backward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from family_models import build
from steelyard.compression.kronecker_curvature import FactorFolder, KroneckerFactors, collect_factors
from steelyard.errors import ModelError


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(3, 290, (4, 12), generator=torch.Generator().manual_seed(1))


def plain_factors(module: nn.Module, name: str, ids: torch.Tensor) -> KroneckerFactors:
    module = copy.deepcopy(module)
    kept: dict[str, torch.Tensor] = {}

    def keep(_linear: nn.Module, args: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.update(inputs=args[0], outputs=output)

    linear = module.get_submodule(name)
    linear.register_forward_hook(keep)
    logits = module(input_ids=ids).logits
    logprobs = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])
    (-logprobs.sum()).backward()
    inputs, gradients = kept["inputs"].detach().flatten(0, -2), kept["outputs"].grad
    assert gradients is not None
    if linear.bias is not None:
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    gradients = gradients.flatten(0, -2)
    return KroneckerFactors(
        sum(torch.outer(g, g) for g in gradients) / len(gradients),
        sum(torch.outer(a, a) for a in inputs) / len(inputs),
    )


def test_factors_are_means_of_outer_products(tiny: Any, ids: torch.Tensor) -> None:
    names = [f"model.layers.{n}.{path}" for n in (2, 3) for path in ("self_attn.v_proj", "mlp.down_proj")]
    linears = {name: tiny.module.get_submodule(name) for name in reversed(names)}
    found = collect_factors(tiny.module, tiny.module.model.layers[2], linears, ids.split(3))
    assert list(found) == list(linears)
    for name in names:
        expected = plain_factors(tiny.module, name, ids)
        for mine, theirs in zip(found[name], expected, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6 * float(theirs.abs().max()))


def test_a_bias_is_an_input_of_one(as_open_weights: Callable[..., Any], ids: torch.Tensor) -> None:
    model = as_open_weights(build("opt"))
    name = "model.decoder.layers.1.fc1"
    ids = ids % 60
    linears = {name: model.module.get_submodule(name)}
    found = collect_factors(model.module, model.module.model.decoder.layers[1], linears, [ids])[name]
    expected = plain_factors(model.module, name, ids)
    assert found.inputs.shape == (33, 33)
    assert float(found.inputs[-1, -1]) == pytest.approx(1.0)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6 * float(theirs.abs().max()))


def test_the_model_and_its_gradients_are_left_alone(tiny: Any, ids: torch.Tensor) -> None:
    linears = {"q": tiny.module.model.layers[0].self_attn.q_proj}
    before = {name: p.detach().clone() for name, p in tiny.module.named_parameters()}
    collect_factors(tiny.module, tiny.module.model.layers[0], linears, [ids])
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in tiny.module.named_parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.module.modules())


def test_values_that_are_no_numbers_are_refused_with_their_layer(tiny: Any, ids: torch.Tensor) -> None:
    module = copy.deepcopy(tiny.module)
    module.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    linears = {"model.layers.1.mlp.down_proj": module.model.layers[1].mlp.down_proj}
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.down_proj: .*not finite"):
        collect_factors(module, module.model.layers[0], linears, [ids])


def test_a_layer_that_is_not_called_is_refused(tiny: Any, ids: torch.Tensor) -> None:
    with pytest.raises(ModelError, match="stray is not called"):
        collect_factors(tiny.module, tiny.module.model.layers[0], {"stray": nn.Linear(3, 3)}, [ids])


def test_factors_come_back_from_their_folder(tmp_path: Path) -> None:
    folder = FactorFolder(tmp_path)
    factors = KroneckerFactors(torch.rand(2, 2).T, torch.rand(3, 3))
    folder.write(7, factors)
    assert all(torch.equal(a, b) for a, b in zip(folder.read(7), factors, strict=True))


def test_a_folder_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="TMPDIR"):
        FactorFolder(tmp_path / "absent").write(0, KroneckerFactors(torch.eye(1), torch.eye(1)))
