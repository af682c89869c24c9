"""Copies of modules that share their tensors with the original."""

from __future__ import annotations

import copy
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def share(module: nn.Module) -> nn.Module:
    """A copy of ``module`` with its own structure and configuration but the same tensors."""
    memo: dict[int, Any] = {id(t): t for t in chain(module.parameters(), module.buffers())}
    return copy.deepcopy(module, memo)
