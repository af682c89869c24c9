"""What a loss-guided pruner may remove: whole rows and columns, single weights, or n of every m neighbours.

A pattern says for one matrix what each removal costs, for all matrices together which removals are made, and for
one matrix again what its weights are afterwards. Rows and columns that are all zero already are no part of the
problem: curvature is restricted to the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from steelyard.compression import optimal_brain_surgeon as surgery
from steelyard.compression.global_threshold import (
    REMOVED,
    RowsAndColumns,
    cheapest_of_blocks,
    cheapest_rows_and_columns,
    cheapest_share,
)
from steelyard.compression.kronecker_curvature import KroneckerFactors
from steelyard.compression.sparsity_patterns import Sparsity, sparsity_of


class CurvedLayer(NamedTuple):
    """A linear layer: ``weight`` (r, c), a bias being one more column behind ``width`` others; its factors."""

    weight: torch.Tensor
    width: int
    factors: KroneckerFactors


class Removal(Protocol):
    """What may be removed, and how."""

    def costs(self, layer: CurvedLayer) -> Any:
        """What each removal costs."""

    def choose(self, costs: Sequence[Any], share: float) -> Sequence[Any]:
        """Given the costs of every layer, what is removed of each, so that ``share`` of all weights is zero."""

    def remove(self, layer: CurvedLayer, mask: Any) -> torch.Tensor:
        """The weights (r, c) once what was chosen is removed."""


@dataclass(frozen=True, slots=True)
class WholeRowsAndColumns:
    """Rows and columns of every matrix.

    With ``independent`` no weight is thought to make up for another: costs are those of the removal alone, and
    weights that stay keep their values.
    """

    damping: float
    independent: bool = False

    def costs(self, layer: CurvedLayer) -> RowsAndColumns:
        """A cost for each row (r,) and column (c,)."""
        live = _live(layer, self.damping)
        masks = (live.rows, live.columns)
        found = RowsAndColumns(*(mask.double().fill_(REMOVED) for mask in masks))
        if live.weight.numel():
            outputs, inputs = live.factors
            found.rows[live.rows] = surgery.row_costs(live.weight, inputs, _curvature(outputs, self.independent))
            found.columns[live.columns] = surgery.column_costs(
                live.weight, outputs, _curvature(inputs, self.independent)
            )
        return found

    def choose(self, costs: Sequence[RowsAndColumns], share: float) -> list[RowsAndColumns]:
        """Masks of the rows and columns to remove."""
        return cheapest_rows_and_columns(costs, share)

    def remove(self, layer: CurvedLayer, mask: RowsAndColumns) -> torch.Tensor:
        """The weights (r, c) afterwards."""
        live = _live(layer, self.damping)
        rows, columns = mask.rows[live.rows], mask.columns[live.columns]
        if self.independent:
            updated = live.weight * torch.outer(~rows, ~columns)
        else:
            updated = surgery.remove_rows_and_columns(live.weight, *live.factors, rows, columns)
        return _spread(updated, live, 0.0)


@dataclass(frozen=True, slots=True)
class SingleWeights:
    """Single weights, or n of every m neighbours in a row where ``sparsity`` is such; a bias is then left alone.

    ``joint`` and ``independent`` as in :func:`~steelyard.compression.optimal_brain_surgeon.remove_elements` and
    :class:`WholeRowsAndColumns`.
    """

    damping: float
    sparsity: Sparsity
    independent: bool = False
    joint: int = 0

    def costs(self, layer: CurvedLayer) -> torch.Tensor:
        """A cost for each weight: float32 (r, c), or (r, width) for blocks."""
        live = _live(layer, self.damping)
        curvatures = (_curvature(factor, self.independent) for factor in live.factors)
        found = surgery.element_costs(live.weight, *curvatures)
        found[live.weight == 0] = REMOVED
        costs = _spread(found, live, REMOVED).float()
        return costs[:, : layer.width] if self.sparsity.of else costs

    def choose(self, costs: Sequence[torch.Tensor], share: float) -> list[torch.Tensor]:
        """Masks of the weights to remove, shaped as the costs."""
        if self.sparsity.zeros and self.sparsity.of:
            return cheapest_of_blocks(costs, self.sparsity.zeros, self.sparsity.of, share)
        return cheapest_share(costs, share)

    def remove(self, layer: CurvedLayer, mask: torch.Tensor) -> torch.Tensor:
        """The weights (r, c) afterwards."""
        live = _live(layer, self.damping)
        whole = torch.nn.functional.pad(mask, (0, layer.weight.shape[1] - mask.shape[1]))
        removed = whole[live.rows][:, live.columns]
        if self.independent:
            updated = live.weight.masked_fill(removed, 0.0)
        else:
            updated = surgery.remove_elements(live.weight, *live.factors, removed, joint=self.joint)
        return _spread(updated, live, 0.0)


def removal_of(pattern: str | None, *, damping: float, independent: bool = False, joint: int = 0) -> Removal:
    """``"structured"``, ``"unstructured"`` (also None) or ``"n:m"``; anything else is refused.

    >>> removal_of("2:4", damping=0.01).sparsity.zeros
    2
    """
    if pattern == "structured":
        return WholeRowsAndColumns(damping, independent)
    named = None if pattern == "unstructured" else pattern
    return SingleWeights(damping, sparsity_of("llm-surgeon", None, named), independent, joint)


class _Live(NamedTuple):
    """A layer without its zero rows and columns, in float64, with damped factors; masks of what is left."""

    weight: torch.Tensor
    factors: KroneckerFactors
    rows: torch.Tensor
    columns: torch.Tensor


def _live(layer: CurvedLayer, damping: float) -> _Live:
    rows, columns = layer.weight.any(1), layer.weight.any(0)
    outputs, inputs = (
        surgery.damped(factor[mask][:, mask], damping) if mask.any() else factor[:0, :0].double()
        for factor, mask in zip(layer.factors, (rows, columns), strict=True)
    )
    return _Live(layer.weight[rows][:, columns].double(), KroneckerFactors(outputs, inputs), rows, columns)


def _spread(values: torch.Tensor, live: _Live, fill: float) -> torch.Tensor:
    """``values`` of what is left in their places in the whole matrix, ``fill`` elsewhere."""
    whole = torch.full((len(live.rows), len(live.columns)), fill, dtype=values.dtype, device=values.device)
    whole[torch.outer(live.rows, live.columns)] = values.flatten()
    return whole


def _curvature(factor: torch.Tensor, independent: bool) -> torch.Tensor:
    return factor.diagonal() if independent else surgery.curvature_left(factor)
