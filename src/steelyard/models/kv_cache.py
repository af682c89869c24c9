"""Keys and values of several sequences of different lengths: a row each, filled from its own beginning.

A cache that transformers' modules take, without padding and without copying what it holds. Where a sequence
ends is a matter of the attention mask: columns beyond it hold zeros or what an earlier sequence left there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

COLUMNS = 64
"""Columns are added by multiples of this."""


class Reading(NamedTuple):
    """Several prompts are read, packed into one row.

    ``rows`` (prompts,) says where they go, ``paths`` (prompts, longest) which of the packed tokens, in order, each
    consists of after its first ``shared`` tokens, filled up with any; the row ``donor`` holds those already.
    """

    rows: torch.Tensor
    paths: torch.Tensor
    donor: int
    shared: int


class Writing(NamedTuple):
    """The first rows each take a token at their position, integers (rows, 1); then ``columns`` are in use."""

    positions: torch.Tensor
    columns: int


Plan: TypeAlias = Reading | Writing


class RowLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of a :class:`RowCache`: ``keys`` and ``values`` are (rows, heads, columns, width)."""

    keys: Any
    values: Any
    is_sliding = False  # a window is in the mask

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        """Nothing to do: the cache says how much room there has to be."""

    def reserve(self, rows: int, columns: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Make room for that many rows and columns of what looks like ``keys`` and ``values``."""
        self.keys = _grown(self.keys, rows, columns, keys)
        self.values = _grown(self.values, rows, columns, values)

    def read(self, plan: Reading, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy packed states (1, heads, tokens, width) into rows; return them behind what is shared."""
        found = []
        end = plan.shared + plan.paths.shape[1]
        for held, new in ((self.keys, keys), (self.values, values)):
            prefix = held[plan.donor, :, : plan.shared].clone()
            held[plan.rows, :, : plan.shared] = prefix
            held[plan.rows, :, plan.shared : end] = new[0, :, plan.paths].transpose(0, 1)
            found.append(torch.cat([prefix.unsqueeze(0), new], dim=2) if plan.shared else new)
        return found[0], found[1]

    def views(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the first rows and columns, sharing memory."""
        return self.keys[:rows, :, :columns], self.values[:rows, :, :columns]

    def move(self, source: int, target: int, columns: int) -> None:
        """Copy the first columns of a row into another."""
        self.keys[target, :, :columns] = self.keys[source, :, :columns]
        self.values[target, :, :columns] = self.values[source, :, :columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns a mask would have; masks are always given."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Columns there are."""
        return 0 if self.keys is None else int(self.keys.shape[2])

    def get_max_length(self) -> int:
        """No limit."""
        return -1

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
        """Only the cache knows the plan."""
        raise NotImplementedError


class RowCache(Cache):  # type: ignore[misc]
    """What the next forward pass does to the cache is said beforehand, in ``plan``.

    ``rows`` and ``columns`` say how much room each layer has to have by then.
    """

    def __init__(self, rows: int) -> None:
        super().__init__(layer_class_to_replicate=RowLayer)
        self.rows = rows
        self.columns = 0
        self.plan: Plan | None = None

    def reserve(self, columns: int) -> None:
        """See to it that there are so many columns, doubling what there is where it has to grow."""
        if columns > self.columns:
            wanted = max(columns, 2 * self.columns)
            self.columns = -(-wanted // COLUMNS) * COLUMNS

    def holds(self, columns: int) -> bool:
        """Whether there are so many columns already."""
        return all(layer.get_seq_length() >= columns for layer in self.layers)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the states of one layer and return the keys and values to attend to."""
        while len(self.layers) <= layer_idx:
            self.layers.append(RowLayer())
        layer: RowLayer = self.layers[layer_idx]
        if layer.get_seq_length() < self.columns:
            layer.reserve(self.rows, self.columns, key_states, value_states)
        if isinstance(self.plan, Reading):
            return layer.read(self.plan, key_states, value_states)
        assert self.plan is not None
        keys, values = layer.views(len(key_states), self.plan.columns)
        return append(keys, values, self.plan.positions, key_states, value_states)

    def views(self, rows: int, columns: int) -> list[torch.Tensor]:
        """Keys and values of each layer in turn, the first rows and columns; they share the cache's memory."""
        return [view for layer in self.layers for view in layer.views(rows, columns)]

    def move(self, source: int, target: int, columns: int) -> None:
        """Copy the first columns of a row into another, in every layer."""
        for layer in self.layers:
            layer.move(source, target, columns)


class ViewCache(Cache):  # type: ignore[misc]
    """The columns in use of a :class:`RowCache` as plain tensors, for one token in each row at ``positions``."""

    def __init__(self, views: Sequence[torch.Tensor], positions: torch.Tensor) -> None:
        super().__init__(layers=[])
        self.held = views
        self.positions = positions

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the states of one layer and return the keys and values to attend to."""
        keys, values = self.held[2 * layer_idx], self.held[2 * layer_idx + 1]
        return append(keys, values, self.positions, key_states, value_states)


def append(
    keys: torch.Tensor,
    values: torch.Tensor,
    positions: torch.Tensor,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write states (rows, heads, 1, width) into columns ``positions`` (rows, 1) of the held ones, in place."""
    place = positions[:, None, :, None]
    keys.scatter_(2, place.expand_as(new_keys), new_keys)
    values.scatter_(2, place.expand_as(new_values), new_values)
    return keys, values


def _grown(held: torch.Tensor | None, rows: int, columns: int, like: torch.Tensor) -> torch.Tensor:
    """More room, zeros where nothing is held: a masked column has weight 0, which only NaN could spoil."""
    room = like.new_zeros(rows, like.shape[1], columns, like.shape[3])
    if held is not None:
        room[:, :, : held.shape[2]] = held
    return room
