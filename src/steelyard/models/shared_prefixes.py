"""Packs for architectures that take no tree mask: every sequence in a row of its own.

Neighbours in token order share the computation of their common beginning where the architecture has a cache
that can be copied; a sequence that begins another one is read from that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from steelyard.models.prefix_tree import Pack, PrefixTree, Segment

RUN_COST = 16
"""Fixed cost of one forward pass in tokens: reading the weights once costs about as much as this many tokens."""
SHARED_AT_LEAST = 8
"""Sequences that have fewer first tokens in common are batched by length instead."""


class Row(NamedTuple):
    """A sequence to run: its number in the tree, its length and the first position that is read."""

    sequence: int
    length: int
    first_read: int


def rows_of(tree: PrefixTree) -> list[int]:
    """For each sequence the one it is read from: itself, or one that it begins.

    >>> rows_of(PrefixTree.of([(1,), (1, 2), (1, 3)]))
    [1, 1, 2]
    """
    chosen: list[int] = []
    following = len(tree.sequences)
    for index in range(len(tree.sequences) - 1, -1, -1):
        begins = index + 1 < len(tree.sequences) and tree.shared[index + 1] == len(tree.sequences[index])
        following = following if begins else index
        chosen.append(following)
    return chosen[::-1]


def chain_packs(tree: PrefixTree, first_reads: Sequence[int], tokens: int, *, shared: bool) -> Iterator[Pack]:
    """Split sequences into packs of about least cost.

    Cost is counted in tokens computed, padding included, plus :data:`RUN_COST` per forward pass. No pack computes
    more than ``tokens`` tokens, unless it is one sequence.

    Args:
        tree: the sequences.
        first_reads: for each sequence the first position whose logits are read; shared prefixes end before it.
        tokens: most tokens of a pack.
        shared: whether beginnings can be shared.
    """
    chosen = rows_of(tree)
    rows: dict[int, Row] = {}
    for index, row in enumerate(chosen):
        first = min(first_reads[index], rows[row].first_read if row in rows else 1 << 60)
        rows[row] = Row(row, len(tree.sequences[row]), first)
    ordered = [rows[row] for row in sorted(rows)]
    common = _common(tree, ordered)
    alone: list[Row] = []
    for group in _clusters(common) if shared else [[place] for place in range(len(ordered))]:
        if len(group) == 1:
            alone.append(ordered[group[0]])
        else:
            together = [ordered[place] for place in group]
            yield from _cheapest(together, [0, *(common[place] for place in group[1:])], tokens)
    alone.sort(key=lambda row: row.length)
    yield from _cheapest(alone, None, tokens)


def _common(tree: PrefixTree, rows: Sequence[Row]) -> list[int]:
    """How many first tokens each row shares with the one before it."""
    found, previous = [], -1
    for row in rows:
        found.append(min(tree.shared[previous + 1 : row.sequence + 1]) if previous >= 0 else 0)
        previous = row.sequence
    return found


def _clusters(common: Sequence[int]) -> Iterator[list[int]]:
    numbers: list[int] = []
    for place, length in enumerate(common):
        numbers.append(numbers[-1] if place and length >= SHARED_AT_LEAST else place)
    for _, group in groupby(range(len(common)), key=numbers.__getitem__):
        yield list(group)


def _cheapest(rows: Sequence[Row], common: Sequence[int] | None, tokens: int) -> Iterator[Pack]:
    """Dynamic programming over where to cut: ``best[i]`` is the least cost of the first ``i`` rows.

    ``common`` is None where no beginnings are to be shared.
    """
    held = common or [0] * len(rows)
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    for end in range(1, len(rows) + 1):
        choices: list[tuple[float, int, int]] = []
        longest, first, prefix = 0, 1 << 60, 1 << 60
        for start in range(end - 1, -1, -1):
            row = rows[start]
            longest, first = max(longest, row.length), min(first, row.first_read)
            prefix = min(prefix, held[start + 1]) if start < end - 1 else row.length
            count = end - start
            cost, keep = _cost(count, longest, 0 if common is None else min(prefix, first), held[start])
            if count > 1 and (count * (longest - keep) > tokens or count * longest > 8 * tokens):
                break
            choices.append((best[start][0] + cost, start, keep))
        best.append(min(choices))
    cuts = []
    end = len(rows)
    while end:
        _, start, keep = best[end]
        segments = [[Segment(row.sequence, keep, row.length)] for row in rows[start:end]]
        cuts.append(Pack(rows[start].sequence, keep, segments, 0))
        end = start
    yield from reversed(cuts)


def _cost(count: int, longest: int, shared: int, held: int) -> tuple[float, int]:
    """Cost of a pack and the prefix worth sharing; ``held`` tokens of it are probably cached already."""
    whole = RUN_COST + count * longest
    new = shared - min(shared, held)
    apart = RUN_COST + count * (longest - shared) + (new + RUN_COST if new else 0)
    return (apart, shared) if shared and apart < whole else (whole, 0)
