"""Prompts as a tree: what begins alike is one path, so that it is read once.

The tree is written as one sequence of tokens, each followed by its descendants; a mask lets a token see its
ancestors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from steelyard.models.prefix_tree import common_prefix


class PromptTree(NamedTuple):
    """Distinct tokens of several prompts.

    Node i holds ``tokens[i]`` at depth ``depths[i]``, its descendants are the nodes from i + 1 to
    ``ends[i]`` - 1, and ``paths[j]`` lists the nodes that prompt j goes through.
    """

    tokens: list[int]
    depths: list[int]
    ends: list[int]
    paths: list[list[int]]


def prompt_tree(prompts: Sequence[Sequence[int]]) -> PromptTree:
    """The tree of prompts given in lexicographic order, which puts those that begin alike side by side.

    >>> prompt_tree([(1, 2), (1, 2, 3), (1, 4)])
    PromptTree(tokens=[1, 2, 3, 4], depths=[0, 1, 2, 1], ends=[4, 3, 3, 4], paths=[[0, 1], [0, 1, 2], [0, 3]])
    """
    tree = PromptTree([], [], [], [])
    path: list[int] = []
    before: Sequence[int] = ()
    for prompt in prompts:
        shared = common_prefix(before, prompt)
        for node in path[shared:]:
            tree.ends[node] = len(tree.tokens)
        path = path[:shared]
        for depth in range(shared, len(prompt)):
            path.append(len(tree.tokens))
            tree.tokens.append(prompt[depth])
            tree.depths.append(depth)
            tree.ends.append(0)
        tree.paths.append(list(path))
        before = prompt
    for node in path:
        tree.ends[node] = len(tree.tokens)
    return tree


def visible(tree: PromptTree, shared: int, device: torch.device) -> torch.Tensor:
    """Who sees whom: bool (1, nodes, shared + nodes); all see the ``shared`` columns before the tree."""
    order = torch.arange(len(tree.tokens), device=device)
    ends = torch.tensor(tree.ends, device=device)
    inside = (order <= order.unsqueeze(1)) & (order.unsqueeze(1) < ends)
    before = torch.ones(len(order), shared, dtype=torch.bool, device=device)
    return torch.cat([before, inside], dim=1).unsqueeze(0)
