"""The LLM Surgeon: remove what Kronecker-factored curvature says is missed least; the rest makes up for it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from steelyard.compression.block_replay import share
from steelyard.compression.calibration import fingerprint_texts, token_windows
from steelyard.compression.kronecker_curvature import FactorFolder, KroneckerFactors, collect_factors
from steelyard.compression.layer_matrices import LayerMatrix, matrices_of, replace_parameter, write_matrices
from steelyard.compression.low_rank_correction import correct_low_rank
from steelyard.compression.removal_patterns import CurvedLayer, Removal, SingleWeights, removal_of
from steelyard.compression.sparsity_patterns import Pattern, Share, check_widths, sparsity_of
from steelyard.contracts import AppliedPart, OpenWeights, Texts
from steelyard.errors import CapabilityError, UsageError
from steelyard.parts import part

TOKENS_PER_BATCH = 512
KINDS = ("decoder", "recurrent")
"""Architectures whose loss is that of the next token of one sequence."""


@part(papers=[139])
def llm_surgeon(
    model: OpenWeights,
    calibration: Texts,
    *,
    sparsity: Share = 0.2,
    pattern: Literal["structured", "unstructured"] | Pattern = "structured",
    shots: PositiveInt = 5,
    damping: PositiveFloat = 0.01,
    joint: NonNegativeInt = 2000,
    independent: bool = False,
    lora_rank: NonNegativeInt = 0,
    lora_rate: PositiveFloat = 1e-4,
    tokens: PositiveInt = 4096,
    window: PositiveInt = 256,
    blocks_at_once: PositiveInt = 8,
    skip: tuple[str, ...] = (),
    seed: int = 0,
) -> OpenWeights:
    """Remove the rows and columns, or weights, whose loss the remaining weights make up for best.

    In each of ``shots`` the curvature of the language-model loss is estimated on the calibration windows: for each
    linear layer of the blocks a Kronecker product G (x) A, the means over tokens of the outer products of output
    gradients and of inputs. From it every removal gets its cost, the least rise of the loss when all other weights
    of the layer may move,

        weight ij   1/2 w_ij^2 / (inverse(G)_ii inverse(A)_jj)
        row i       1/2 (W A W')_ii / inverse(G)_ii            column j   1/2 (W' G W)_jj / inverse(A)_jj

    The cheapest removals *anywhere* in the model are made until ``sparsity * shot / shots`` of the weights are
    zero, so that layers which matter less give more; and the weights that stay are moved to where the loss is
    least, all removals of a layer taken jointly. Both factors get ``damping`` times their mean diagonal on it.

    Removed rows and columns are zeros in matrices of unchanged shape: they save what zeros save. Where a row of
    ``up`` or ``gate`` is gone, a column of ``down`` meets nothing but zeros, so a later shot, which measures anew,
    removes that column, and the same row of the other, nearly for free. A bias is one more column of its matrix
    and counts among the weights.

    Cost: per shot a forward and a backward pass over the tokens for every ``blocks_at_once`` blocks, 2 (r^2 + c^2)
    operations per token and matrix (r, c), and r^3 + c^3 for its inverses. With single weights, the updates
    additionally take joint^2 / 3 operations for each weight removed.
    Memory: the weights twice; the activations of all blocks and the logits of 512 tokens, as in training; and the
    factors of ``blocks_at_once`` blocks, 4 (r^2 + c^2) bytes a matrix (41 MB a block of SmolLM2-135M). The factors
    of all other blocks wait in a temporary folder. Single weights take some 20 more bytes each, for their choice.

    Args:
        model: a decoder whose family data name its projections; embeddings, norms and head are not touched.
        calibration: texts like those the model will read.
        sparsity: share of the weights of the blocks' linear layers that is zero in the end. Rows and columns stop
            short of it by less than one of them.
        pattern: ``"structured"`` removes rows and columns, ``"unstructured"`` single weights, ``"n:m"``, such as
            2:4, n of m neighbours in a row; there ``sparsity`` is at most n / m, at which every block is so.
        shots: steps of equal size, with curvature estimated anew in each; the paper takes up to 40.
        damping: 0.01 for rows and columns; the authors' scripts take 0.1 of outputs for single weights.
        joint: single weights that are removed jointly, at most: rows of a matrix are grouped up to this number.
            0 takes all at once, exact, in joint^2 numbers.
        independent: leave correlations out: a cost is that of the removal alone, and remaining weights keep their
            values (Kronecker-factored Optimal Brain Damage, the paper's baseline).
        lora_rank: after each shot, train additions of this rank to what is left, once over the windows; 0: none.
        lora_rate: learning rate of that training.
        tokens: calibration tokens, at most; the paper takes 128 windows of the model's context.
        window: tokens in one window (no more than the model's context).
        blocks_at_once: blocks whose factors are collected in one pass: fewer take less memory and more passes.
        skip: layers to leave alone: roles such as ``down``, or parts of names.
        seed: draws the windows from the texts, and the first values of additions.

    Raises:
        UsageError: a pattern that is none or does not divide a matrix's width, or a sparsity that it cannot reach.
        CapabilityError: an architecture without family data, with fused experts, or without a next-token loss.
        ModelError: activations or gradients that are not finite, or a layer that is not called as one.

    Source:
        The LLM Surgeon (ICLR 2024), sections 3.1 to 3.5 and algorithm 1. Here removed rows *and* columns are
        taken jointly and costs are those of the damped curvature; the authors' code adds updates for rows to
        those for columns, and leaves damping out of numerators. Inverses come from Cholesky factors, which for
        factors damped one by one is what the authors' eigendecompositions give.

    Relations:
        ``sleb`` removes whole blocks. ``sparsegpt`` prunes single weights for each layer's own output error, in
        one pass and with no gradients; here the loss itself decides, also between layers.

    Example:
        >>> pruned = llm_surgeon(model, ["Ordinary text ..."], sparsity=0.25, shots=3)  # doctest: +SKIP
        >>> pruned.card.parts[-1].settings["pattern"]  # doctest: +SKIP
        'structured'
    """
    share = sparsity_of("llm-surgeon", sparsity, None).share
    removal = removal_of(pattern, damping=damping, independent=independent, joint=joint)
    _check_model(model)
    working = _working_copy(model)
    blocks = matrices_of(model, working, skip)
    _check_matrices(removal, sparsity, list(chain(*blocks)))
    length = min(window, model.card.context_length or window)
    ids = token_windows(model.tokenizer, calibration, window=length, tokens=tokens, seed=seed)
    ids = ids.to(next(working.parameters()).device)
    surgeon = _Surgeon(
        working,
        list(model.family.layers(working)),
        blocks,
        torch.split(ids, max(1, TOKENS_PER_BATCH // ids.shape[1])),
        blocks_at_once,
    )
    for shot in range(1, shots + 1):
        surgeon.remove(removal, share * (shot / shots))
        if lora_rank:
            surgeon.correct(lora_rank, lora_rate, seed + shot)
    settings = {
        "sparsity": sparsity,
        "pattern": pattern,
        "shots": shots,
        "damping": damping,
        "joint": joint,
        "independent": independent,
        "lora_rank": lora_rank,
        "lora_rate": lora_rate,
        "tokens": tokens,
        "window": window,
        "skip": list(skip),
        "seed": seed,
        "calibration": fingerprint_texts(calibration),
    }
    return model.evolve(_as_given(model, working, blocks, skip), AppliedPart("llm-surgeon", settings))


class _Surgeon(NamedTuple):
    """A copy of the model in float32 that is being pruned, its matrices by block, and the calibration batches."""

    module: nn.Module
    layers: Sequence[nn.Module]
    blocks: Sequence[Sequence[LayerMatrix]]
    batches: Sequence[torch.Tensor]
    blocks_at_once: int

    def remove(self, removal: Removal, share: float) -> None:
        """One shot: bring the share of zeros to ``share``."""
        matrices = list(chain(*self.blocks))
        with tempfile.TemporaryDirectory(prefix="steelyard-curvature-") as name, torch.no_grad():
            folder, costs = FactorFolder(Path(name)), list[Any]()
            for factors in self._factors():
                matrix = matrices[len(costs)]
                folder.write(len(costs), factors)
                costs.append(removal.costs(_curved(matrix, factors)))
            for number, mask in enumerate(removal.choose(costs, share)):
                matrix = matrices[number]
                _write(matrix, removal.remove(_curved(matrix, folder.read(number)), mask))

    def correct(self, rank: int, rate: float, seed: int) -> None:
        """Low-rank additions to what is left."""
        matrices = list(chain(*self.blocks))
        correct_low_rank(self.module, matrices, self.batches, rank=rank, rate=rate, seed=seed)

    def _factors(self) -> Iterator[KroneckerFactors]:
        """The factors of all matrices in order, those of some blocks held at a time."""
        for first in range(0, len(self.blocks), self.blocks_at_once):
            group = chain(*self.blocks[first : first + self.blocks_at_once])
            linears = {matrix.name: matrix.module for matrix in group}
            if linears:
                yield from collect_factors(self.module, self.layers[first], linears, self.batches).values()


def _check_model(model: OpenWeights) -> None:
    kind = getattr(model.family, "kind", None)
    if "score" not in model.card.capabilities or kind not in KINDS:
        raise CapabilityError(
            f"part 'llm-surgeon' needs the loss of a next token, which {model.card.name} ({kind}) does not give"
        )


def _check_matrices(removal: Removal, sparsity: float, matrices: Sequence[LayerMatrix]) -> None:
    fused = next((matrix for matrix in matrices if matrix.expert is not None), None)
    if fused is not None:
        raise CapabilityError(
            f"part 'llm-surgeon': {fused.name} is an expert in a fused tensor, whose gradients cannot be seen "
            "alone; use a part that works on each layer's own outputs, such as sparsegpt"
        )
    if isinstance(removal, SingleWeights) and removal.sparsity.of:
        most = removal.sparsity
        if sparsity > most.share:
            raise UsageError(
                f"part 'llm-surgeon': pattern {most.pattern} makes at most {most.share:.4g} of the weights zero, "
                f"not {sparsity:.4g}"
            )
        check_widths("llm-surgeon", most, matrices)


def _working_copy(model: OpenWeights) -> nn.Module:
    """The model's tensors under its own structure, in float32: curvature and small updates need its precision."""
    if _in_float32(model.module):
        return share(model.module).eval()
    return copy.deepcopy(model.module).float().eval()


def _as_given(
    model: OpenWeights, working: nn.Module, blocks: Sequence[Sequence[LayerMatrix]], skip: Sequence[str]
) -> nn.Module:
    """What was pruned, in the precision in which the model came."""
    if _in_float32(model.module):
        return working
    result = share(model.module)
    for target, source in zip(chain(*matrices_of(model, result, skip)), chain(*blocks), strict=True):
        _write(target, _whole(source))
    return result


def _in_float32(module: nn.Module) -> bool:
    return all(p.dtype == torch.float32 for p in module.parameters() if p.is_floating_point())


def _curved(matrix: LayerMatrix, factors: KroneckerFactors) -> CurvedLayer:
    weight = _whole(matrix)
    return CurvedLayer(weight, matrix.width, KroneckerFactors(*(factor.to(weight.device) for factor in factors)))


def _whole(matrix: LayerMatrix) -> torch.Tensor:
    """The matrix (out, in) with its bias, where there is one, as a last column."""
    bias = getattr(matrix.module, "bias", None)
    weight = matrix.read()
    return weight if bias is None else torch.cat([weight, bias.detach()[:, None]], dim=1)


def _write(matrix: LayerMatrix, whole: torch.Tensor) -> None:
    write_matrices([(matrix, whole[:, : matrix.width])])
    bias = getattr(matrix.module, "bias", None)
    if bias is not None:
        replace_parameter(matrix.module, "bias", whole[:, -1].to(bias.dtype).clone())
