"""Populations of expert weights that evolve towards a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, NonNegativeInt, PositiveInt

from steelyard.merging.evolution import Evolution, GeneFitness, Genes, Rules, evolve
from steelyard.parts import part

Rate: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Factor: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@part(papers=[40], also=["genome"])
def population_evolution(
    experts: Sequence[Genes],
    fitness: GeneFitness,
    *,
    population: Annotated[int, Field(ge=2)] = 10,
    generations: NonNegativeInt = 10,
    crossover_rate: Rate = 0.8,
    mutation_rate: Rate = 0.3,
    gene_rate: Rate = 0.1,
    sigma: Factor = 0.001,
    elites: PositiveInt = 1,
    selection: Literal["roulette", "tournament"] = "roulette",
    step: Rate = 0.5,
    decay: Rate = 0.95,
    pulls: tuple[Factor, Factor, Factor, Factor] = (0.2, 0.2, 0.2, 0.1),
    seed: int = 0,
) -> Evolution:
    """Evolve a population of expert weights by crossover, mutation, selection and succession, without gradients.

    The first population are the experts and, until it is full, pairs of them averaged with random weights. Then
    each generation:

    1. Succession (GENOME+): every individual x but the elites moves, x + step * v, by a velocity
       v = (r0 p0 v + r1 p1 (own best - x) + r2 p2 (best - x) - r3 p3 (worst - x)) / sum_i r_i p_i, where best and
       worst are those of all times, p are the ``pulls`` and r is drawn once from 0 to 1. ``step`` shrinks by
       ``decay`` a generation; 0 leaves succession out (GENOME).
    2. Crossover: half as many pairs as individuals are drawn by fitness, and each has with ``crossover_rate`` a
       child, their average weighted by fitness.
    3. Mutation: with ``mutation_rate`` an individual gets a copy in which a share ``gene_rate`` of all entries has
       Gaussian noise of deviation ``sigma``.
    4. Selection: the ``elites`` stay, the others are drawn by fitness ("roulette") or win against two others
       ("tournament"), until there are ``population`` again.

    The best fitness never falls, since the elites are neither moved nor drawn. Memory holds the genes of up to
    ``population`` * 2 individuals, velocities and past bests beside: little for adapters, several times the models
    for whole ones. A fitness is asked of each individual once; it must not be negative, as a share of right
    answers is not. The fittest of the last population may also answer together: see
    :class:`steelyard.systems.output_ensemble.OutputEnsemble`.

    Args:
        experts: two or more, as tensors by name, all of the same names and shapes.
        fitness: how good such tensors are.
        population: individuals that live on.
        generations: how many; 0 leaves the initial population.
        crossover_rate: share of the pairs that have a child.
        mutation_rate: share of the individuals that get a mutated copy.
        gene_rate: share of its entries that change.
        sigma: standard deviation of the change, in units of the weights.
        elites: how many of the best are kept as they are.
        selection: how the others are chosen.
        step: length of a move in succession.
        decay: factor on ``step`` after each generation.
        pulls: of the velocity before, one's own best, the best and the worst of all.
        seed: of everything drawn.

    Raises:
        UsageError: fewer than two experts, experts that differ in shape, or a negative fitness.
        ModelError: a fitness that is no number.

    Source:
        Nature-Inspired Population-Based Evolution of Large Language Models, GENOME and GENOME+; details the paper
        leaves open follow the authors' code. Unlike there, elites are exempt from succession, so that the best is
        never lost; ``decay`` acts once a generation, not once an individual; and an individual's own best is its
        fittest past, where the code lets it follow the individual.

    Relations:
        ``linear`` is its crossover. Other mergers take weights that are given; this one looks for them.

    Example:
        >>> import torch
        >>> experts = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}]
        >>> found = population_evolution(experts, lambda genes: 1 - abs(float(genes["w"]) - 0.6), seed=0)
        >>> found.best.fitness >= 0.6
        True
    """
    rules = Rules(
        population=population,
        generations=generations,
        crossover_rate=crossover_rate,
        mutation_rate=mutation_rate,
        gene_rate=gene_rate,
        sigma=sigma,
        elites=elites,
        selection=selection,
        step=step,
        decay=decay,
        pulls=pulls,
        seed=seed,
    )
    return evolve(experts, fitness, rules)
