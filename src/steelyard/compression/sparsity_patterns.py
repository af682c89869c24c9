"""Which weights of a matrix become zero, given a score of each: a share of them, or n of every m."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import BeforeValidator, Field

from steelyard.compression.layer_matrices import LayerMatrix
from steelyard.errors import UsageError


def _read_pattern(value: Any) -> Any:
    """``2:4`` as YAML gives it: without quotes it is a number to base sixty there, 124."""
    text = "{}:{}".format(*divmod(value, 60)) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text) if isinstance(text, str) else None
    if found is None or not 0 < int(found[1]) < int(found[2]):
        raise ValueError("a pattern is n:m with 0 < n < m, such as 2:4")
    return text


Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
"""The share of weights that become zero."""
Pattern: TypeAlias = Annotated[str | None, BeforeValidator(_read_pattern)]
"""``n:m``: of every m consecutive weights of a row n are zero."""


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How many weights become zero: the share ``share``, or exactly ``zeros`` of every ``of`` along a row.

    >>> sparsity_of("sparsegpt", None, "2:4")
    Sparsity(share=0.5, zeros=2, of=4)
    """

    share: float
    zeros: int | None = None
    of: int | None = None

    @property
    def pattern(self) -> str | None:
        """``n:m``, or None."""
        return f"{self.zeros}:{self.of}" if self.of else None


def sparsity_of(part: str, share: float | None, pattern: str | None) -> Sparsity:
    """What the settings ``sparsity`` and ``pattern`` of a part say together: half of the weights if nothing.

    Raises :class:`UsageError` for a share outside 0 to 1, a pattern that is none, and where the two contradict.
    """
    if share is not None and not 0 < share < 1:
        raise UsageError(f"part {part!r}: sparsity must lie between 0 and 1, not {share}")
    if pattern is None:
        return Sparsity(0.5 if share is None else share)
    try:
        zeros, of = (int(number) for number in str(_read_pattern(pattern)).split(":"))
    except ValueError as error:
        raise UsageError(f"part {part!r}: {error}, not {pattern!r}") from error
    if share is not None and abs(share - zeros / of) > 1e-6:
        raise UsageError(
            f"part {part!r}: the pattern {pattern} makes {zeros / of:g} of the weights zero, not {share:g}; leave "
            "sparsity out"
        )
    return Sparsity(zeros / of, zeros, of)


def check_widths(part: str, sparsity: Sparsity, matrices: Iterable[LayerMatrix]) -> None:
    """Refuse a pattern that does not divide the width of each matrix, naming the first."""
    for matrix in matrices:
        if sparsity.of and matrix.width % sparsity.of:
            raise UsageError(
                f"part {part!r}: the pattern {sparsity.pattern} does not divide the width {matrix.width} of "
                f"{matrix.name}; choose another, or leave the layer out with skip"
            )


def lowest(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Mark the ``share`` of all entries with the lowest scores, rounded to a whole number: bool, as ``scores``.

    >>> lowest(torch.tensor([[3.0, 1.0], [2.0, 4.0]]), 0.5).tolist()
    [[False, True], [True, False]]
    """
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    count = round(share * scores.numel())
    mask[torch.topk(scores.flatten(), count, largest=False, sorted=False).indices] = True
    return mask.view(scores.shape)


def lowest_of_each(scores: torch.Tensor, zeros: int, of: int) -> torch.Tensor:
    """Mark the ``zeros`` lowest of every ``of`` consecutive entries of a row: bool (rows, columns).

    >>> lowest_of_each(torch.tensor([[3.0, 1.0, 2.0, 4.0]]), 1, 2).tolist()
    [[False, True, True, False]]
    """
    groups = scores.reshape(*scores.shape[:-1], -1, of)
    chosen = torch.topk(groups, zeros, dim=-1, largest=False, sorted=False).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, chosen, True).view(scores.shape)
