"""Linear layers with 8-bit integer weights, computed in integers, exact and independent of batching.

Weights are quantized once per output channel, activations per token as they come, both symmetrically. One
8-bit digit an activation (W8A8) is fastest, but the rounding of an activation then turns the last bit of a
float into an error of several percent: scores move by tenths of a nat with what else is in the batch. Three
digits keep float32's precision, so only the rounding of the weights is felt, at three times the integer work.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import nn

from steelyard.errors import CapabilityError, ModelError, UsageError

LEVELS = 127
"""Largest magnitude: -128 is not used, so that the range is symmetric."""
BASE = 254
LEADING = 127.49
"""What the largest value of a row is scaled to: its leading digit is 127, and no digit exceeds that."""
TINY = 1e-30
DIGITS = 3
"""8-bit digits an activation, unless asked otherwise."""
CONFIG_KEY = "int8_activation_digits"
"""Where a module's configuration, and so config.json, says how many digits its layers use."""


def quantize_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to 8-bit integers: ``values ~ integers * scale``.

    Args:
        values: float tensor of shape (rows, columns).

    Returns:
        int8 integers (rows, columns) and float32 scales (rows, 1), ``scale = max |value| / 127``; the error of
        a value is at most half its row's scale.

    >>> integers, scale = quantize_rows(torch.tensor([[1.0, -0.5, 0.0]]))
    >>> integers.tolist(), round(float(scale), 4)
    ([[127, -64, 0]], 0.0079)
    """
    largest = _largest(values)
    return (values.float() * (LEVELS / largest)).round_().to(torch.int8), largest / LEVELS


def digits_of_rows(values: torch.Tensor, digits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Write each value as ``digits`` 8-bit digits: ``values ~ scale * sum_i digit_i * 254**(digits - 1 - i)``.

    Returns int8 digits (digits * rows, columns), the leading ones of all rows first, and float32 scales
    (rows, 1).
    """
    if digits == 1:
        return quantize_rows(values)
    largest = _largest(values)
    rows = len(values)
    found = torch.empty(digits * rows, values.shape[1], dtype=torch.int8, device=values.device)
    rest = values.float() * (LEADING / largest)
    for index in range(digits):
        digit = rest.round()
        found[index * rows : (index + 1) * rows] = digit
        if index + 1 < digits:
            rest = (rest - digit).mul_(BASE)
    return found, largest / (LEADING * BASE ** (digits - 1))


def _largest(values: torch.Tensor) -> torch.Tensor:
    return values.abs().amax(-1, keepdim=True).float().clamp_min_(TINY)


class Int8Linear(nn.Module):
    """``y = x W^T + b`` with int8 weights (out, in) and activations of ``digits`` 8-bit digits per token.

    ``integers`` is an int8 parameter (out, in) without gradient, ``scale`` a float32 buffer (out,), ``bias`` as
    in :class:`torch.nn.Linear`; all three are in the state dict. ``weight`` is computed when asked for, since
    some architectures read the weight of a layer (Mamba's step projection) instead of calling it.

    Source: "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", section 2 (vector-wise
    quantization), without its outlier decomposition.
    """

    integers: nn.Parameter
    scale: torch.Tensor
    bias: nn.Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, digits: int = DIGITS, device: Any = None
    ) -> None:
        super().__init__()
        self.digits = digits
        self.in_features = in_features
        self.out_features = out_features
        integers = torch.zeros(out_features, in_features, dtype=torch.int8, device=device)
        self.integers = nn.Parameter(integers, requires_grad=False)
        self.register_buffer("scale", torch.ones(out_features, dtype=torch.float32, device=device))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_features, device=device)) if bias else None)

    @classmethod
    def from_linear(cls, linear: nn.Module, digits: int = DIGITS) -> Int8Linear:
        """Quantize a ``Linear``, or a ``Conv1D`` as GPT-2 has it (weight transposed)."""
        weight = _weight_of(linear)
        bias = getattr(linear, "bias", None)
        new = cls(weight.shape[1], weight.shape[0], bias is not None, digits=digits, device=weight.device)
        integers, scale = quantize_rows(weight.float())
        new.integers = nn.Parameter(integers.contiguous(), requires_grad=False)
        new.scale = scale.squeeze(1)
        if bias is not None:
            new.bias = nn.Parameter(bias.detach().clone())
        return new

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Float tensor (..., in) to float tensor (..., out) of the same type."""
        rows = inputs.reshape(-1, self.in_features)
        digits, scale = digits_of_rows(rows, self.digits)
        products = int8_product(digits, self.integers).float()
        output = products[: len(rows)]
        for start in range(len(rows), len(products), len(rows)):  # two steps, as a fused one rounds otherwise
            output = output.mul_(BASE)
            output = output.add_(products[start : start + len(rows)])
        output = output.mul_(scale).mul_(self.scale)
        if self.bias is not None:
            output += self.bias
        return output.to(inputs.dtype).view(*inputs.shape[:-1], self.out_features)

    @property
    def weight(self) -> torch.Tensor:
        """The weight this layer stands for, computed anew: float32 (out, in)."""
        return self.integers.float() * self.scale.unsqueeze(1)

    def extra_repr(self) -> str:
        """As ``Linear`` shows itself."""
        shape = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{shape}, bias={self.bias is not None}, digits={self.digits}"


def int8_product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Exact ``rows @ weight.T`` of int8 tensors (m, k) and (n, k): int32 (m, n).

    Operands are padded with zeros where a kernel wants it: on CUDA more than 16 rows and sizes divisible by 8,
    on the CPU more than one column (torch 2.13 reads beyond its operands there).
    """
    m, k = rows.shape
    n = weight.shape[0]
    cuda = rows.device.type == "cuda"
    more_m, more_k, more_n = (max(17 - m, 0), -k % 8, -n % 8) if cuda else (0, int(k == 1), 0)
    if not cuda and not _kernel_is_exact():
        return (rows.double() @ weight.double().t()).to(torch.int32)
    if more_m or more_k:
        rows = nn.functional.pad(rows, (0, more_k, 0, more_m))
    if more_k or more_n:
        weight = nn.functional.pad(weight, (0, more_k, 0, more_n))
    return torch._int_mm(rows, weight.t())[:m, :n]


@cache
def _kernel_is_exact() -> bool:
    """Whether integer products are exact on this CPU: without VNNI, some kernels saturate at 16 bits."""
    rows = torch.full((5, 64), LEVELS, dtype=torch.int8)
    weight = torch.full((16, 64), LEVELS, dtype=torch.int8)
    weight[1::2] = -LEVELS
    return torch.equal(torch._int_mm(rows, weight.t()).double(), rows.double() @ weight.double().t())


def linear_names(module: nn.Module, *, skip: Iterable[str] = (), head: bool = False) -> list[str]:
    """Dotted names of the linear layers that can be quantized, embeddings and (unless ``head``) the head apart.

    ``skip`` leaves out names that end with, or contain as one of their dotted parts, a given name. Rarely used
    shapes (routers, whose choice of experts is sensitive) are the caller's to skip.
    """
    output = _head(module)
    left_out = set(skip)
    names = []
    for name, child in module.named_modules():
        if not _is_linear(child) or (child is output and not head):
            continue
        if name in left_out or left_out & set(name.split(".")) or any(name.endswith("." + s) for s in left_out):
            continue
        names.append(name)
    return names


def replace_linears(
    module: nn.Module, *, skip: Iterable[str] = (), head: bool = False, digits: int = DIGITS
) -> nn.Module:
    """A copy of ``module`` whose linear layers are :class:`Int8Linear`; ``module`` itself stays as it is.

    ``digits`` is the number of 8-bit digits an activation is computed with, 1 (fastest) to 3 (exact to float32);
    it is noted in the copy's configuration.

    With ``head`` the output head is quantized too. Where its weight is tied to the embedding, the copy gets an
    int8 head of its own beside the float embedding, and its configuration says that they are not tied.
    """
    if digits not in (1, 2, 3):
        raise UsageError(f"int8: digits must be 1, 2 or 3, not {digits}")
    names = linear_names(module, skip=skip, head=head)
    if not names:
        raise CapabilityError(f"{type(module).__name__} has no linear layers that int8 could replace")
    memo: dict[int, Any] = {}
    for name in names:
        linear = module.get_submodule(name)
        memo[id(linear)] = Int8Linear.from_linear(linear, digits)
    new = copy.deepcopy(module, memo)
    _untie(new, names)
    if hasattr(new, "config"):
        setattr(new.config, CONFIG_KEY, digits)
    return new


def int8_names(module: nn.Module) -> list[str]:
    """Dotted names of the :class:`Int8Linear` layers of a module, as saved in ``steelyard.json``."""
    return [name for name, child in module.named_modules() if isinstance(child, Int8Linear)]


def empty_linears(module: nn.Module, names: Iterable[str]) -> nn.Module:
    """Put an empty :class:`Int8Linear` in place of each named linear layer, for a state dict to be loaded into.

    Changes ``module`` in place and returns it; raises :class:`ModelError` for a name that is no linear layer.
    """
    names = list(names)
    digits = int(getattr(getattr(module, "config", None), CONFIG_KEY, DIGITS))
    for name in names:
        try:
            linear = module.get_submodule(name)
        except AttributeError:
            linear = None
        if linear is None or not _is_linear(linear):
            raise ModelError(f"{name!r} is listed as int8 but is no linear layer of {type(module).__name__}")
        rows, columns = _weight_of(linear).shape
        bias = getattr(linear, "bias", None) is not None
        parent, _, last = name.rpartition(".")
        new = Int8Linear(columns, rows, bias, digits=digits, device=_weight_of(linear).device)
        setattr(module.get_submodule(parent), last, new.train(module.training))
    _untie(module, names)
    return module


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _weight_of(linear: nn.Module) -> torch.Tensor:
    weight: torch.Tensor = linear.weight.detach()  # type: ignore[operator]
    return weight if isinstance(linear, nn.Linear) else weight.t()


def _head(module: Any) -> nn.Module | None:
    try:
        head: nn.Module | None = module.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return head


def _untie(module: Any, names: Iterable[str]) -> None:
    head = _head(module)
    if head is None or not any(module.get_submodule(name) is head for name in names):
        return
    if module.config.tie_word_embeddings and getattr(module.config, "is_encoder_decoder", False):
        raise CapabilityError(
            f"{type(module).__name__} scales its decoder's output when head and embedding are tied, so its head "
            "cannot be quantized by itself; leave the head as it is"
        )
    module.config.tie_word_embeddings = False
