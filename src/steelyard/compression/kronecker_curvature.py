"""The curvature of a language model's loss, one Kronecker product for each linear layer (KFAC).

For a linear layer with inputs a_t and loss gradients g_t at its outputs, t over the tokens of the calibration
windows, the empirical Fisher matrix of its weights is the mean of (g_t g_t') (x) (a_t a_t'). Taking inputs and
gradients as independent makes it G (x) A, with G and A the means of g_t g_t' and of a_t a_t'. Gradients come from
a backward pass through the model that stops at the first block asked for; none is taken for a weight.

Source: The LLM Surgeon, section 3.1; Optimizing Neural Networks with Kronecker-factored Approximate Curvature
(Martens and Grosse 2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from steelyard.errors import ModelError


class KroneckerFactors(NamedTuple):
    """``outputs`` G (r, r) and ``inputs`` A (c, c) for a weight matrix (r, c); a bias is its last column."""

    outputs: torch.Tensor
    inputs: torch.Tensor


@dataclass
class _Trace:
    """Inputs and outputs of the watched layers in one pass."""

    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)


def collect_factors(
    module: nn.Module, first_block: nn.Module, linears: Mapping[str, nn.Module], batches: Sequence[torch.Tensor]
) -> dict[str, KroneckerFactors]:
    """Factors of some linear layers by name, averaged over all tokens of ``batches`` of token ids (b, w).

    The loss is the summed negative log-likelihood, in nats, of each token given those before it, so a quadratic
    form in the factors is the rise of that loss per token.

    Memory: the factors; and for one batch the activations of all blocks from ``first_block`` on, its logits with
    their gradient, and the inputs, outputs and output gradients of ``linears``. A backward pass costs about as
    much as a forward pass; the factors cost 2 (r^2 + c^2) operations a token and layer.

    Args:
        module: a causal language model; neither its weights nor their gradients are changed.
        first_block: the first block in which one of ``linears`` lies.
        linears: layers of the model, each called once in a pass, with outputs (b, w, r).
        batches: token ids.

    Raises:
        ModelError: a layer that is not called once in a pass, or activations or gradients that are not finite.
    """
    sums: dict[str, KroneckerFactors] = {}
    tokens = 0
    for ids in batches:
        with torch.enable_grad(), _traced(first_block, linears) as trace:
            logits = module(input_ids=ids, use_cache=False).logits
            loss = summed_loss(logits, ids)
        _check_called(linears, trace)
        gradients = torch.autograd.grad(loss, list(trace.outputs.values()), materialize_grads=True)
        for name, gradient in zip(trace.outputs, gradients, strict=True):
            found = KroneckerFactors(_gram(gradient), _gram(_with_bias(trace.inputs[name], linears[name])))
            sums[name] = _added(sums[name], found) if name in sums else found
        tokens += ids.numel()
    for name, factors in sums.items():
        if not all(bool(factor.isfinite().all()) for factor in factors):
            raise ModelError(
                f"{name}: activations or gradients on the calibration texts are not finite; "
                "check the weights, or load the model in float32"
            )
    return {name: KroneckerFactors(*(factor / tokens for factor in sums[name])) for name in linears}


@contextmanager
def _traced(first_block: nn.Module, linears: Mapping[str, nn.Module]) -> Iterator[_Trace]:
    trace = _Trace()

    def begin(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Cut the graph before the first block, so that gradients run no further back."""
        if args:
            return (args[0].detach().requires_grad_(), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": kwargs["hidden_states"].detach().requires_grad_()}

    def watch(name: str) -> Any:
        def keep(_linear: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            if name in trace.outputs:
                raise ModelError(f"{name} is called more than once in a pass, so its curvature is not one product")
            trace.inputs[name], trace.outputs[name] = args[0].detach(), output

        return keep

    hooks = [first_block.register_forward_pre_hook(begin, with_kwargs=True)]
    hooks += [linear.register_forward_hook(watch(name)) for name, linear in linears.items()]
    try:
        yield trace
    finally:
        for hook in hooks:
            hook.remove()


def _check_called(linears: Mapping[str, nn.Module], trace: _Trace) -> None:
    missing = [name for name in linears if name not in trace.outputs]
    if missing:
        raise ModelError(f"{missing[0]} is not called as a layer in a pass, so its activations cannot be seen")


def summed_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood, in nats, of all tokens of ``ids`` (b, w) given those before them."""
    predicted = logits[:, :-1].float().flatten(0, 1)
    return nn.functional.cross_entropy(predicted, ids[:, 1:].flatten(), reduction="sum")


def _with_bias(inputs: torch.Tensor, linear: nn.Module) -> torch.Tensor:
    """A bias is the weight of an input that is always one."""
    if getattr(linear, "bias", None) is None:
        return inputs
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=-1)


def _gram(values: torch.Tensor) -> torch.Tensor:
    flat = values.detach().flatten(0, -2)
    return flat.T @ flat


def _added(total: KroneckerFactors, found: KroneckerFactors) -> KroneckerFactors:
    return KroneckerFactors(total.outputs.add_(found.outputs), total.inputs.add_(found.inputs))


class FactorFolder:
    """Factors kept in files, so that those of one layer at a time are in memory.

    Raises :class:`ModelError` where the disk does not take them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, number: int, factors: KroneckerFactors) -> None:
        """Keep the factors of layer ``number``."""
        from safetensors.torch import save

        content = save({name: factor.contiguous() for name, factor in factors._asdict().items()})
        try:
            self._file(number).write_bytes(content)
        except OSError as error:
            raise ModelError(
                f"{self._folder}: cannot hold the curvature of the model ({error.strerror}); "
                "free some space, or name another folder in TMPDIR"
            ) from error

    def read(self, number: int) -> KroneckerFactors:
        """The factors of layer ``number``."""
        from safetensors.torch import load

        return KroneckerFactors(**load(self._file(number).read_bytes()))

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.safetensors"
