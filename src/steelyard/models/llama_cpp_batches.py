"""Token sequences with common beginnings as llama.cpp's batches: every distinct token once.

Sequences come as a :class:`~steelyard.models.prefix_tree.PrefixTree`; a token that several of them share is one
entry that belongs to all of them. ``tree.shared[0]`` says how many first tokens of the first sequence are in the
context's cache already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

from steelyard.models.llama_cpp_context import Context, Entry
from steelyard.models.prefix_tree import PrefixTree


def held(tree: PrefixTree) -> list[int]:
    """How many first tokens of each sequence are in the cache."""
    return list(accumulate(tree.shared, min))


def root(context: Context, tree: PrefixTree, members: Sequence[Sequence[int]], source: int) -> None:
    """Give new sequences what they share with the cached sequence ``source``; what they held before is dropped.

    ``members[k]`` are the numbers, in the context, of the sequences that read ``tree.sequences[k]``; ``source``
    may be among them.
    """
    kept = None
    for numbers, length in zip(members, held(tree), strict=True):
        for number in numbers:
            if number == source:
                kept = length
                continue
            context.forget(number)
            if length:
                context.share(source, number, length)
    if kept is not None:
        context.forget(source, kept)


def branches(
    tree: PrefixTree, members: Sequence[Sequence[int]], reads: Collection[tuple[int, int]]
) -> Iterator[Entry]:
    """Entries of what is not in the cache, parents before children.

    ``reads`` holds the (sequence, position) whose logits are wanted, by the sequence that computes them.

    >>> tree = PrefixTree.of([(1, 2, 3), (1, 2, 4)])
    >>> [(e.token, list(e.sequences), e.read) for e in branches(tree, [[0], [1]], {(1, 2)})]
    [(1, [0, 1], False), (2, [0, 1], False), (3, [0], False), (4, [1], True)]
    """
    for k, tokens in enumerate(tree.sequences):
        numbers = list(members[k])
        lengths: list[tuple[int, int]] = []  # how far later ones go along, and how many numbers that takes
        low = len(tokens)
        for later in range(k + 1, len(tree.sequences)):
            low = min(low, tree.shared[later])
            if low <= tree.shared[k]:
                break
            numbers += members[later]
            lengths.append((low, len(numbers)))
        for position in range(tree.shared[k], len(tokens)):
            while lengths and lengths[-1][0] <= position:
                lengths.pop()
            count = lengths[-1][1] if lengths else len(members[k])
            yield Entry(tokens[position], position, numbers[:count], (k, position) in reads)


def waves(tree: PrefixTree, sequences: int, tokens: int) -> Iterator[slice]:
    """Cut a tree into runs of at most so many sequences and, but for a single one, new tokens."""
    start = 0
    while start < len(tree.sequences):
        end, size = start, 0
        while end < len(tree.sequences) and end - start < sequences:
            new = len(tree.sequences[end]) - tree.shared[end]
            if end > start and size + new > tokens:
                break
            size += new
            end += 1
        yield slice(start, end)
        start = end
