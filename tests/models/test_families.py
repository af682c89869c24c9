"""Every family: all paths resolve, and a dropped layer gives a genuinely shallower checkpoint."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from family_models import CONFIGS, MIXED, build
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.families import FAMILIES, Family, declare_family, family_of, read_family
from steelyard.models.loading import load_model
from tiny import tiny_tokenizer

MASKED = sorted(name for name, row in FAMILIES.items() if row.get("packed_masks"))


def output(model: Any) -> torch.Tensor:
    """Logits (or last hidden states of an encoder) of a fixed sequence of 9 tokens, (1, 9, n)."""
    ids = torch.tensor([[5, 9, 33, 12, 60, 7, 7, 21, 40]])
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids + 1
    with torch.no_grad():
        result = model(**inputs)
    return result.logits if "logits" in result else result.last_hidden_state


def output_skipping(model: Any, family: Family, index: int) -> torch.Tensor:
    """The same, with layer ``index`` made to hand through what it receives."""
    layer = family.layers(model)[index]
    original = layer.forward

    def identity(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(hidden_states, *args, **kwargs)
        return (hidden_states, *result[1:]) if isinstance(result, tuple) else hidden_states

    layer.forward = identity
    try:
        return output(model)
    finally:
        layer.forward = original


def test_every_family_has_a_configuration_here() -> None:
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_path_resolves(name: str) -> None:
    model = build(name)
    family = family_of(model)
    assert family.name == name
    depth = family.config_value(model, "depth")
    layers = family.layers(model)
    assert len(layers) == depth == 4
    assert family.embeddings(model) is model.get_input_embeddings()
    width = family.config_value(model, "width")
    for layer in layers:
        linears = family.linears(layer)
        assert {"o", "down"} <= set(linears) or {"in", "out"} <= set(linears) or family.experts(layer) is not None
        assert all(module.weight.ndim == 2 for module in linears.values())
        assert width in linears["out" if "out" in linears else "o"].weight.shape
        assert all(hasattr(norm, "forward") for norm in family.norms(layer).values())
        assert family.norms(layer)
        if family.attention_path:
            assert family.attention(layer) in list(layer.modules())
        if family.mlp_path:
            assert family.mlp(layer) in list(layer.modules())
    if family.head_path:
        assert family.head(model) is model.get_output_embeddings()
        assert family.final_norm(model) is not None
    if family.positions_path:
        assert family.positions(model).weight.shape[-1] == width


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("dropped", [0, 2])
def test_dropping_a_layer_equals_skipping_it(name: str, dropped: int, tmp_path: Path) -> None:
    model = build(name)
    family = family_of(model)
    whole = output(model)
    expected = output_skipping(model, family, dropped)
    if name == "t5" and dropped == 0:  # skipping block 0 by hand still lets it compute the shared position bias
        assert hasattr(family.attention(family.layers(model)[0]), "relative_attention_bias")
    kept = [layer for index, layer in enumerate(family.layers(model)) if index != dropped]
    family.set_layers(model, kept)
    assert not torch.allclose(whole, expected, atol=1e-3)
    assert family.config_value(model, "depth") == len(family.layers(model)) == 3
    torch.testing.assert_close(output(model), expected, atol=1e-5, rtol=1e-4)

    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert len(family.layers(again)) == 3
    torch.testing.assert_close(output(again), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "name", sorted(n for n, row in FAMILIES.items() if row["kind"] in ("decoder", "recurrent"))
)
def test_the_cache_works_after_dropping(name: str) -> None:
    model = build(name)
    family = family_of(model)
    family.set_layers(model, list(family.layers(model))[1:])
    ids = torch.tensor([[5, 9, 33, 12]])
    with torch.no_grad():
        with_cache = model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=True, pad_token_id=0)
        without = model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=False, pad_token_id=0)
    assert with_cache.tolist() == without.tolist()


@pytest.mark.parametrize("name", MASKED)
def test_packed_masks_are_honoured(name: str) -> None:
    """Two continuations behind one prefix, packed with a tree mask, score as each does alone."""
    changes = {"sliding_window": 64} if "sliding_window" in CONFIGS[name][1] else {}
    model = build(name, **changes)
    prefix, first, second = [5, 9, 33], [12, 60, 7], [21, 40]
    allowed = torch.ones(8, 8).tril().bool()
    allowed[6:, 3:6] = False  # the second continuation does not see the first
    mask = torch.zeros(1, 1, 8, 8).masked_fill(~allowed, torch.finfo(torch.float32).min)
    positions = torch.tensor([[0, 1, 2, 3, 4, 5, 3, 4]])
    with torch.no_grad():
        packed = model(
            input_ids=torch.tensor([prefix + first + second]), attention_mask=mask, position_ids=positions
        ).logits[0]
        alone = [model(input_ids=torch.tensor([prefix + tail])).logits[0] for tail in (first, second)]
    torch.testing.assert_close(packed[:6], alone[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed[6:], alone[1][3:], atol=1e-4, rtol=1e-4)


def test_encoder_stack_of_an_encoder_decoder(tmp_path: Path) -> None:
    model = build("t5")
    family = family_of(model)
    family.set_layers(model, list(family.layers(model, "encoder"))[:2], stack="encoder")
    expected = output(model)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert (len(again.encoder.block), len(again.decoder.block)) == (2, 4)
    torch.testing.assert_close(output(again), expected)


def test_reordering_keeps_each_layer_s_kind() -> None:
    model = build("gemma3_text")
    family = family_of(model)
    family.set_layers(model, list(reversed(family.layers(model))))
    assert model.config.layer_types == list(reversed(MIXED))
    assert [layer.self_attn.layer_idx for layer in family.layers(model)] == [0, 1, 2, 3]


def test_the_model_without_its_head_resolves_too() -> None:
    family = family_of(build("llama").model)
    assert len(family.layers(build("llama").model)) == 4
    masked = transformers.RobertaForMaskedLM(build("roberta").config)
    assert len(family_of(masked).layers(masked)) == 4


def test_layers_from_elsewhere_need_an_origin() -> None:
    model = build("gemma2")
    family = family_of(model)
    layers = list(family.layers(model))
    foreign = copy.deepcopy(layers[3])
    with pytest.raises(ModelError, match="layer 1 is none of the model's own"):
        family.set_layers(model, [layers[0], foreign])
    family.set_layers(model, [layers[0], foreign], origin=[0, 3])
    assert model.config.layer_types == [MIXED[0], MIXED[3]]


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda layers: [], "at least one layer"),
        (lambda layers: [layers[0], layers[0]], "occurs twice"),
    ],
)
def test_impossible_layers_are_refused(choose: Any, message: str) -> None:
    model = build("llama")
    family = family_of(model)
    with pytest.raises(ModelError, match=message):
        family.set_layers(model, choose(list(family.layers(model))))


def test_layers_tied_to_their_depth_stay() -> None:
    model = build("gpt2", scale_attn_by_inverse_layer_idx=True)
    family = family_of(model)
    with pytest.raises(ModelError, match="scale_attn_by_inverse_layer_idx"):
        family.set_layers(model, list(family.layers(model))[1:])
    family.set_layers(model, list(family.layers(model))[:3])
    assert model.config.n_layer == 3


def test_unknown_architecture_says_what_is_missing() -> None:
    config = transformers.CodeGenConfig(
        vocab_size=64, n_embd=32, n_layer=1, n_head=4, rotary_dim=4, n_positions=32
    )
    model = transformers.CodeGenForCausalLM(config)
    family = family_of(model)
    assert family.name == "unknown:codegen"
    for access in (family.layers, family.embeddings, family.head, family.linears, family.norms):
        with pytest.raises(CapabilityError, match=r"'codegen' are not known .*`family`"):
            access(model)


def test_a_declared_family_is_kept_with_the_model(tmp_path: Path) -> None:
    config = transformers.CodeGenConfig(
        vocab_size=300,
        n_embd=32,
        n_layer=3,
        n_head=4,
        rotary_dim=4,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
    )
    transformers.CodeGenForCausalLM(config).save_pretrained(tmp_path / "given")
    tiny_tokenizer().save_pretrained(tmp_path / "given")
    projections = {"qkv": "attn.qkv_proj", "o": "attn.out_proj", "up": "mlp.fc_in", "down": "mlp.fc_out"}
    row = {"like": "gpt2", "transposed": False, "layer_norms": {"attention": "ln_1"}, "projections": projections}
    model: Any = load_model(str(tmp_path / "given"), family=row)
    again: Any = load_model(str(model.save(tmp_path / "saved")))
    for loaded in (model, again):
        assert loaded.card.family == "codegen"
        assert loaded.family.linears(loaded.family.layers(loaded.module)[2]).keys() == projections.keys()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"layer_path": "h"}, "no field 'layer_path'; did you mean 'layers_path'?"),
        ({"like": "lama"}, "no family 'lama' to be like; did you mean 'llama'?"),
        ({"projections": {}}, "needs layers_path"),
        ({"layers_path": "h", "kind": "coder"}, "kind: Input should be"),
    ],
)
def test_a_wrong_declaration_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        read_family(row, "mine")


def test_a_declaration_that_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(CapabilityError, match=r"a layer has no q at 'attn\.q'"):
        declare_family(build("gpt2"), {"like": "gpt2", "projections": {"q": "attn.q"}})
