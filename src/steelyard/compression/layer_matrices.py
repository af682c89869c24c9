"""The weight matrices of one block, by family data: what a layer-wise method works on.

Every matrix is seen as (out, in) however it is stored: the weight of a ``Linear``, of GPT-2's transposed
``Conv1D``, or one expert's slice of a fused tensor (experts, out, in). Matrices of a block come in stages, in the
order in which data flows through them: q, k, v, then o, then gate and up, then down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from steelyard.contracts import OpenWeights
from steelyard.errors import CapabilityError
from steelyard.models.families import Family
from steelyard.models.int8_linear import Int8Linear

STAGES: tuple[tuple[str, ...], ...] = (
    ("q", "k", "v", "qkv", "in"),
    ("o", "x"),
    ("gate", "up", "gate_up", "dt"),
    ("down", "out"),
)
"""Roles by stage; those that are not named here share a last one."""
EXPERT_ROLES = {
    "gate_up_proj": "gate_up",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "w1": "gate",
    "w3": "up",
    "w2": "down",
}
"""What the weights of experts are called, fused or one module each."""


@dataclass(frozen=True, eq=False, slots=True)
class LayerMatrix:
    """One weight matrix of a block.

    Attributes:
        name: dotted name in the model; an expert of a fused tensor is a number in brackets behind it.
        block: number of the block, 0 first.
        role: ``q``, ``down`` ... as in the family's data.
        stage: matrices of one stage depend on none of each other's outputs.
        module: holds the parameter, and is called with the matrix's inputs (fused experts: routes them).
        parameter: name of the parameter in ``module``.
        expert: number of the slice in a fused tensor.
        transposed: the parameter is stored as (in, out).
        routed: belongs to an expert, which need not meet any input.
    """

    name: str
    block: int
    role: str
    stage: int
    module: nn.Module
    parameter: str = "weight"
    expert: int | None = None
    transposed: bool = False
    routed: bool = False

    @property
    def key(self) -> str:
        """Name of the parameter in the model."""
        prefix = self.name.partition("[")[0]
        return prefix if self.expert is not None else f"{prefix}.{self.parameter}"

    @property
    def stored(self) -> torch.Tensor:
        """The whole parameter, as the module has it."""
        return cast(torch.Tensor, getattr(self.module, self.parameter)).detach()

    def read(self) -> torch.Tensor:
        """The matrix (out, in): a view of the module's own numbers."""
        weight = self.stored if self.expert is None else self.stored[self.expert]
        return weight.t() if self.transposed else weight

    @property
    def width(self) -> int:
        """Inputs of the matrix."""
        return int(self.read().shape[1])


def write_matrices(solved: Iterable[tuple[LayerMatrix, torch.Tensor]]) -> None:
    """Give matrices new numbers (out, in), in new parameters: whoever shares the old ones keeps them.

    Experts of one fused tensor are written together, so that the tensor is copied once.
    """
    changed: dict[tuple[int, str], tuple[LayerMatrix, torch.Tensor]] = {}
    for matrix, weight in solved:
        weight = weight.t() if matrix.transposed else weight
        key = (id(matrix.module), matrix.parameter)
        if matrix.expert is None:
            changed[key] = (matrix, weight.to(matrix.stored.dtype).clone(memory_format=torch.contiguous_format))
        else:
            _, tensor = changed.setdefault(key, (matrix, matrix.stored.clone()))
            tensor[matrix.expert].copy_(weight)
    for matrix, tensor in changed.values():
        replace_parameter(matrix.module, matrix.parameter, tensor)


def replace_parameter(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put ``tensor`` in place of a parameter, which must have its shape."""
    old = cast(nn.Parameter, getattr(module, name))
    setattr(module, name, nn.Parameter(tensor, requires_grad=old.requires_grad and tensor.is_floating_point()))


def matrices_of(model: OpenWeights, module: nn.Module, skip: Sequence[str] = ()) -> list[list[LayerMatrix]]:
    """The matrices of each block of ``module``, which is built as the model's own.

    ``skip`` leaves out roles, and matrices whose name ends with or contains as a dotted part one of these.

    Raises :class:`CapabilityError` for an architecture without family data, a layer that is quantized already, and
    where nothing is left.
    """
    family = family_with_data(model)
    layers = family.layers(module)
    prefix = next(name for name, child in module.named_modules() if child is layers)
    found = [_matrices_of_block(family, layer, f"{prefix}.{n}", n) for n, layer in enumerate(layers)]
    kept = [[matrix for matrix in block if not _skipped(matrix, skip)] for block in found]
    if not any(kept):
        raise CapabilityError(f"{model.card.name} has no linear layers left to work on; skip fewer")
    return kept


def family_with_data(model: OpenWeights) -> Family:
    """The model's family, which must say where its projections are."""
    family = model.family
    if not isinstance(family, Family):
        raise CapabilityError(f"{model.card.name} does not say where its linear layers are")
    return family


def _matrices_of_block(family: Family, layer: nn.Module, prefix: str, block: int) -> list[LayerMatrix]:
    names = {id(child): name for name, child in layer.named_modules()}
    found = []
    for role, linear in family.linears(layer).items():
        name = f"{prefix}.{names[id(linear)]}"
        found.append(_checked(LayerMatrix(name, block, role, _stage(role), linear, transposed=_is_conv1d(linear))))
    experts = family.experts(layer)
    if experts is not None:
        found += _expert_matrices(experts, f"{prefix}.{names[id(experts)]}", block)
    if not found:
        raise CapabilityError(f"family {family.name!r}: {prefix} has no linear layers among its projections")
    return sorted(found, key=lambda matrix: matrix.stage)


def _expert_matrices(experts: nn.Module, prefix: str, block: int) -> list[LayerMatrix]:
    fused = [
        (name, p) for name, p in experts.named_parameters(recurse=False) if name in EXPERT_ROLES and p.ndim == 3
    ]
    if fused:
        transposed = bool(getattr(experts, "is_transposed", False))
        return [
            LayerMatrix(f"{prefix}.{name}[{n}]", block, role, _stage(role), experts, name, n, transposed, True)
            for name, parameter in fused
            for role in (EXPERT_ROLES[name],)
            for n in range(len(parameter))
        ]
    return [
        _checked(LayerMatrix(f"{prefix}.{name}", block, role, _stage(role), child, routed=True))
        for name, child in experts.named_modules()
        if isinstance(child, nn.Linear | Int8Linear)
        for role in (EXPERT_ROLES.get(name.rpartition(".")[2], name.rpartition(".")[2]),)
    ]


def _checked(matrix: LayerMatrix) -> LayerMatrix:
    if isinstance(matrix.module, Int8Linear):
        raise CapabilityError(f"{matrix.name} is quantized already: apply layer-wise parts before int8")
    weight = getattr(matrix.module, "weight", None)
    if not isinstance(weight, nn.Parameter) or weight.ndim != 2 or not weight.is_floating_point():
        raise CapabilityError(f"{matrix.name} is a {type(matrix.module).__name__}, not a linear layer of floats")
    return matrix


def _is_conv1d(module: nn.Module) -> bool:
    return type(module).__name__ == "Conv1D"


def _stage(role: str) -> int:
    return next((n for n, roles in enumerate(STAGES) if role in roles), len(STAGES))


def _skipped(matrix: LayerMatrix, skip: Sequence[str]) -> bool:
    parts = matrix.name.split(".")
    return any(s == matrix.role or s in parts or matrix.name.endswith(f".{s}") for s in skip)
