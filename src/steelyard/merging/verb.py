"""The verb ``merge``: several models into one checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from steelyard.contracts import AppliedPart, LanguageModel, OpenWeights, Progress
from steelyard.errors import UsageError
from steelyard.merging.evolution import Generation
from steelyard.merging.evolved_models import open_nursery
from steelyard.merging.methods import Method, MethodEntry, find_method
from steelyard.merging.sources import open_source
from steelyard.merging.streaming import plan_merge
from steelyard.models.cache import materialise
from steelyard.models.saving import write_folder

AnyModel: TypeAlias = str | Path | LanguageModel
Fitness: TypeAlias = Callable[[OpenWeights], float]


@dataclass(frozen=True)
class Merged:
    """A merged checkpoint: where it lies, what was done, and settings in which the models differed."""

    folder: Path
    part: AppliedPart
    notes: tuple[str, ...] = ()

    def load(self) -> OpenWeights:
        """The merged model, as any other: it can be asked, compressed and saved."""
        from steelyard.models.loading import load_model

        return cast(OpenWeights, load_model(self.folder))


def merge(
    models: Sequence[AnyModel],
    method: MethodEntry,
    *,
    base: AnyModel | None = None,
    out: str | Path | None = None,
    tokenizer: str | None = None,
    dtype: str | None = None,
    fitness: Fitness | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Merge models into one.

    Args:
        models: names, folders or loaded models of one architecture and size; for ``population-evolution`` also
            folders of LoRA adapters.
        method: such as ``"linear"``, ``"ties:density=0.2"`` or ``{"dare-ties": {"weight": [1, 0.5]}}``; see
            ``steelyard parts --kind merger``.
        base: the model they were finetuned from, for methods that merge what was learned since, and for adapters.
        out: a new or empty folder for the checkpoint; by default a folder in the model cache.
        tokenizer: whose tokens the result has, where those of the models differ: ``base``, ``first`` or ``union``
            (see :mod:`steelyard.merging.vocabularies`). Without it differing tokenizers are refused.
        dtype: number format of the result; by default that of the model whose configuration it takes.
        fitness: how good a model is, for methods that search; not negative, and the more the better.
            :class:`steelyard.evaluation.fitness.TaskFitness` makes one of a task.
        progress: told of every finished tensor, or of every generation.

    Memory grows with the largest tensor and not with the models (:mod:`steelyard.merging.streaming`); a population
    is held whole. The result is written whole or not at all.

    Raises:
        UsageError: an unknown method or setting, or a full folder.
        ModelError: models that cannot be merged, damaged or quantized weights, or a place that cannot be written.

    Example:
        >>> merged = merge(["chat-a", "chat-b"], "ties:density=0.3", base="base", out="ab")  # doctest: +SKIP
        >>> merged.load().generate(["Hello"])  # doctest: +SKIP
    """
    found = find_method(method)
    target = Path(out) if out is not None else None
    if target is not None and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} already exists and is not an empty folder; name a new one")
    if "fitness" in found.inputs:
        if tokenizer is not None or dtype is not None:
            raise UsageError(f"{found.name} takes neither --tokenizer nor --dtype: its experts are of one kind")
        return _evolved(found, models, base, target, fitness, progress)
    if fitness is not None:
        raise UsageError(f"{found.name} looks for nothing, so it takes no task; leave it out")
    return _streamed(found, models, base, target, tokenizer, dtype, progress)


def _streamed(
    method: Method,
    models: Sequence[AnyModel],
    base: AnyModel | None,
    target: Path | None,
    tokenizer: str | None,
    dtype: str | None,
    progress: Progress | None,
) -> Merged:
    sources = [open_source(model) for model in models]
    start = open_source(base) if base is not None else None
    plan = plan_merge(method, sources, start, tokenizer=tokenizer, dtype=dtype)
    if progress is not None:
        for note in plan.notes:
            progress.note(note)

    def write(folder: Path) -> None:
        plan.write(folder, progress)

    folder = materialise(_key(plan.part), write) if target is None else write_folder(target, write)
    return Merged(folder, plan.part, plan.notes)


def _evolved(
    method: Method,
    models: Sequence[AnyModel],
    base: AnyModel | None,
    target: Path | None,
    fitness: Fitness | None,
    progress: Progress | None,
) -> Merged:
    if fitness is None:
        raise UsageError(f"{method.name} needs to know what is good: give --task, or fitness in Python")
    asked = fitness
    nursery = open_nursery(models, base)
    facts = {**method.settings, "fitness": str(getattr(fitness, "name", "a function"))}
    evolution = method.function(
        nursery.experts, lambda genes: asked(nursery.grow(genes, **facts)), **method.settings
    )
    history = [generation._asdict() for generation in evolution.history]
    best = nursery.grow(evolution.best.genes, **facts, history=history)
    if progress is not None:
        progress.note(_story(evolution.history))
    part = best.card.parts[-1]
    if target is None:
        return Merged(materialise(_key(part), lambda folder: _save_into(best, folder)), part)
    return Merged(best.save(target), part)


def _save_into(model: OpenWeights, folder: Path) -> None:
    model.save(folder)


def _story(history: Sequence[Generation]) -> str:
    first, last = history[0], history[-1]
    return (
        f"best fitness {first.best:.4f} of the initial population, {last.best:.4f} after {len(history) - 1} "
        f"generations and {last.evaluations} evaluations"
    )


def _key(part: AppliedPart) -> str:
    text = json.dumps([part.name, dict(part.settings)], sort_keys=True, default=str)
    return f"merge-{part.name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
