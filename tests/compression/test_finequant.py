from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from family_models import build
from steelyard.compression.finequant import adaptive_group, finequant
from steelyard.contracts import Continuation
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.grouped_kernels import group_ranges, quantize_groups
from steelyard.models.grouped_linear import GroupedExperts, GroupedLinear
from steelyard.models.quantized import grouped_layers
from steelyard.parts import validate


def planted(weight: torch.Tensor, share: float, seed: int) -> torch.Tensor:
    """The matrix with a share of its weights made 20 times larger."""
    chosen = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < share
    return torch.where(chosen, 20 * weight, weight)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([0.003, 0.01, 0.03]))
def test_outliers_make_groups_finer(seed: int, share: float) -> None:
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(seed))
    clean = adaptive_group(weight, 1.4, 16)
    assert adaptive_group(planted(weight, share, seed + 1), 1.4, 16) < clean <= 512


def test_sizes_are_halved_until_ranges_are_close_to_the_finest() -> None:
    """Against the rule written out: the largest size of the chain whose mean range is within the limit."""
    torch.manual_seed(0)
    weight = planted(torch.randn(40, 192), 0.01, 1)
    chain = [192, 96, 48, 24, 12]
    means = [float(weight.abs().view(40, -1, size).amax(-1).mean()) for size in chain]
    for alpha in (1.0, 1.1, 1.5, 2.0, 10.0):
        expected = next(size for size, mean in zip(chain, means, strict=True) if mean <= alpha * means[-1])
        assert adaptive_group(weight, alpha, 12) == expected
        assert adaptive_group(weight, alpha, 9) == expected


def test_a_larger_alpha_never_gives_finer_groups() -> None:
    torch.manual_seed(2)
    weight = planted(torch.randn(30, 256), 0.02, 3)
    sizes = [adaptive_group(weight, alpha, 8) for alpha in (1.0, 1.1, 1.3, 1.7, 2.5, 9.0)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (8, 256)


def test_odd_and_short_widths_stay_whole() -> None:
    assert adaptive_group(torch.randn(4, 33), 1.0, 8) == 33
    assert adaptive_group(torch.randn(4, 12), 1.0, 16) == 12


def test_every_layer_and_the_head_are_rounded_as_the_formula_says(tiny: Any) -> None:
    model = finequant(tiny, alpha=1.3, minimum=8)
    layers = grouped_layers(model.module)
    assert "lm_head" in layers
    assert len(layers) == 1 + 6 * 7
    for name, layout in layers.items():
        weight = tiny.module.get_submodule(name).weight.detach()
        layer: Any = model.module.get_submodule(name)
        assert layout == {"bits": 4, "group": adaptive_group(weight, 1.3, 8)}
        half = layer.scale.float().repeat_interleave(layer.group, dim=0).t() / 2
        assert bool(((layer.weight - weight).abs() <= half * 1.0001).all())
    assert model.card.parts[-1].settings == {
        "bits": 4,
        "group": "adaptive",
        "head": True,
        "skip": [],
        "alpha": 1.3,
        "minimum": 8,
    }


@pytest.mark.parametrize(("group", "expected"), [(16, {16}), (48, {32, 48}), ("column", {32, 64})])
def test_a_fixed_group_is_round_to_nearest(tiny: Any, group: Any, expected: set[int]) -> None:
    model = finequant(tiny, group=group, head=False, skip=("q_proj",))
    layers = grouped_layers(model.module)
    assert len(layers) == 6 * 6
    assert {layout["group"] for layout in layers.values()} == expected
    layer: Any = model.module.get_submodule("model.layers.1.mlp.down_proj")
    weight = tiny.module.model.layers[1].mlp.down_proj.weight
    size = min(64, group) if isinstance(group, int) else 64
    scale = group_ranges(weight, size).div(7).half()
    steps = scale.repeat_interleave(size, dim=1)[:, :64].float()
    assert torch.allclose(layer.weight, torch.round(weight / steps).clamp(-7, 7) * steps)
    assert "alpha" not in model.card.parts[-1].settings


def test_more_bits_and_finer_groups_score_closer(tiny: Any, texts: list[str]) -> None:
    requests = [Continuation("", text) for text in texts]

    def distance(**choices: Any) -> float:
        pairs = zip(tiny.score(requests), finequant(tiny, **choices).score(requests), strict=True)
        return sum(abs(before.logprob - after.logprob) for before, after in pairs)

    assert distance(bits=8, group=16) < distance(bits=4, group=8) < distance(bits=4, group="column")


def test_memory_falls_and_parameters_stay(tiny: Any) -> None:
    model = finequant(tiny, group=16)
    assert model.card.parameters == tiny.card.parameters
    assert model.card.memory_bytes < 0.4 * tiny.card.memory_bytes
    layers = [child for child in model.module.modules() if isinstance(child, GroupedLinear)]
    held = sum(layer.bits_per_weight * layer.in_features * layer.out_features / 8 for layer in layers)
    rest = sum(p.numel() * 4 for n, p in model.module.named_parameters() if "integers" not in n)
    buffers = sum(b.numel() * b.element_size() for n, b in model.module.named_buffers() if "scale" not in n)
    assert model.card.memory_bytes == held + rest + buffers


@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_experts_are_rounded_and_routers_are_not(family: str, as_open_weights: Any) -> None:
    original = as_open_weights(build(family))
    module = finequant(original, minimum=8).module
    experts = [child for child in module.modules() if isinstance(child, GroupedExperts)]
    assert len(experts) == 2 * 4
    parameter = original.module.model.layers[2].mlp.experts.down_proj.detach()
    found: Any = module.get_submodule("model.layers.2.mlp.experts.down_proj")
    assert found.group == min(adaptive_group(matrix, 1.2, 8) for matrix in parameter)
    for number, matrix in enumerate(parameter):
        integers, scale = quantize_groups(matrix, found.group, 4)
        assert torch.equal(found[number], integers * scale.float().repeat_interleave(found.group, dim=0).t())
    router: Any = module.get_submodule("model.layers.0.mlp.gate")
    assert router.weight.dtype == torch.float32
    assert not grouped_layers(original.module)


def test_bad_settings_and_models_are_refused(tiny: Any) -> None:
    for wrong in ({"bits": 3}, {"group": 0}, {"group": "rows"}, {"alpha": 0.9}, {"minimum": 0}):
        with pytest.raises(UsageError):
            validate(finequant, wrong)
    assert validate(finequant, {"group": "64"})["group"] == 64
    with pytest.raises(CapabilityError, match="no linear layers"):
        finequant(finequant(tiny))


def test_weights_that_are_not_finite_are_named(as_open_weights: Any) -> None:
    module = build("llama")
    with torch.no_grad():
        module.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj has weights that are not finite"):
        finequant(as_open_weights(module))
