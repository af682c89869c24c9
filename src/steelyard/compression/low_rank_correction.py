"""A short training of low-rank additions to the weights that pruning has left (LoRA), folded in afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call

from steelyard.compression.kronecker_curvature import summed_loss
from steelyard.compression.layer_matrices import LayerMatrix, write_matrices


def correct_low_rank(
    module: nn.Module,
    matrices: Sequence[LayerMatrix],
    batches: Sequence[torch.Tensor],
    *,
    rank: int,
    rate: float,
    seed: int = 0,
) -> None:
    """Train W + mask * (U V) on the next-token loss, once over ``batches`` (Adam), and write the sums as weights.

    U (out, rank) starts at zero and V (rank, in) normal; ``mask`` is 0 where a weight is zero, so what was removed
    stays removed. ``rate`` falls linearly to 0.

    Memory: the additions with two moments each, the changed weights, and the activations of one batch.

    Source: The LLM Surgeon, section 3.5 (interleaved low-rank first-order corrections); LoRA: Low-Rank Adaptation
    of Large Language Models, section 4.1.
    """
    generator = torch.Generator().manual_seed(seed)
    ups, downs = [], []
    for matrix in matrices:
        weight = matrix.read()
        downs.append(torch.randn(rank, weight.shape[1], generator=generator).to(weight).requires_grad_())
        ups.append(torch.zeros(weight.shape[0], rank).to(weight).requires_grad_())
    trained = [*ups, *downs]
    optimizer = torch.optim.Adam(trained, lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(batches))
    for ids in batches:
        with torch.enable_grad():
            changed = {
                matrix.key: w.t() if matrix.transposed else w
                for matrix, w in zip(matrices, _sums(matrices, ups, downs), strict=True)
            }
            logits = functional_call(module, changed, kwargs={"input_ids": ids, "use_cache": False}).logits
            loss = summed_loss(logits, ids) / ids[:, 1:].numel()
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
            parameter.grad = gradient
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        write_matrices(zip(matrices, _sums(matrices, ups, downs), strict=True))


def _sums(
    matrices: Sequence[LayerMatrix], ups: Sequence[torch.Tensor], downs: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    return [
        matrix.read() + (up @ down) * (matrix.read() != 0)
        for matrix, up, down in zip(matrices, ups, downs, strict=True)
    ]
