from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from family_models import CONFIGS, build
from steelyard.compression import layerwise
from steelyard.compression.calibration import token_windows
from steelyard.compression.input_statistics import Hessian
from steelyard.compression.layer_matrices import LayerMatrix, matrices_of
from steelyard.compression.layerwise import Solution, Walk, compress_layers, layer_log
from steelyard.compression.sparsegpt import sparsegpt
from steelyard.contracts import AppliedPart
from steelyard.errors import CapabilityError, InputError, ModelError
from steelyard.models.cache import cache_root
from steelyard.models.families import FAMILIES, declare_family, family_of
from steelyard.models.loading import load_model
from steelyard.models.quantized import replace_linears
from tiny import tiny_llama

WALK = Walk(tokens=96, window=16, batch_tokens=32)
PART = AppliedPart("test-method", {})
DECODERS = [name for name in CONFIGS if FAMILIES[name]["kind"] in ("decoder", "recurrent")]
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def keep(weight: torch.Tensor, _inputs: Hessian) -> Solution:
    return Solution(weight)


def halve(weight: torch.Tensor, inputs: Hessian) -> Solution:
    return Solution(weight / 2, {"rows": inputs.rows})


class Spy:
    """A method that halves weights and keeps what it was given."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, weight: torch.Tensor, inputs: Hessian) -> Solution:
        self.seen.append(inputs.matrix() * inputs.rows)
        return Solution(weight / 2)


def windows(model: Any, texts: Sequence[str], walk: Walk = WALK) -> torch.Tensor:
    return token_windows(model.tokenizer, texts, window=walk.window, tokens=walk.tokens, seed=walk.seed)


def family_model(name: str, as_open_weights: Any, **changes: Any) -> Any:
    return as_open_weights(build(name, vocab_size=300, **changes), name)


def inputs_of(module: Any, matrix: LayerMatrix, ids: torch.Tensor) -> torch.Tensor:
    """x^T x over the inputs of a dense matrix in a pass of the whole model."""
    met: list[torch.Tensor] = []
    layer = module.get_submodule(matrix.name)
    hook = layer.register_forward_pre_hook(lambda _m, args: met.append(args[0].reshape(-1, matrix.width)))
    with torch.no_grad():
        module(input_ids=ids)
    hook.remove()
    rows = torch.cat(met)
    return rows.t() @ rows


@pytest.mark.parametrize("name", DECODERS)
def test_every_family_is_walked_and_a_method_that_changes_nothing_changes_nothing(
    name: str, as_open_weights: Any, texts: list[str]
) -> None:
    model = family_model(name, as_open_weights)
    skip = ("dt",) if name == "mamba" or name == "falcon_mamba" else ()  # read, not called
    result = compress_layers(model, texts, keep, PART, dataclasses.replace(WALK, skip=skip))
    log = layer_log(result.card.parts[-1])
    blocks = matrices_of(model, model.module, skip)
    assert [record.name for record in log] == [m.name for block in blocks for m in block]
    assert all(record.error == 0 for record in log)
    assert all(record.rows == 96 for record in log if "experts" not in record.name)
    ids = windows(model, texts)[:2]
    assert torch.equal(result.module(input_ids=ids).logits, model.module(input_ids=ids).logits)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2"])
@pytest.mark.parametrize("targets", ["sequential", "parallel"])
def test_statistics_are_those_of_what_is_compressed_so_far(
    name: str, targets: Any, as_open_weights: Any, texts: list[str]
) -> None:
    model, spy = family_model(name, as_open_weights), Spy()
    result = compress_layers(model, texts, spy, PART, dataclasses.replace(WALK, targets=targets))
    ids, found = windows(model, texts), iter(spy.seen)
    reference = family_model(name, as_open_weights)
    for block in matrices_of(reference, reference.module):
        done: list[LayerMatrix] = []
        for matrix in block:
            if targets == "sequential":
                for earlier in [m for m in done if m.stage < matrix.stage]:
                    earlier.stored.div_(2)
                    done.remove(earlier)
            torch.testing.assert_close(next(found), inputs_of(reference.module, matrix, ids), **TOLERANCE)
            done.append(matrix)
        for matrix in done:
            matrix.stored.div_(2)
    with torch.no_grad():
        torch.testing.assert_close(
            result.module(input_ids=ids[:1]).logits, reference.module(input_ids=ids[:1]).logits, **TOLERANCE
        )


@pytest.mark.parametrize("name", ["mixtral", "olmoe"])
def test_experts_are_judged_by_the_inputs_routed_to_them(
    name: str, as_open_weights: Any, texts: list[str]
) -> None:
    model = family_model(name, as_open_weights)
    ids, spy = windows(model, texts), Spy()
    compress_layers(model, texts, spy, PART, dataclasses.replace(WALK, targets="parallel"))
    layer = model.family.layers(model.module)[0]
    routed: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = layer.mlp.experts.register_forward_pre_hook(lambda _m, args: routed.append(args[:2]))
    with torch.no_grad():
        model.module(input_ids=ids)
    hook.remove()
    (inputs, chosen), experts = routed[0], layer.mlp.experts
    for matrix, found in zip(matrices_of(model, model.module)[0], spy.seen, strict=False):
        if matrix.expert is None:
            continue
        rows = inputs[[matrix.expert in token for token in chosen.tolist()]]
        if matrix.role == "down":
            gate, up = (rows @ experts.gate_up_proj[matrix.expert].t()).chunk(2, dim=-1)
            rows = torch.nn.functional.silu(gate) * up
        torch.testing.assert_close(found, (rows.t() @ rows).detach(), **TOLERANCE)


def test_experts_stay_apart_and_those_that_met_nothing_are_named(as_open_weights: Any, texts: list[str]) -> None:
    model = family_model("olmoe", as_open_weights, num_experts=24, num_experts_per_tok=1)
    result = sparsegpt(model, texts, pattern="2:4", tokens=16, window=16)
    rows = [record.rows for record in layer_log(result.card.parts[-1]) if "experts" in record.name]
    assert 0 in rows
    assert max(rows) > 0
    for block in matrices_of(result, result.module):
        for matrix in block:
            assert ((matrix.read() == 0).reshape(-1, 4).sum(-1) == 2).all(), matrix.name


def test_layers_called_with_one_tensor_share_what_is_learned_of_it(tiny: Any, texts: list[str]) -> None:
    met: list[Hessian] = []

    def method(weight: torch.Tensor, inputs: Hessian) -> Solution:
        met.append(inputs)
        return Solution(weight)

    compress_layers(tiny, texts, method, PART, dataclasses.replace(WALK, targets="parallel"))
    q, k, v, o, gate, up, down = met[:7]
    assert q is k is v
    assert gate is up
    assert len({id(q), id(o), id(gate), id(down)}) == 4


def test_a_bound_on_memory_costs_passes_and_changes_nothing(tiny: Any, texts: list[str]) -> None:
    free = compress_layers(tiny, texts, halve, PART, WALK)
    bound = compress_layers(tiny, texts, halve, PART, dataclasses.replace(WALK, statistic_bytes=1))
    first, second = layer_log(free.card.parts[-1]), layer_log(bound.card.parts[-1])
    assert [record.error for record in first] == pytest.approx([record.error for record in second])
    assert first[0].figures == {"rows": 96}
    assert all(record.error == pytest.approx(0.25, abs=1e-5) for record in first)


def test_the_model_given_keeps_its_weights(tiny: Any, texts: list[str]) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.module.state_dict().items()}
    compress_layers(tiny, texts, halve, PART, WALK)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.module.state_dict().items())


# ------------------------------------------------------------------------------------------ killed and resumed

KILLED = """
import os, signal, sys
from pathlib import Path
from steelyard.compression import sparsegpt as room
from steelyard.models.loading import load_model
calls, prune = 0, room.prune
def dies(*args, **options):
    global calls
    calls += 1
    if calls == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    return prune(*args, **options)
room.prune = dies
room.sparsegpt(load_model(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines(), tokens=128, window=32)
"""


def test_killed_in_the_middle_it_goes_on_to_the_same_weights(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_llama(tmp_path / "model")
    (tmp_path / "texts").write_text("\n".join(texts), encoding="utf-8")
    same = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "texts")],
        env={**os.environ, **same},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    walks = list((cache_root() / "walks").iterdir())
    assert len(walks) == 1
    calls = 0
    solve = layerwise._solve

    def counted(*args: Any) -> Solution:
        nonlocal calls
        calls += 1
        return solve(*args)

    model: Any = load_model(str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(layerwise, "_solve", counted)
        resumed = sparsegpt(model, texts, tokens=128, window=32)
    assert calls == 2 * 7  # of four blocks two were done
    assert not walks[0].exists()
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "another"))
    whole = sparsegpt(model, texts, tokens=128, window=32)
    for (name, mine), theirs in zip(
        resumed.module.state_dict().items(), whole.module.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name
    assert resumed.card.fingerprint == whole.card.fingerprint
    assert [r.name for r in layer_log(resumed.card.parts[-1])] == [r.name for r in layer_log(whole.card.parts[-1])]


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("damage", ["state.json", "states-1", "block-0.safetensors"])
def test_what_is_damaged_on_disk_is_made_anew(tiny: Any, texts: list[str], damage: str) -> None:
    calls = 0

    def method(weight: torch.Tensor, _inputs: Hessian) -> Solution:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise Interrupted
        return Solution(weight / 2)

    with pytest.raises(Interrupted):
        compress_layers(tiny, texts, method, PART, WALK)
    (folder,) = (cache_root() / "walks").iterdir()
    file = folder / damage
    if damage == "block-0.safetensors":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9])
    compress_layers(tiny, texts, method, PART, WALK)
    assert calls == 10 + 7 * 6


# ------------------------------------------------------------------------------------------------ what is refused


def test_inputs_that_are_no_numbers_are_refused_naming_the_layer(as_open_weights: Any, texts: list[str]) -> None:
    model = family_model("llama", as_open_weights)
    with torch.no_grad():
        model.module.model.layers[2].post_attention_layernorm.weight[3] = float("nan")
    with pytest.raises(ModelError, match=r"^model\.layers\.2\.mlp\.gate_proj: its inputs .* not all finite"):
        compress_layers(model, texts, keep, PART, WALK)
    assert not list((cache_root() / "walks").iterdir())


def test_results_that_are_no_numbers_are_refused_naming_the_layer(tiny: Any, texts: list[str]) -> None:
    def method(weight: torch.Tensor, _inputs: Hessian) -> Solution:
        return Solution(weight / 0)

    with pytest.raises(ModelError, match=r"^model\.layers\.0\.self_attn\.q_proj: its new weights"):
        compress_layers(tiny, texts, method, PART, WALK)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [([], "are empty"), (["  ", "\n"], "are empty"), (["Only a few words in here, sir."], "less than one window")],
)
def test_too_little_calibration_is_refused(tiny: Any, calibration: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compress_layers(tiny, calibration, keep, PART, dataclasses.replace(WALK, window=48))


def test_quantized_layers_and_nothing_at_all_are_refused(tiny: Any, texts: list[str]) -> None:
    quantized = tiny.evolve(replace_linears(tiny.module), AppliedPart("int8"))
    with pytest.raises(CapabilityError, match="quantized already"):
        compress_layers(quantized, texts, keep, PART, WALK)
    with pytest.raises(CapabilityError, match="no linear layers left"):
        compress_layers(tiny, texts, keep, PART, dataclasses.replace(WALK, skip=("layers",)))


def test_a_full_disk_is_said_and_what_is_done_stays(
    tiny: Any, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, done = layerwise.WalkFolder.finish, 0

    def full(self: Any, number: int, *args: Any) -> None:
        nonlocal done
        if number == 2 and not done:
            done = 1
            raise OSError(28, "No space left on device")
        finish(self, number, *args)

    monkeypatch.setattr(layerwise.WalkFolder, "finish", full)
    with pytest.raises(ModelError, match="No space left on device; free some space"):
        compress_layers(tiny, texts, halve, PART, WALK)
    result = compress_layers(tiny, texts, halve, PART, WALK)
    assert len(layer_log(result.card.parts[-1])) == 7 * 6


def test_an_unknown_architecture_is_refused_until_it_is_declared(as_open_weights: Any, texts: list[str]) -> None:
    config = transformers.GPTJConfig(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=8)
    module = transformers.GPTJForCausalLM(config).eval()
    with pytest.raises(CapabilityError, match=r"'gptj' are not known .* say where they are with `family`"):
        compress_layers(as_open_weights(module), texts, keep, PART, WALK)
    attention = {role: f"attn.{role}_proj" for role in ("q", "k", "v")}
    projections = {**attention, "o": "attn.out_proj", "up": "mlp.fc_in", "down": "mlp.fc_out"}
    declare_family(module, {"like": "gpt2", "transposed": False, "projections": projections})
    result = compress_layers(as_open_weights(module), texts, halve, PART, WALK)
    assert len(layer_log(result.card.parts[-1])) == 2 * 6
    assert family_of(result.module).projections == projections
