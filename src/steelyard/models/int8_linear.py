"""Linear layers with 8-bit integer weights: a quarter of float32's memory, and no slower.

Weights are quantized once per output channel, symmetrically. Activations stay floats unless fewer than three
8-bit digits are asked for: then the rounding of an activation turns the last bit of a float into an error of
several percent (W8A8), and scores move by tenths of a nat with what else is in the batch. With three digits,
which hold all of a float32, only the rounding of the weights is felt. How the product is computed is chosen by
timing (:mod:`steelyard.models.int8_kernels`) and bears on speed and memory alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from steelyard.models import int8_kernels as kernels

DIGITS = 3
"""8-bit digits an activation, unless asked otherwise."""
DIGITS_KEY = "int8_activation_digits"
PACKED_KEY = "int8_packed"
"""Where a module's configuration, and so config.json, says how its layers compute."""


class Int8Linear(nn.Module):
    """``y = x W^T + b`` with int8 weights (out, in) and activations of ``digits`` 8-bit digits per token.

    ``integers`` is an int8 parameter (out, in) without gradient, ``scale`` a float32 buffer (out,), ``bias`` as
    in :class:`torch.nn.Linear`; all three are in the state dict. ``weight`` is computed when asked for, since
    some architectures read the weight of a layer (Mamba's step projection) instead of calling it.

    With ``packed`` a half-precision copy of the integers is made when it is first needed, for inputs of a few
    rows; :attr:`packed_bytes` counts it from the start. It is no part of the state dict, of copies and pickles.

    Source: "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", section 2 (vector-wise
    quantization), without its outlier decomposition.
    """

    integers: nn.Parameter
    scale: torch.Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        digits: int = DIGITS,
        packed: bool = False,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.digits = digits
        self.packed = packed
        self.in_features = in_features
        self.out_features = out_features
        integers = torch.zeros(out_features, in_features, dtype=torch.int8, device=device)
        self.integers = nn.Parameter(integers, requires_grad=False)
        self.register_buffer("scale", torch.ones(out_features, dtype=torch.float32, device=device))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_features, device=device)) if bias else None)
        self._copy: Any = None

    @classmethod
    def from_linear(cls, linear: nn.Module, digits: int = DIGITS, packed: bool = False) -> Int8Linear:
        """Quantize a ``Linear``, or a ``Conv1D`` as GPT-2 has it (weight transposed)."""
        weight = weight_of(linear)
        bias = getattr(linear, "bias", None)
        rows, columns = weight.shape
        new = cls(columns, rows, bias is not None, digits=digits, packed=packed, device=weight.device)
        integers, scale = kernels.quantize_rows(weight.float())
        new.integers = nn.Parameter(integers.contiguous(), requires_grad=False)
        new.scale = scale.squeeze(1)
        if bias is not None:
            new.bias = nn.Parameter(bias.detach().clone())
        return new

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Float tensor (..., in) to float tensor (..., out) of the same type."""
        rows = inputs.reshape(-1, self.in_features)
        if not (rows.dtype == torch.bfloat16 and rows.is_cuda):  # whose range and products are enough there
            rows = rows.float()
        output = self._product(rows).mul_(self.scale)
        if self.bias is not None:
            output = output.add_(self.bias)
        return output.to(inputs.dtype).view(*inputs.shape[:-1], self.out_features)

    def kernel(self, rows: int) -> kernels.Kernel:
        """What multiplies inputs of ``rows`` rows on this machine."""
        choice = kernels.fastest(self.integers.device.type, self.digits, self.packed)
        return choice.few if rows <= kernels.FEW_ROWS else choice.many

    @property
    def packed_bytes(self) -> int:
        """Bytes of the half-precision copy, once it is made; 0 where this machine has no use for one."""
        few = kernels.FEW_ROWS
        used = self.packed and "half" in (self.kernel(few), self.kernel(few + 1))
        return 2 * self.integers.numel() if used else 0

    @property
    def weight(self) -> torch.Tensor:
        """The weight this layer stands for, computed anew: float32 (out, in)."""
        return self.integers.float() * self.scale.unsqueeze(1)

    def extra_repr(self) -> str:
        """As ``Linear`` shows itself."""
        shape = f"in_features={self.in_features}, out_features={self.out_features}"
        packed = ", packed=True" if self.packed else ""
        return f"{shape}, bias={self.bias is not None}, digits={self.digits}{packed}"

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        kernel = self.kernel(len(rows))
        if torch.is_grad_enabled() and rows.requires_grad:
            kernel = "float"  # the only one that is differentiable
        if kernel == "integer":
            return kernels.digit_product(rows, self.integers, self.digits)
        rows = kernels.rounded_rows(rows, self.digits)
        if kernel == "float":
            return kernels.float_product(rows, self.integers)
        if self._copy is None:
            self._copy = kernels.pack_half(self.integers)
        return kernels.half_product(rows, self._copy)

    def _apply(self, fn: Any, recurse: bool = True) -> Int8Linear:
        self._copy = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._copy = None
        super()._load_from_state_dict(*arguments, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_copy": None}


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a float ``Linear``, or a ``Conv1D`` as GPT-2 has it."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def weight_of(linear: nn.Module) -> torch.Tensor:
    """The weight of such a module as (out, in)."""
    weight: torch.Tensor = linear.weight.detach()  # type: ignore[operator]
    return weight if isinstance(linear, nn.Linear) else weight.t()
