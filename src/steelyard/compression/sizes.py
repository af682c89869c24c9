"""What a model holds, counted from its module: weights, zeros, bytes and multiplications.

Everything is counted from what a saved checkpoint holds, so a model that was saved and loaded again has the
same sizes. Layers that compute their weight from something smaller (integers and scales) count the weights they
stand for as parameters, and the smaller thing as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steelyard.contracts import OpenWeights

PROBE_TOKENS = 8
"""Tokens of the pass in which multiplications are counted."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one model.

    Attributes:
        parameters: Weights that the model stands for; shared ones count once, scales of integers not at all.
        nonzero: Those that are not zero.
        stored_bytes: Bytes of the tensors that saving writes (file headers and tokenizer apart).
        memory_bytes: Bytes held in memory, as the model's card has it.
        bits_per_weight: 8 * ``stored_bytes`` / ``parameters``: scales and buffers are paid for by the weights.
        flops_per_token: 2 * (weights that one token is multiplied with). Attention over the context, which grows
            with it, is left out; zeros are multiplied like other numbers.
        computed_layers: Layers that compute their weight: plain transformers cannot load them.
    """

    parameters: int
    nonzero: int
    stored_bytes: int
    memory_bytes: int
    bits_per_weight: float
    flops_per_token: float
    computed_layers: int

    @property
    def sparsity(self) -> float:
        """Share of the weights that are zero."""
        return 1.0 - self.nonzero / self.parameters


def sizes_of(model: OpenWeights) -> Sizes:
    """Count a model's sizes; one pass over eight tokens counts its multiplications.

    Source:
        The metrics of "A Survey on Model Compression for Large Language Models", section 2.2: model size,
        floating point operations, compression ratio.

    Example:
        >>> sizes_of(int8(model)).bits_per_weight  # doctest: +SKIP
        12.6
    """
    module = model.module
    computed = dict(computed_weights(module))
    parameters = nonzero = 0
    for layer in computed.values():
        weight: torch.Tensor = layer.weight.detach()
        parameters += weight.numel()
        nonzero += int(torch.count_nonzero(weight))
    for tensor in _plain_parameters(module, set(computed)):
        parameters += tensor.numel()
        nonzero += int(torch.count_nonzero(tensor))
    stored = sum(t.numel() * t.element_size() for t in _distinct(module.state_dict().values()))
    return Sizes(
        parameters=parameters,
        nonzero=nonzero,
        stored_bytes=stored,
        memory_bytes=model.card.memory_bytes or stored,
        bits_per_weight=8 * stored / parameters,
        flops_per_token=flops_per_token(module),
        computed_layers=len(computed),
    )


def computed_weights(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Layers, by dotted name, whose ``weight`` is computed when it is asked for (quantized layers)."""
    for name, child in module.named_modules():
        if isinstance(getattr(type(child), "weight", None), property):
            yield name, child


@torch.no_grad()
def flops_per_token(module: nn.Module) -> float:
    """2 * weights that one token is multiplied with, counted while ``PROBE_TOKENS`` tokens go through.

    Every linear layer counts (rows it is called with) * (weights), so that experts count for the tokens that reach
    them. Of experts held as one tensor (experts, out, in) as many count as a token is sent to. Embeddings are
    looked up, not multiplied.
    """
    multiplied = [0.0]

    def count(layer: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        multiplied[0] += inputs[0].numel() / inputs[0].shape[-1] * _weights_in(layer)

    hooks = [layer.register_forward_hook(count) for layer in module.modules() if _weights_in(layer)]
    config: Any = module.config
    ids = torch.arange(PROBE_TOKENS, device=next(module.parameters()).device)[None] % config.vocab_size
    decoder = {"decoder_input_ids": ids} if getattr(config, "is_encoder_decoder", False) else {}
    try:
        module(input_ids=ids, **decoder)
    finally:
        for hook in hooks:
            hook.remove()
    chosen = getattr(config, "num_experts_per_tok", None) or 1
    fused = sum(p.numel() / p.shape[0] * chosen for p in _stacks(module))
    return 2.0 * (multiplied[0] / PROBE_TOKENS + fused)


def _stacks(module: nn.Module) -> Iterator[torch.Tensor]:
    """Matrices held as one tensor (experts, out, in); the filters of convolutions have three dimensions too."""
    for child in module.modules():
        if not isinstance(child, nn.modules.conv._ConvNd):
            yield from (p for p in child.parameters(recurse=False) if p.ndim == 3)


def _weights_in(layer: Any) -> int:
    """Weights of a layer that multiplies rows by a matrix; 0 for any other."""
    if hasattr(layer, "in_features") and hasattr(layer, "out_features"):
        return int(layer.in_features) * int(layer.out_features)
    return int(layer.weight.numel()) if type(layer).__name__ == "Conv1D" else 0


def _plain_parameters(module: nn.Module, computed: set[str]) -> list[torch.Tensor]:
    """Distinct parameters; of layers that compute their weight, only what is no part of it (the bias)."""
    found = []
    for name, child in module.named_modules():
        for own, parameter in child.named_parameters(recurse=False):
            if name not in computed or own == "bias":
                found.append(parameter.detach())
    return _distinct(found)


def _distinct(tensors: Any) -> list[torch.Tensor]:
    """Tensors that share memory once."""
    return list({(t.data_ptr(), t.numel()): t for t in tensors if t.numel()}.values())
