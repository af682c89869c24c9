"""Packs of a prefix tree as tensors, run through a model and read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.models.attention_masks import additive_mask, windows_of_layers
from steelyard.models.forward import Engine, Positions, PrefixCache, cropped, expanded
from steelyard.models.prefix_tree import (
    Pack,
    PrefixTree,
    Segment,
    Tokens,
    common_prefix,
    owner_of,
    subtree_ends,
    width_of,
)
from steelyard.models.readout import Readout


class Target(NamedTuple):
    """A token to be predicted after position ``position`` of a sequence, by number and token."""

    sequence: int
    position: int
    number: int
    token: int


class Targets:
    """Targets of a tree, found by the segment with which the token before them is computed.

    ``owners`` gives for each sequence where its tokens are computed, as :meth:`PrefixTree.owners` does.
    """

    def __init__(self, targets: Sequence[Target], owners: Sequence[Sequence[tuple[int, int]]]) -> None:
        rows = [(owner_of(owners[t.sequence], t.position), t.position, t.number, t.token) for t in targets]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 4)
        table = table[np.lexsort((table[:, 1], table[:, 0]))]
        self.positions, self.numbers, self.tokens = table[:, 1], table[:, 2], table[:, 3]
        self.bounds = np.searchsorted(table[:, 0], np.arange(len(owners) + 1))

    def within(self, segment: Segment) -> slice:
        """The targets that are read from a segment."""
        low, high = self.bounds[segment.sequence], self.bounds[segment.sequence + 1]
        span = self.positions[low:high]
        return slice(low + np.searchsorted(span, segment.start), low + np.searchsorted(span, segment.end))


class Layout(NamedTuple):
    """A pack as arrays: tokens and positions (rows, width), and what is read.

    ``nodes`` are flat places in the table, ascending; ``numbers`` and ``tokens`` the targets read there.
    ``chains`` says that every row is one sequence without branches.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    nodes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    tokens: NDArray[np.int64]
    chains: bool


def lay_out(tree: PrefixTree, pack: Pack, targets: Targets) -> Layout:
    """Write a pack's tokens into a table, padded on the right, and find what is read from it."""
    width = pack.width
    ids = np.zeros((len(pack.rows), width), dtype=np.int64)
    positions = np.zeros_like(ids)
    nodes, parts = [], []
    for index, row in enumerate(pack.rows):
        column = 0
        for segment in row:
            end = column + segment.end - segment.start
            ids[index, column:end] = tree.sequences[segment.sequence][segment.start : segment.end]
            positions[index, column:end] = np.arange(segment.start, segment.end)
            part = targets.within(segment)
            nodes.append(targets.positions[part] + (index * width + column - segment.start))
            parts.append(np.arange(part.start, part.stop))
            column = end
        ids[index, column:] = ids[index, column - 1]
        positions[index, column:] = positions[index, column - 1]
    places, chosen = np.concatenate(nodes), np.concatenate(parts)
    order = np.argsort(places, kind="stable")
    chosen = chosen[order]
    chains = all(len(row) == 1 for row in pack.rows)
    return Layout(ids, positions, places[order], targets.numbers[chosen], targets.tokens[chosen], chains)


def visibility(rows: Sequence[Sequence[Segment]], prefix: int) -> NDArray[np.bool_]:
    """Which column each token of some rows sees: bool (rows, width, prefix + width), the held prefix first.

    Padding sees padding only.

    >>> visibility([[Segment(0, 0, 2), Segment(1, 1, 2)]], prefix=0).astype(int).tolist()
    [[[1, 0, 0], [1, 1, 0], [1, 0, 1]]]
    """
    width = width_of(rows)
    allowed = np.ones((len(rows), width, prefix + width), dtype=bool)
    columns = np.arange(width)
    for index, row in enumerate(rows):
        ends = np.full(width, width)
        found = subtree_ends(row)
        ends[: len(found)] = found
        allowed[index, :, prefix:] = (columns <= columns[:, None]) & (columns[:, None] < ends)
    return allowed


class Walk:
    """Runs packs one after the other, holding the keys and values of one path.

    Architectures without tree masks run the same way, with one sequence a row.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.held = PrefixCache(engine)

    def reach(self, tree: PrefixTree, first_read: int) -> int:
        """How many first tokens, common to all sequences of a tree, are held and need not be read."""
        first, last = tree.sequences[0], tree.sequences[-1]
        return min(common_prefix(first[: common_prefix(first, last)], self.held.tokens), first_read)

    def run(self, tree: PrefixTree, packs: Iterable[Pack], targets: Targets, readout: Readout) -> None:
        """Run packs and read their targets."""
        for pack in packs:
            self._pack(tree, pack, lay_out(tree, pack, targets), readout)

    def _pack(self, tree: PrefixTree, pack: Pack, layout: Layout, readout: Readout) -> None:
        engine = self.engine
        path = tree.sequences[pack.path]
        cache = self._prefix(path[: pack.prefix]) if pack.prefix else None
        nodes, places = np.unique(layout.nodes, return_inverse=True)
        rows, columns = np.divmod(nodes if len(nodes) else np.zeros(1, dtype=np.int64), layout.ids.shape[1])
        done = engine.run(
            engine.on_device(layout.ids),
            Positions(engine.on_device(rows), engine.on_device(columns)),
            cache=self._cache(cache, pack),
            keep=bool(pack.keep),
            **self._masks(pack, layout),
        )
        if len(nodes):
            readout.read(done.logits_of, places, layout.numbers, layout.tokens, engine.vocabulary)
        if pack.keep:
            self.held.tokens, self.held.cache = path[: pack.keep], cropped(done.cache, pack.keep)

    def _prefix(self, tokens: Tokens) -> Any:
        """The cache after ``tokens``; packs of a tree come in an order in which it is held already."""
        return cropped(self.held.cache, len(tokens)) if self.engine.takes_masks else self.held.reach(tokens)

    def _cache(self, cache: Any, pack: Pack) -> Any:
        if cache is None:
            return self.engine.empty_cache() if pack.keep else None
        return expanded(cache, len(pack.rows))

    def _masks(self, pack: Pack, layout: Layout) -> dict[str, Any]:
        """No mask where every row is a sequence from its beginning: it is then the usual causal one."""
        engine = self.engine
        if not engine.takes_masks or (layout.chains and not pack.prefix):
            return {}
        positions = engine.on_device(layout.positions)
        allowed = engine.on_device(visibility(pack.rows, pack.prefix))
        distance = torch.zeros(1, dtype=torch.long, device=allowed.device)
        if any(windows_of_layers(engine.module.config).values()):
            prefix = torch.arange(pack.prefix, device=positions.device).expand(len(positions), -1)
            distance = positions.unsqueeze(2) - torch.cat([prefix, positions], dim=1).unsqueeze(1)
        mask = additive_mask(allowed, distance, engine.module.config, engine.module.dtype)
        return {"attention_mask": mask, "position_ids": positions}
