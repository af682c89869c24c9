"""Linear layers and experts whose weights are packed integers of 4 or 8 bits, scaled in groups along the inputs.

Only the rounding of the weights is felt: activations stay floats, and products are float products
(:mod:`steelyard.models.grouped_kernels`, which also says how a table is laid out). Memory is

    in * (out * bits / 8 + 4 or 8) + 2 * out * in / group  bytes

for a layer without bias: the table with the two floats that end each of its rows, and half-precision scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from steelyard.errors import UsageError
from steelyard.models import grouped_kernels as kernels
from steelyard.models.int8_linear import weight_of


class Packed(nn.Module):
    """Matrices (out, in) of one shape as tables and scales, with or without a leading dimension.

    ``integers`` is an uint8 parameter (..., in, :func:`~steelyard.models.grouped_kernels.table_width`) without
    gradient, ``scale`` a float16 buffer (..., groups, out), which stays in half precision wherever the module
    moves.
    """

    integers: nn.Parameter
    scale: torch.Tensor

    def __init__(self, shape: tuple[int, ...], *, bits: int, group: int, device: Any = None) -> None:
        super().__init__()
        *leading, rows, columns = shape
        if bits not in kernels.BITS or group < 1:
            raise UsageError(f"packed weights have 4 or 8 bits and groups of 1 or more, not {bits} and {group}")
        self.bits = bits
        self.group = min(group, columns)
        self.in_features = columns
        self.out_features = rows
        table = torch.zeros(*leading, columns, kernels.table_width(rows, bits), dtype=torch.uint8, device=device)
        self.integers = nn.Parameter(table, requires_grad=False)
        groups = -(-columns // self.group)
        self.register_buffer("scale", torch.ones(*leading, groups, rows, dtype=torch.float16, device=device))

    @property
    def matrices(self) -> int:
        """How many matrices there are."""
        return self.integers.shape[:-2].numel()

    @property
    def unpacked_parameters(self) -> int:
        """Weights that are represented here beyond the bytes that parameters count."""
        return self.matrices * self.in_features * self.out_features - self.integers.numel()

    @property
    def bits_per_weight(self) -> float:
        """Bits of table and scales over the weights they stand for."""
        size = kernels.table_bytes(self.out_features, self.in_features, self.group, self.bits)
        return 8 * size / (self.out_features * self.in_features)

    def extra_repr(self) -> str:
        """As ``Linear`` shows itself."""
        shape = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{shape}, bits={self.bits}, group={self.group}"

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Packed:
        scale = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if (
            self.scale.dtype != torch.float16
        ):  # a change of type is meant for what computes, not for what is stored
            self.scale = scale.to(self.scale.device)
        return self


class GroupedLinear(Packed):
    """``y = x W^T + b`` with packed weights; ``bias`` is as in :class:`torch.nn.Linear`.

    ``weight`` is computed when asked for, since some architectures read the weight of a layer (Mamba's step
    projection) instead of calling it.
    """

    bias: nn.Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, bits: int, group: int, device: Any = None
    ) -> None:
        super().__init__((out_features, in_features), bits=bits, group=group, device=device)
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_features, device=device)) if bias else None)

    @classmethod
    def from_linear(cls, linear: nn.Module, grouped: kernels.Grouped, bits: int, group: int) -> GroupedLinear:
        """The layer that takes the place of a ``Linear`` or ``Conv1D``, of its weight (out, in) as rounded."""
        rows, columns = grouped.integers.shape
        bias = getattr(linear, "bias", None)
        new = cls(columns, rows, bias is not None, bits=bits, group=group, device=grouped.scale.device)
        new.integers = nn.Parameter(kernels.pack_table(grouped.integers, bits), requires_grad=False)
        new.scale = grouped.scale
        if bias is not None:
            new.bias = nn.Parameter(bias.detach().clone())
        return new

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Float tensor (..., in) to float tensor (..., out) of the same type."""
        rows = inputs.reshape(-1, self.in_features)
        if not (rows.dtype == torch.bfloat16 and rows.is_cuda):  # whose range and products are enough there
            rows = rows.float()
        output = self._product(rows)
        if self.bias is not None:
            output = output + self.bias
        return output.to(inputs.dtype).view(*inputs.shape[:-1], self.out_features)

    @property
    def weight(self) -> torch.Tensor:
        """The weight this layer stands for, computed anew: float32 (out, in)."""
        return kernels.unpack_weight(self.integers, self.scale, self.group, self.bits)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and rows.requires_grad:
            return nn.functional.linear(rows, self.weight.to(rows.dtype))
        product = kernels.float_product
        if 0 < len(rows) <= kernels.bag_rows(rows.device.type, self.bits):
            product = kernels.bag_product
        return product(rows, self.integers, self.scale, self.group, self.bits)


class GroupedExperts(Packed):
    """Packed weights of experts in place of a parameter (experts, out, in); indexing gives one expert's weight.

    That is how the architectures' own code reads the parameter when it runs expert by expert
    (:func:`run_by_expert`): only experts that are chosen are unpacked.
    """

    @classmethod
    def from_parameter(cls, found: list[kernels.Grouped], bits: int, group: int) -> GroupedExperts:
        """What takes the place of a parameter whose experts were rounded with one group size."""
        shape = (len(found), *found[0].integers.shape)
        new = cls(shape, bits=bits, group=group, device=found[0].scale.device)
        tables = torch.stack([kernels.pack_table(grouped.integers, bits) for grouped in found])
        new.integers = nn.Parameter(tables, requires_grad=False)
        new.scale = torch.stack([grouped.scale for grouped in found])
        return new

    def __len__(self) -> int:
        return len(self.integers)

    def __getitem__(self, expert: Any) -> torch.Tensor:
        """The weight of one expert: float32 (out, in)."""
        number = int(expert)
        return kernels.unpack_weight(self.integers[number], self.scale[number], self.group, self.bits)

    @property
    def weight(self) -> torch.Tensor:
        """The parameter this stands for, computed anew: float32 (experts, out, in)."""
        return torch.stack([self[number] for number in range(len(self))])


def run_by_expert(module: nn.Module) -> None:
    """Let layers with packed experts run expert by expert; transformers' faster ways need plain parameters."""
    for child in module.modules():
        if any(isinstance(part, GroupedExperts) for part in child.children()):
            config = getattr(child, "config", None)
            if config is not None:
                config._experts_implementation = "eager"


def grouped_linear(linear: nn.Module, bits: int, group: int) -> GroupedLinear:
    """A layer rounded to nearest with a fixed group size."""
    weight = weight_of(linear)
    return GroupedLinear.from_linear(linear, kernels.quantize_groups(weight, group, bits), bits, group)
