"""Populations of weights that evolve: the operations on genes, and one generation after another.

Genes are named tensors: those of adapters, or of whole models. Nothing here knows what a model is; how good genes
are is asked of a function. No gradient is ever computed. Everything drawn comes from one seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from steelyard.errors import ModelError, UsageError
from steelyard.merging.linear import linear
from steelyard.merging.sparsifiers import generator_of

if TYPE_CHECKING:
    import torch

Genes: TypeAlias = "Mapping[str, torch.Tensor]"
GeneFitness: TypeAlias = "Callable[[Genes], float]"
TOURNAMENT = 3


@dataclass(frozen=True)
class Rules:
    """How a population evolves; the settings of ``population-evolution``, where they are explained."""

    population: int = 10
    generations: int = 10
    crossover_rate: float = 0.8
    mutation_rate: float = 0.3
    gene_rate: float = 0.1
    sigma: float = 0.001
    elites: int = 1
    selection: Literal["roulette", "tournament"] = "roulette"
    step: float = 0.5
    decay: float = 0.95
    pulls: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.1)
    seed: int = 0


@dataclass(frozen=True)
class Individual:
    """Genes and their fitness. ``velocity`` and ``best`` (genes and fitness of its own past) serve succession."""

    genes: Genes
    fitness: float
    velocity: Genes | None = None
    best: tuple[Genes, float] | None = None


class Generation(NamedTuple):
    """A generation in figures; ``evaluations`` counts all calls of the fitness function so far."""

    best: float
    mean: float
    worst: float
    evaluations: int


class Evolution(NamedTuple):
    """The last population, best first, and every generation in figures, the initial one included."""

    population: tuple[Individual, ...]
    history: tuple[Generation, ...]

    @property
    def best(self) -> Individual:
        """The fittest individual; no generation had a fitter one."""
        return self.population[0]


def crossed(parents: Sequence[Genes], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """The weighted average of parents, gene by gene; weights that are all zero count as equal."""
    total = sum(weights)
    shares = tuple(weight / total for weight in weights) if total > 0 else (1 / len(parents),) * len(parents)
    return {name: linear([parent[name] for parent in parents], weight=shares) for name in parents[0]}


def mutated(genes: Genes, gene_rate: float, sigma: float, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A copy in which a share ``gene_rate`` of all entries has Gaussian noise of deviation ``sigma`` added."""
    import torch

    changed = {}
    for name, gene in genes.items():
        hit = torch.rand(gene.shape, generator=generator) < gene_rate
        noise = torch.randn(gene.shape, generator=generator) * sigma
        changed[name] = gene + (noise * hit).to(gene)
    return changed


def moved(
    individual: Individual, best: Genes, worst: Genes, draws: Sequence[float], rules: Rules, step: float
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Genes and velocity after one move towards the best and away from the worst.

    v' = (r0 p0 v + r1 p1 (own best - x) + r2 p2 (best - x) - r3 p3 (worst - x)) / sum_i r_i p_i and x' = x + step
    v', with ``draws`` r and the rules' ``pulls`` p.
    """
    pulls = [draw * pull for draw, pull in zip(draws, rules.pulls, strict=True)]
    total = sum(pulls) or 1.0
    genes, velocity = {}, {}
    own = individual.best[0] if individual.best is not None else individual.genes
    for name, gene in individual.genes.items():
        speed = pulls[1] * (own[name] - gene) + pulls[2] * (best[name] - gene) - pulls[3] * (worst[name] - gene)
        if individual.velocity is not None:
            speed = speed + pulls[0] * individual.velocity[name]
        velocity[name] = speed / total
        genes[name] = gene + step * velocity[name]
    return genes, velocity


@dataclass
class Population:
    """A population on its way: what one generation does, in order. Made and run by :func:`evolve`."""

    experts: Sequence[Genes]
    fitness: GeneFitness
    rules: Rules
    random: np.random.Generator
    noise: torch.Generator
    draws: Sequence[float]
    individuals: list[Individual] = field(default_factory=list)
    evaluations: int = 0
    best: Individual | None = None
    worst: Individual | None = None

    def born(self, genes: Genes) -> Individual:
        """Genes with their fitness, which is asked once."""
        value = float(self.fitness(genes))
        self.evaluations += 1
        if not math.isfinite(value):
            raise ModelError("fitness is no number: weights or samples are damaged")
        if value < 0:
            raise UsageError(f"fitness {value:g} is negative; shares of right answers or probabilities are not")
        individual = Individual(genes, value, best=(genes, value))
        if self.best is None or value > self.best.fitness:
            self.best = individual
        if self.worst is None or value < self.worst.fitness:
            self.worst = individual
        return individual

    def start(self) -> None:
        """The experts, and pairs of them crossed with random weights until the population is full."""
        self.individuals = [self.born(dict(genes)) for genes in self.experts]
        pairs = [(i, j) for i in range(len(self.experts)) for j in range(i + 1, len(self.experts))]
        order = self.random.permutation(len(pairs))
        for place in range(self.rules.population - len(self.experts)):
            one, other = pairs[order[place % len(pairs)]]
            weights = [float(weight) for weight in self.random.random(2)]
            self.individuals.append(self.born(crossed([self.experts[one], self.experts[other]], weights)))
        self.select()

    def succeed(self, step: float) -> None:
        """Move all but the elites by what the best and the worst have shown."""
        best, worst = self.best, self.worst
        if step == 0 or best is None or worst is None:
            return
        ranked = self.ranked()
        kept = ranked[: self.rules.elites]
        for individual in ranked[self.rules.elites :]:
            if individual.velocity is None:  # towards some other, as a swarm begins
                other = ranked[int(self.random.integers(len(ranked)))].genes
                first = {name: other[name] - gene for name, gene in individual.genes.items()}
                individual = replace(individual, velocity=first)
            genes, velocity = moved(individual, best.genes, worst.genes, self.draws, self.rules, step)
            after = replace(self.born(genes), velocity=velocity)
            if individual.best is not None and individual.best[1] > after.fitness:
                after = replace(after, best=individual.best)
            kept.append(after)
        self.individuals = kept

    def cross(self) -> None:
        """Children of pairs that are drawn by fitness, the fitter parent counting for more."""
        fitness = np.array([individual.fitness for individual in self.individuals])
        parents = list(self.individuals)
        if len(parents) < 2:
            return
        for _ in range(len(parents) // 2):
            if self.random.random() > self.rules.crossover_rate:
                continue
            one, other = self.random.choice(len(parents), size=2, replace=False, p=_shares(fitness))
            pair = [parents[one], parents[other]]
            child = crossed([parent.genes for parent in pair], [parent.fitness for parent in pair])
            self.individuals.append(self.born(child))

    def mutate(self) -> None:
        """Copies of some individuals with a little noise; the originals stay."""
        for individual in list(self.individuals):
            if self.random.random() < self.rules.mutation_rate:
                genes = mutated(individual.genes, self.rules.gene_rate, self.rules.sigma, self.noise)
                self.individuals.append(self.born(genes))

    def select(self) -> None:
        """The elites, and others by fitness and chance, until the population has its size again."""
        ranked = self.ranked()
        kept, others = ranked[: self.rules.elites], ranked[self.rules.elites :]
        wanted = self.rules.population - len(kept)
        if wanted >= len(others):
            self.individuals = ranked
            return
        if self.rules.selection == "roulette":
            shares = _shares(np.array([individual.fitness for individual in others]))
            chosen = self.random.choice(len(others), size=wanted, replace=False, p=shares)
            self.individuals = [*kept, *(others[place] for place in sorted(chosen))]
            return
        while wanted:
            size = min(TOURNAMENT, len(others))
            winner = min(self.random.choice(len(others), size=size, replace=False))  # others are ranked
            kept.append(others.pop(int(winner)))
            wanted -= 1
        self.individuals = kept

    def ranked(self) -> list[Individual]:
        """All individuals, best first; of equals the elder."""
        return sorted(self.individuals, key=lambda individual: -individual.fitness)

    def figures(self) -> Generation:
        """The present generation in figures."""
        values = [individual.fitness for individual in self.individuals]
        return Generation(max(values), sum(values) / len(values), min(values), self.evaluations)


def evolve(
    experts: Sequence[Genes],
    fitness: GeneFitness,
    rules: Rules,
    on_generation: Callable[[Generation], None] = lambda _: None,
) -> Evolution:
    """Let a population of experts evolve; see ``population-evolution`` for the algorithm.

    Raises:
        UsageError: fewer than two experts, experts of different genes, rules that do not go together, or a
            negative fitness.
        ModelError: a fitness that is no number.
    """
    import torch

    _check(experts, rules)
    with torch.no_grad():
        chance = np.random.default_rng(rules.seed)
        draws = [float(value) for value in chance.random(4)]
        population = Population(experts, fitness, rules, chance, generator_of(rules.seed, "mutation"), draws)
        population.start()
        history = [population.figures()]
        on_generation(history[-1])
        step = rules.step
        for _ in range(rules.generations):
            population.succeed(step)
            population.cross()
            population.mutate()
            population.select()
            step *= rules.decay
            history.append(population.figures())
            on_generation(history[-1])
    return Evolution(tuple(population.ranked()), tuple(history))


def _check(experts: Sequence[Genes], rules: Rules) -> None:
    if len(experts) < 2:
        raise UsageError("a population needs at least two experts")
    if rules.elites > rules.population:
        raise UsageError(f"{rules.elites} elites do not fit into a population of {rules.population}")
    for number, genes in enumerate(experts[1:], 2):
        for name in sorted({*genes, *experts[0]}):
            mine, theirs = experts[0].get(name), genes.get(name)
            if mine is None or theirs is None or mine.shape != theirs.shape:
                shapes = [None if gene is None else list(gene.shape) for gene in (mine, theirs)]
                raise UsageError(
                    f"tensor {name!r} is {shapes[1]} in expert {number} and {shapes[0]} in the first; experts "
                    "must be adapters or models of one kind and size"
                )


def _shares(fitness: np.ndarray) -> np.ndarray:
    """Fitness as probabilities; those of zero keep a sliver, so that there are always enough to draw from."""
    values = fitness + max(float(fitness.max()), 1.0) * 1e-9
    return np.asarray(values / values.sum())
