"""From logits to what is asked of them: log-probabilities of wanted tokens, greediness, ranks, alternatives.

Logits are looked at a few positions at a time, so that the whole table never exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.models.requests import label_tokens

CHUNK_ELEMENTS = 2**24
"""Logits computed together: 64 MiB in float32."""
LEAST_ROWS = 128
"""A matrix product with fewer rows than this is slower by the row."""
CACHED_ELEMENTS = 2**19
"""Logits that stay in a processor's cache from one pass over them to the next."""


class Reading(NamedTuple):
    """What was read for one run of target tokens, a value per token; what was not asked for is empty."""

    logprobs: list[float]
    greedy: bool
    top: list[Mapping[str, float]]
    ranks: list[int]
    entropies: list[float]


class Asked(NamedTuple):
    """What is wanted beside log-probabilities: ``top`` alternatives, and ranks and entropies with ``detail``."""

    top: int = 0
    detail: bool = False


class Readout:
    """Values of numbered target tokens, filled in as their logits are computed.

    ``ask`` is what is wanted of each of ``count`` targets.
    """

    def __init__(self, tokenizer: Any, count: int, ask: Asked) -> None:
        self.tokenizer = tokenizer
        self.ask = ask
        self.logprobs = np.full(count, np.nan)
        self.greedy = np.zeros(count, dtype=bool)
        self.ranks = np.zeros(count if ask.detail else 0, dtype=np.int64)
        self.entropies = np.zeros(count if ask.detail else 0)
        self.tops: list[Mapping[str, float]] = [{}] * (count if ask.top else 0)

    def read(
        self,
        logits_of: Callable[[slice], torch.Tensor],
        nodes: NDArray[np.int64],
        targets: NDArray[np.int64],
        tokens: NDArray[np.int64],
        vocabulary: int,
    ) -> None:
        """Read the logits of positions 0 to ``nodes[-1]``.

        Args:
            logits_of: gives float logits (positions, vocabulary) of a range of positions; they are overwritten.
            nodes: int (n,), ascending: the position each target is read from.
            targets: int (n,): the numbers of the targets.
            tokens: int (n,): their tokens.
            vocabulary: the width of the logits, by which the size of a chunk is chosen.
        """
        size = max(LEAST_ROWS, CHUNK_ELEMENTS // vocabulary)
        count = int(nodes[-1]) + 1
        for start in range(0, count, size):
            low, high = np.searchsorted(nodes, [start, start + size])
            logits = logits_of(slice(start, min(start + size, count)))
            self._chunk(logits, nodes[low:high] - start, targets[low:high], tokens[low:high])

    def _chunk(
        self, logits: torch.Tensor, nodes: NDArray[np.int64], targets: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> None:
        where = torch.from_numpy(nodes).to(logits.device)
        wanted = logits[where, torch.from_numpy(tokens).to(logits.device)]
        largest = logits.amax(-1)
        self.greedy[targets] = (wanted >= largest[where]).cpu().numpy()
        if self.ask.top:
            values, places = logits.topk(min(self.ask.top, logits.shape[-1]), dim=-1)
        if self.ask.detail:
            self.ranks[targets] = (logits[where] > wanted.unsqueeze(1)).sum(-1).cpu().numpy()
            entropies = torch.special.entr(logits.softmax(-1)).sum(-1)
            self.entropies[targets] = entropies[where].double().cpu().numpy()
        norms = log_sum_exp(logits, largest)
        self.logprobs[targets] = (wanted - norms[where]).double().cpu().numpy()
        if self.ask.top:
            self._keep_tops(values - norms.unsqueeze(-1), places, nodes, targets)

    def _keep_tops(
        self, values: torch.Tensor, places: torch.Tensor, nodes: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> None:
        found = labelled(self.tokenizer, values, places)
        for node, target in zip(nodes.tolist(), targets.tolist(), strict=True):
            self.tops[target] = found[node]

    def reading(self, first: int, last: int) -> Reading:
        """What was read for targets ``first`` to ``last``."""
        part = slice(first, last)
        return Reading(
            self.logprobs[part].tolist(),
            bool(self.greedy[part].all()),
            self.tops[part],
            self.ranks[part].tolist(),
            self.entropies[part].tolist(),
        )


def log_sum_exp(logits: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """The logarithm of the sum of exponentials of each row, a few rows at a time; overwrites ``logits``.

    Args:
        logits: float (rows, vocabulary).
        largest: (rows,), the largest of each row.

    >>> logits = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    >>> log_sum_exp(logits, logits.amax(-1)).exp().tolist()  # doctest: +ELLIPSIS
    [2.0, 22.80...]
    """
    sums = torch.empty_like(largest)
    rows = len(logits) if logits.is_cuda else max(1, CACHED_ELEMENTS // logits.shape[1])
    for start in range(0, len(logits), rows):
        part = logits[start : start + rows]
        part.sub_(largest[start : start + rows].unsqueeze(-1)).exp_()
        torch.sum(part, -1, out=sums[start : start + rows])
    return sums.log_().add_(largest)


def top_alternatives(
    tokenizer: Any, logits: torch.Tensor, norms: torch.Tensor, count: int
) -> list[Mapping[str, float]]:
    """The ``count`` most probable tokens at each position, by text, with their log-probabilities.

    ``logits`` are (positions, vocabulary), ``norms`` (positions,) their log-sum-exp.
    """
    values, places = logits.topk(min(count, logits.shape[-1]), dim=-1)
    return labelled(tokenizer, values - norms.unsqueeze(-1), places)


def labelled(tokenizer: Any, logprobs: torch.Tensor, tokens: torch.Tensor) -> list[Mapping[str, float]]:
    """Texts of tokens (positions, k) with their log-probabilities (positions, k)."""
    rows: Sequence[Sequence[float]] = logprobs.tolist()
    return [
        dict(zip(label_tokens(tokenizer, ids), row, strict=True))
        for ids, row in zip(tokens.tolist(), rows, strict=True)
    ]
