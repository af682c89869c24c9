from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file

from steelyard.contracts import Continuation, OpenWeights
from steelyard.errors import ModelError, UsageError
from steelyard.merging.adapters import read_adapter, weight_changes
from steelyard.merging.evolution import Individual, Rules, crossed, evolve, moved, mutated
from steelyard.merging.evolved_models import open_nursery
from steelyard.merging.population_evolution import population_evolution
from steelyard.merging.sparsifiers import generator_of
from steelyard.merging.verb import merge
from steelyard.models.loading import load_model

TARGET = torch.tensor([0.3, -0.2, 0.5, 0.1])


def closeness(genes: Any) -> float:
    """How near genes are to a point that no expert and no average of experts is at; 1 at the point."""
    return float(torch.exp(-(genes["w"] - TARGET).square().sum()))


@pytest.fixture
def experts() -> list[dict[str, torch.Tensor]]:
    return [{"w": torch.randn(4, generator=torch.Generator().manual_seed(seed))} for seed in range(4)]


def lora(folder: Path, seed: int, rank: int = 2, **config: Any) -> str:
    """A LoRA adapter of the tiny Llama as peft would write it: query projections of every layer."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(4):
        path = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{path}.lora_A.weight"] = torch.randn(rank, 32, generator=generator)
        tensors[f"{path}.lora_B.weight"] = torch.randn(32, rank, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors")
    stated = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "bias": "none", "use_dora": False, **config}
    (folder / "adapter_config.json").write_text(json.dumps(stated))
    return str(folder)


# ------------------------------------------------------------------------------------------ operations


def test_one_hot_crossover_returns_the_parent_exactly(experts: list[dict[str, torch.Tensor]]) -> None:
    assert torch.equal(crossed(experts[:2], [0.0, 0.7])["w"], experts[1]["w"])
    torch.testing.assert_close(crossed(experts[:2], [0.0, 0.0])["w"], (experts[0]["w"] + experts[1]["w"]) / 2)


def test_no_mutation_changes_nothing_and_mutation_only_its_share() -> None:
    genes = {"w": torch.zeros(100, 100)}
    assert torch.equal(mutated(genes, 0.0, 1.0, generator_of(0, ""))["w"], genes["w"])
    assert torch.equal(mutated(genes, 1.0, 0.0, generator_of(0, ""))["w"], genes["w"])
    changed = mutated(genes, 0.1, 0.5, generator_of(0, ""))["w"]
    hit = changed[changed != 0]
    assert len(hit) == pytest.approx(1000, abs=150)  # five standard deviations of a binomial
    assert float(hit.std()) == pytest.approx(0.5, rel=0.12)
    assert (
        mutated({"w": torch.zeros(3, dtype=torch.bfloat16)}, 1, 1, generator_of(0, ""))["w"].dtype
        == torch.bfloat16
    )


def test_a_move_by_hand() -> None:
    """Velocity of inertia, own best, best and worst, normalised; then a step."""
    individual = Individual(
        {"w": torch.tensor([1.0])}, 0.5, {"w": torch.tensor([2.0])}, ({"w": torch.tensor([3.0])}, 0.6)
    )
    best, worst = {"w": torch.tensor([5.0])}, {"w": torch.tensor([-1.0])}
    rules = Rules(pulls=(0.1, 0.2, 0.3, 0.4))
    genes, velocity = moved(individual, best, worst, [1.0, 0.5, 1.0, 0.25], rules, 0.5)
    expected = (0.1 * 2 + 0.1 * (3 - 1) + 0.3 * (5 - 1) - 0.1 * (-1 - 1)) / (0.1 + 0.1 + 0.3 + 0.1)
    assert float(velocity["w"]) == pytest.approx(expected)
    assert float(genes["w"]) == pytest.approx(1 + 0.5 * expected)


# ------------------------------------------------------------------------------------------- evolution


@pytest.mark.parametrize("selection", ["roulette", "tournament"])
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_the_best_never_falls_and_gets_better(
    experts: list[dict[str, torch.Tensor]], selection: Any, step: float
) -> None:
    parents = max(closeness(genes) for genes in experts)
    found = population_evolution(
        experts, closeness, generations=12, population=8, sigma=0.1, gene_rate=0.5, selection=selection, step=step
    )
    best = [generation.best for generation in found.history]
    assert best == sorted(best)
    assert best[-1] > parents
    assert found.best.fitness == best[-1] == closeness(found.best.genes)
    assert len(found.population) == 8
    assert [one.fitness for one in found.population] == sorted(
        (one.fitness for one in found.population), reverse=True
    )


def test_every_evaluation_is_counted_and_the_seed_decides(experts: list[dict[str, torch.Tensor]]) -> None:
    asked = 0

    def fitness(genes: Any) -> float:
        nonlocal asked
        asked += 1
        return closeness(genes)

    first = population_evolution(experts, fitness, generations=3, population=6, seed=4)
    assert first.history[-1].evaluations == asked
    again = population_evolution(experts, closeness, generations=3, population=6, seed=4)
    assert torch.equal(first.best.genes["w"], again.best.genes["w"])
    assert first.history == again.history
    assert population_evolution(experts, closeness, generations=3, population=6, seed=5).history != first.history


def test_nothing_varies_without_variation(experts: list[dict[str, torch.Tensor]]) -> None:
    """No crossover, mutation or succession: the best expert comes out, exactly, and experts are left alone."""
    before = [genes["w"].clone() for genes in experts]
    found = population_evolution(
        experts, closeness, generations=4, population=4, crossover_rate=0.0, mutation_rate=0.0, step=0.0
    )
    best = max(experts, key=closeness)
    assert torch.equal(found.best.genes["w"], best["w"])
    assert found.history[-1].evaluations == 4
    assert all(torch.equal(genes["w"], old) for genes, old in zip(experts, before, strict=True))


def test_no_autograd_graph_is_built(experts: list[dict[str, torch.Tensor]]) -> None:
    tracked = [{"w": genes["w"].requires_grad_()} for genes in experts]
    enabled = []

    def fitness(genes: Any) -> float:
        enabled.append(torch.is_grad_enabled())
        return closeness(genes)

    found = population_evolution(tracked, fitness, generations=3)
    assert not any(enabled)
    children = [one for one in found.population if not any(one.genes["w"] is genes["w"] for genes in tracked)]
    assert children
    assert all(one.genes["w"].grad_fn is None and not one.genes["w"].requires_grad for one in children)


def test_wrong_use(experts: list[dict[str, torch.Tensor]]) -> None:
    with pytest.raises(UsageError, match="at least two experts"):
        evolve(experts[:1], closeness, Rules())
    with pytest.raises(UsageError, match=r"'w' is \[3\] in expert 2 and \[4\] in the first"):
        evolve([experts[0], {"w": torch.zeros(3)}], closeness, Rules())
    with pytest.raises(UsageError, match="negative"):
        evolve(experts, lambda genes: -1.0, Rules())
    with pytest.raises(ModelError, match="no number"):
        evolve(experts, lambda genes: float("nan"), Rules())
    with pytest.raises(UsageError, match="11 elites"):
        evolve(experts, closeness, Rules(elites=11))


# ---------------------------------------------------------------------------------- adapters and models


def test_an_adapter_is_folded_in_by_its_formula(tiny_folder: Path, tmp_path: Path) -> None:
    base = cast(OpenWeights, load_model(tiny_folder))
    one, two = lora(tmp_path / "one", 1), lora(tmp_path / "two", 2)
    nursery = open_nursery([one, two], base)
    genes = nursery.experts[0]
    grown = nursery.grow(genes)
    name = "model.layers.1.self_attn.q_proj"
    before, after = (dict(model.module.named_parameters()) for model in (base, grown))
    low, high = genes[f"base_model.model.{name}.lora_A.weight"], genes[f"base_model.model.{name}.lora_B.weight"]
    torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + 2.0 * high @ low)
    assert after["model.layers.1.mlp.up_proj.weight"] is before["model.layers.1.mlp.up_proj.weight"]
    assert grown.card.fingerprint != nursery.grow(nursery.experts[1]).card.fingerprint != base.card.fingerprint
    assert read_adapter(Path(lora(tmp_path / "rs", 1, use_rslora=True))).scaling == pytest.approx(4 / 2**0.5)
    assert len(weight_changes(genes, 2.0)) == 4


def test_adapters_that_mean_something_else_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    plain = lora(tmp_path / "plain", 0)
    with pytest.raises(ModelError, match="use_dora is True, which is not supported"):
        read_adapter(Path(lora(tmp_path / "dora", 0, use_dora=True)))
    with pytest.raises(ModelError, match="only LORA"):
        read_adapter(Path(lora(tmp_path / "ia3", 0, peft_type="IA3")))
    with pytest.raises(UsageError, match=r"adapters scale by 2 and 4"):
        open_nursery([plain, lora(tmp_path / "other", 0, lora_alpha=8)], tiny_folder)
    with pytest.raises(UsageError, match="give it with --base"):
        open_nursery([plain, plain], None)
    with pytest.raises(UsageError, match="not some of each"):
        open_nursery([plain, tiny_folder], tiny_folder)
    with pytest.raises(UsageError, match="leave --base out"):
        open_nursery([tiny_folder, tiny_folder], tiny_folder)
    wide = lora(tmp_path / "wide", 0)
    save_file(
        {f"base_model.model.model.layers.0.self_attn.q_proj.lora_{x}.weight": torch.ones(2, 2) for x in "AB"},
        Path(wide) / "adapter_model.safetensors",
    )
    nursery = open_nursery([wide, wide], tiny_folder)
    with pytest.raises(ModelError, match=r"changes 'model.*q_proj.weight' \[2, 2\], which is \[32, 32\]"):
        nursery.grow(nursery.experts[0])


def test_adapters_evolve_into_a_checkpoint(tiny_folder: Path, tmp_path: Path) -> None:
    request = [Continuation("The quick brown", " fox jumps over the lazy dog")]
    adapters = [lora(tmp_path / f"a{seed}", seed) for seed in range(3)]

    def fitness(model: OpenWeights) -> float:
        return float(torch.exp(torch.tensor(model.score(request)[0].logprob / 20)))

    method = "population-evolution:population=3,generations=1,sigma=0.01"
    merged = merge(adapters, method, base=tiny_folder, out=tmp_path / "out", fitness=fitness)
    settings = merged.part.settings
    assert settings["generations"] == 1
    assert [entry["name"] for entry in settings["models"]] == ["a0", "a1", "a2"]
    model = merged.load()
    assert [part.name for part in model.card.parts] == ["population-evolution"]
    assert model.card.parts[0].settings["genes"] == settings["genes"]
    assert fitness(model) == pytest.approx(settings["history"][-1]["best"], rel=1e-4)
    nursery = open_nursery(adapters, tiny_folder)
    assert fitness(model) >= max(fitness(nursery.grow(genes)) for genes in nursery.experts) - 1e-6
    with pytest.raises(UsageError, match="needs to know what is good"):
        merge(adapters, method, base=tiny_folder)
    with pytest.raises(UsageError, match="neither --tokenizer nor --dtype"):
        merge(adapters, method, base=tiny_folder, dtype="float16", fitness=fitness)


def test_whole_models_evolve(folders: list[str]) -> None:
    request = [Continuation("", "The quick brown fox")]

    def fitness(model: OpenWeights) -> float:
        return float(torch.exp(torch.tensor(model.score(request)[0].logprob / 20)))

    merged = merge(folders[:2], "genome:population=3,generations=1,sigma=0.01,seed=1", fitness=fitness)
    parents = [fitness(cast(OpenWeights, load_model(folder))) for folder in folders[:2]]
    assert fitness(merged.load()) >= max(parents) - 1e-6


def test_the_command_measures_fitness_on_a_task(tiny_folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from steelyard.cli.main import app

    rows = [{"prompt": f"{word} is", "choices": ["big", "small"], "answer": 0} for word in ("A", "B", "C", "D")]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adapters = [lora(tmp_path / f"a{seed}", seed) for seed in range(2)]
    command = ["merge", *adapters, "--base", str(tiny_folder), "--with", "genome:population=2,generations=1"]
    task = ["--task", str(tmp_path / "task.jsonl"), "--samples", "2", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, [*command, *task])
    assert done.exit_code == 0, done.output
    settings = json.loads(done.stdout)["part"]["settings"]
    assert settings["fitness"] == "accuracy on the first 2 samples of task"
    assert {generation["best"] for generation in settings["history"]} <= {0.0, 0.5, 1.0}
    assert load_model(tmp_path / "out").card.parts[0].name == "population-evolution"
