"""Models around genes: the genes of experts, and the model that any genes make.

Experts are LoRA adapters of one base model, or whole models of one kind. The genes of an adapter are its A and B
matrices, which are crossed and mutated as they are; those of a whole model are its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from steelyard.contracts import AppliedPart, LanguageModel, OpenWeights
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.merging.adapters import gene_hash, is_adapter, read_adapter, weight_changes
from steelyard.merging.evolution import Genes
from steelyard.models.sharing import share

if TYPE_CHECKING:
    import torch

NAME = "population-evolution"


@dataclass(frozen=True)
class Nursery:
    """Experts' genes, and what it takes to make a model of any genes of that kind."""

    base: OpenWeights
    experts: tuple[Genes, ...]
    records: tuple[Mapping[str, Any], ...]
    place: Callable[[torch.nn.Module, Genes], None]

    def grow(self, genes: Genes, **facts: Any) -> OpenWeights:
        """The model that genes make: a copy of the base that shares all tensors but those the genes bear on.

        Its history has a hash of the genes, so that different ones never share a fingerprint, and ``facts``.
        """
        module = share(self.base.module)
        self.place(module, genes)
        part = AppliedPart(NAME, {"models": [dict(r) for r in self.records], **facts, "genes": gene_hash(genes)})
        return self.base.evolve(module, part)


def open_nursery(models: Sequence[str | Path | LanguageModel], base: str | Path | LanguageModel | None) -> Nursery:
    """Read experts: folders of LoRA adapters with their base, or names of whole models or loaded ones.

    Raises:
        UsageError: adapters without a base, a base with whole models, or both kinds mixed.
        ModelError: an adapter that cannot be read or does not fit its base; integers as weights.
        CapabilityError: a model without weights in this process.
    """
    adapters = [is_adapter(model) for model in models]
    if any(adapters) and not all(adapters):
        raise UsageError("experts are adapters or whole models, not some of each; fold the adapters in first")
    if any(adapters):
        if base is None:
            raise UsageError("adapters change a base model: give it with --base")
        return _of_adapters([Path(cast(str, model)) for model in models], _weights(base))
    if base is not None:
        raise UsageError("a base belongs to adapters; whole models evolve without one, so leave --base out")
    return _of_models([_weights(model) for model in models])


def _weights(model: str | Path | LanguageModel) -> OpenWeights:
    if isinstance(model, str | Path):
        from steelyard.models.loading import load_model

        model = load_model(model)
    if not isinstance(model, OpenWeights):
        raise CapabilityError(f"merging needs weights, and those of {model.card.name} are not in this process")
    return model


def _of_adapters(folders: Sequence[Path], base: OpenWeights) -> Nursery:
    found = [read_adapter(folder) for folder in folders]
    scalings = {adapter.scaling for adapter in found}
    if len(scalings) != 1:
        raise UsageError(
            f"adapters scale by {' and '.join(f'{s:g}' for s in sorted(scalings))} (lora_alpha over rank): what "
            "is learned in one means something else in the other; evolve adapters of one scaling"
        )
    scaling = scalings.pop()

    def place(module: torch.nn.Module, genes: Genes) -> None:
        parameters = dict(module.named_parameters())
        for name, change in weight_changes(genes, scaling).items():
            weight = parameters.get(name)
            if weight is None or weight.shape != change.shape:
                shape = "missing" if weight is None else list(weight.shape)
                raise ModelError(
                    f"adapter: it changes {name!r} {list(change.shape)}, which is {shape} in {base.card.name}; "
                    "give the base it was trained on, not quantized"
                )
            _replace(module, name, weight.detach() + change.to(weight))

    records = [{"name": adapter.name, "fingerprint": adapter.fingerprint} for adapter in found]
    return Nursery(base, tuple(adapter.genes for adapter in found), tuple(records), place)


def _of_models(models: Sequence[OpenWeights]) -> Nursery:
    kinds = {type(model.module).__name__ for model in models}
    if len(kinds) != 1:
        raise ModelError(
            f"models are {' and '.join(sorted(kinds))}; only models of one architecture can be merged"
        )
    vocabularies = [model.tokenizer.get_vocab() for model in models]
    if any(vocabulary != vocabularies[0] for vocabulary in vocabularies):
        raise ModelError("models have different tokenizers; merge them with --tokenizer union first")
    experts = [
        {name: parameter.detach() for name, parameter in model.module.named_parameters()} for model in models
    ]
    if any(not gene.is_floating_point() for genes in experts for gene in genes.values()):
        raise ModelError("weights that are integers cannot evolve; take the models as they were before")

    def place(module: torch.nn.Module, genes: Genes) -> None:
        for name, gene in genes.items():
            _replace(module, name, gene)
        tie = getattr(module, "tie_weights", None)
        if tie is not None:
            tie()

    records = [{"name": model.card.name, "fingerprint": model.card.fingerprint} for model in models]
    return Nursery(models[0], tuple(experts), tuple(records), place)


def _replace(module: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    from torch import nn

    path, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(path), attribute, nn.Parameter(value, requires_grad=False))
