"""Many token sequences as one prefix tree, cut into packs so that no token is computed twice.

Sequences in token order are a walk through their prefix tree: each adds what it does not share with the one
before. A pack is what one forward pass computes: rows of tokens, each row holding whole subtrees one after the
other, all behind a common path whose keys and values are at hand from earlier passes. Packs come in the order of
the walk, so one such path is held at any time.

    tree = PrefixTree(sequences)
    for pack in tree.packs(tokens=1024):
        ...  # compute pack.rows behind the first pack.prefix tokens of the pack's path; keep pack.keep of it
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = tuple[int, ...]
ROW_WIDTHS = (128, 192, 256)
"""Lengths of rows that hold several small subtrees."""


class Segment(NamedTuple):
    """Tokens ``start`` to ``end`` of one sequence, as computed in a row; their numbers are their positions."""

    sequence: int
    start: int
    end: int


class Pack(NamedTuple):
    """One forward pass.

    Attributes:
        path: a sequence that all of the pack branches off from.
        prefix: how many first tokens of ``path`` are held from before.
        rows: the segments of each row, parents before children.
        keep: how many first tokens of ``path`` later packs need; those beyond ``prefix`` stand at the beginning
            of the only row.
    """

    path: int
    prefix: int
    rows: list[list[Segment]]
    keep: int

    @property
    def tokens(self) -> int:
        """Tokens computed, without padding."""
        return sum(s.end - s.start for row in self.rows for s in row)

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        return width_of(self.rows)


def width_of(rows: Sequence[Sequence[Segment]]) -> int:
    """Tokens of the longest row."""
    return max(sum(s.end - s.start for s in row) for row in rows)


class Unit(NamedTuple):
    """A subtree small enough to stay in one row: sequences ``first`` to ``last`` beyond the prefix."""

    first: int
    last: int
    size: int


@dataclass(frozen=True)
class PrefixTree:
    """Distinct sequences in token order, and how many first tokens each shares with the one before.

    >>> tree = PrefixTree.of([(1, 2, 3), (1, 2, 4), (1, 5)])
    >>> tree.distinct, owner_of(tree.owners()[1], 0), owner_of(tree.owners()[2], 1)
    (5, 0, 2)
    >>> [[tuple(segment) for segment in row] for pack in tree.packs(tokens=16) for row in pack.rows]
    [[(0, 0, 3), (1, 2, 3), (2, 1, 2)]]
    """

    sequences: tuple[Tokens, ...]
    shared: tuple[int, ...]

    @classmethod
    def of(cls, sequences: Sequence[Tokens]) -> PrefixTree:
        """The tree of sequences, none of them empty; equal ones are taken once."""
        ordered = sorted(dict.fromkeys(sequences))
        return cls(tuple(ordered), (0, *(common_prefix(a, b) for a, b in pairwise(ordered)))[: len(ordered)])

    @property
    def distinct(self) -> int:
        """Number of tokens to compute: the nodes of the tree."""
        return sum(map(len, self.sequences)) - sum(self.shared)

    def owners(self) -> list[list[tuple[int, int]]]:
        """For each sequence those that its tokens are computed with: (first position, sequence), ascending."""
        found: list[list[tuple[int, int]]] = []
        path: list[tuple[int, int]] = []
        for index, start in enumerate(self.shared):
            path = [entry for entry in path if entry[0] < start]
            if start < len(self.sequences[index]):
                path.append((start, index))
            found.append(path)
        return found

    def row(self) -> list[Segment]:
        """The whole walk as one row."""
        return self.walk(0, len(self.sequences), 0)

    def walk(self, first: int, last: int, prefix: int) -> list[Segment]:
        """The walk through sequences ``first`` to ``last`` beyond the ``prefix`` tokens that they share."""
        starts = [prefix, *self.shared[first + 1 : last]]
        found = [
            Segment(i, start, len(self.sequences[i])) for i, start in zip(range(first, last), starts, strict=True)
        ]
        return [segment for segment in found if segment.end > segment.start]

    def paths(self) -> list[list[int]]:
        """For each sequence the columns of :meth:`row` in which its tokens stand.

        >>> PrefixTree.of([(1, 2), (1, 2, 3), (1, 4)]).paths()
        [[0, 1], [0, 1, 2], [0, 3]]
        """
        first, column = {}, 0
        for segment in self.row():
            first[segment.sequence] = column - segment.start
            column += segment.end - segment.start
        found = []
        for tokens, owners in zip(self.sequences, self.owners(), strict=True):
            spans = zip(owners, [*(start for start, _ in owners[1:]), len(tokens)], strict=True)
            found.append([first[owner] + p for (start, owner), end in spans for p in range(start, end)])
        return found

    def packs(self, tokens: int, *, held: int = 0, row: int | None = None, chain: int = 0) -> Iterator[Pack]:
        """Packs of about ``tokens`` tokens each, padding included.

        Args:
            tokens: most tokens of a pack; a subtree that is larger is cut.
            held: how many first tokens, common to all sequences, are at hand already.
            row: longest row where part of a path is computed before its branches; ``tokens`` unless given.
            chain: most tokens of a path that begins with the first token, where that is more than ``row``: such a
                path needs no mask, and is then cheaper in one piece.
        """
        if self.sequences:
            yield from _Planner(self, tokens, row or tokens, chain).subtree(0, len(self.sequences), held)


def owner_of(owners: Sequence[tuple[int, int]], position: int) -> int:
    """The sequence that computes a position, given the entry of :meth:`PrefixTree.owners`."""
    return owners[bisect_right(owners, position, key=lambda entry: entry[0]) - 1][1]


class _Planner:
    def __init__(self, tree: PrefixTree, tokens: int, row: int, chain: int) -> None:
        self.tree = tree
        self.chain = chain
        self.tokens = tokens
        self.row = min(row, tokens)
        self.lengths = np.array([len(s) for s in tree.sequences], dtype=np.int64)
        self.shared = np.array(tree.shared, dtype=np.int64)
        self.sums = np.concatenate([[0], np.cumsum(self.lengths - self.shared)])

    def size(self, first: int, last: int, prefix: int) -> int:
        """Tokens of sequences ``first`` to ``last`` beyond ``prefix``."""
        return int(self.sums[last] - self.sums[first] + self.shared[first] - prefix)

    def subtree(self, first: int, last: int, prefix: int) -> Iterator[Pack]:
        """Packs of a subtree whose first ``prefix`` tokens are held."""
        size = self.size(first, last, prefix)
        if size <= self.row:
            if size:
                yield Pack(first, prefix, [self.tree.walk(first, last, prefix)], 0)
            return
        trunk = int(self.lengths[first])
        if last - first > 1:
            trunk = min(trunk, int(self.shared[first + 1 : last].min()))
        while trunk - prefix > self.row:  # a long path, a stretch at a time
            end = min(prefix + (self.row if prefix else max(self.row, self.chain)), trunk)
            yield Pack(
                first, prefix, [[Segment(first, prefix, end)]], end if end < int(self.lengths[first]) else 0
            )
            prefix = end
        children = self.children(first, last, trunk)
        units = [unit for unit in children if 0 < unit.size <= self.tokens]
        large = [unit for unit in children if unit.size > self.tokens]
        if trunk > prefix:
            row = [Segment(first, prefix, trunk)]
            units = self.fill(row, units, trunk, self.row - (trunk - prefix))
            yield Pack(first, prefix, [row], trunk if units or large else 0)
        yield from self.batches(units, first, trunk)
        for unit in large:
            yield from self.subtree(unit.first, unit.last, trunk)

    def children(self, first: int, last: int, prefix: int) -> list[Unit]:
        """The subtrees that hang below position ``prefix``."""
        cuts = np.flatnonzero(self.shared[first + 1 : last] <= prefix) + first + 1
        bounds = [first, *cuts.tolist(), last]
        return [Unit(a, b, self.size(a, b, prefix)) for a, b in pairwise(bounds)]

    def fill(self, row: list[Segment], units: list[Unit], prefix: int, room: int) -> list[Unit]:
        """Put subtrees into what is left of a row, and return those that did not fit."""
        left = []
        for unit in units:
            if unit.size <= room:
                row += self.tree.walk(unit.first, unit.last, prefix)
                room -= unit.size
            else:
                left.append(unit)
        return left

    def batches(self, units: list[Unit], path: int, prefix: int) -> Iterator[Pack]:
        """Subtrees behind one prefix, the largest first, as rows of nearly equal length."""
        rest = sorted(units, key=lambda unit: -unit.size)
        while rest:
            tried = [self.batch(rest, path, prefix, width) for width in self.widths(rest)]
            pack, rest = max(tried, key=lambda one: one[0].tokens / (one[0].width * len(one[0].rows)))
            yield pack

    def widths(self, units: list[Unit]) -> list[int]:
        """Lengths of rows worth trying: just enough for the largest subtree, or room for several to fit together.

        Longer rows waste less at their ends, and more on looking at what is masked.
        """
        largest, total = units[0].size, sum(unit.size for unit in units)
        found = {largest, *(width for width in ROW_WIDTHS if largest < width <= self.tokens)}
        if total < self.tokens:  # the last pack: as many rows as it takes, evenly filled
            found |= {max(largest, -(-total // rows)) for rows in range(1, 1 + max(1, total // largest))}
        return sorted(found)

    def batch(self, units: list[Unit], path: int, prefix: int, width: int) -> tuple[Pack, list[Unit]]:
        """A pack of rows of one length, and what did not fit into it."""
        rows: list[list[Segment]] = []
        while units and len(rows) < max(1, self.tokens // width):
            row: list[Segment] = []
            units = self.fill(row, units, prefix, width)
            rows.append(row)
        return Pack(path, prefix, rows, 0), units


def subtree_ends(row: Sequence[Segment]) -> NDArray[np.int64]:
    """For each token of a row the column behind its last descendant.

    Token i is seen by token j exactly where ``i <= j < ends[i]``.

    >>> subtree_ends([Segment(0, 0, 3), Segment(1, 2, 3), Segment(2, 1, 2)]).tolist()
    [5, 4, 3, 4, 5]
    """
    depths = positions_of(row)
    ends = np.full(len(depths), len(depths), dtype=np.int64)
    column = 0
    for segment in row:
        before = ends[:column]  # a view
        before[(before == len(depths)) & (depths[:column] >= segment.start)] = column
        column += segment.end - segment.start
    return ends


def positions_of(row: Sequence[Segment]) -> NDArray[np.int64]:
    """The position of each token of a row.

    >>> positions_of([Segment(0, 0, 3), Segment(1, 2, 3)]).tolist()
    [0, 1, 2, 2]
    """
    return np.concatenate([np.arange(s.start, s.end) for s in row])


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    low, high = 0, length  # the first `low` tokens are equal, the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle)
    return low
