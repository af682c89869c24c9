"""Advancing sequences that join and leave at any time, each in a cache row of its own.

Prompts that join together are read as a tree, packed into one row: shared beginnings are computed once, and what
a row of the cache already holds is copied. For architectures that take explicit masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from steelyard.models.attention_masks import additive_mask
from steelyard.models.forward import Engine, Positions
from steelyard.models.kv_cache import Reading, RowCache, Writing
from steelyard.models.packing import visibility
from steelyard.models.prefix_tree import PrefixTree, common_prefix, positions_of
from steelyard.models.recorded_step import RecordedStep

PACK_TOKENS = 384
"""Most tokens packed into one row: the attention of a pack grows with the square, unrelated prompts included."""
WORTH_COPYING = 16
"""Fewer shared tokens are computed anew."""


class Pack(NamedTuple):
    """Prompts to read in one forward pass; the first ``shared`` tokens of each are held by row ``donor``."""

    prompts: list[tuple[int, ...]]
    donor: int
    shared: int


class RowStepper:
    """A changing batch. Running sequences take the first rows of the cache; the others are free."""

    continuous = True

    def __init__(self, engine: Engine, rows: int) -> None:
        self.engine = engine
        self.cache = RowCache(rows)
        self.positions = torch.zeros(0, dtype=torch.long, device=engine.device)
        self.held: list[tuple[int, ...]] = [()] * rows
        self.recorded: RecordedStep | None = None

    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Read prompts into free rows; logits (prompts, vocabulary) of the first new token of each."""
        first, self.recorded = len(self.positions), None
        places: dict[tuple[int, ...], list[int]] = {}
        for number, prompt in enumerate(prompts):
            places.setdefault(tuple(prompt), []).append(first + number)
        self.cache.reserve(max(map(len, places)) + 1)
        found: dict[tuple[int, ...], torch.Tensor] = {}
        for prompt, rows in places.items():
            self._read_long(prompt, rows[0])
        for pack in self._packs(sorted(places)):
            found.update(zip(pack.prompts, self._read(pack, places), strict=True))
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.positions.device)
        self.positions = torch.cat([self.positions, lengths])
        return torch.stack([found[tuple(prompt)] for prompt in prompts])

    def advance(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to each row; logits (rows, vocabulary) of the next."""
        ids = torch.tensor(tokens, dtype=torch.long, device=self.positions.device).unsqueeze(1)
        positions = self.positions.unsqueeze(1)
        columns = int(self.positions.max()) + 1
        self.cache.reserve(columns)
        distance = positions - torch.arange(columns, device=ids.device)
        distance = distance.unsqueeze(1)  # (rows, 1, columns)
        self.positions = self.positions + 1
        mask = self._mask(distance >= 0, distance)
        if self.recorded is None:
            self.recorded = self.engine.recorder.ready(self.cache)
        if self.recorded is not None and self.cache.holds(columns):
            return self.recorded.run(ids, positions, mask, self.cache.views(len(tokens), columns))
        self.cache.plan = Writing(positions, columns)
        rows = torch.arange(len(tokens), device=ids.device)
        return self._forward(ids, Positions(rows, torch.zeros_like(rows)), mask, positions)

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Go on with these rows only; returns them in their new order: the last ones fill the gaps."""
        kept = set(rows)
        late = [row for row in rows if row >= len(kept)]
        order = [row if row in kept else late.pop() for row in range(len(kept))]
        with torch.inference_mode():
            for target, source in enumerate(order):
                if target != source:
                    self.cache.move(source, target, int(self.positions[source]))
                    self.held[target] = self.held[source]
            self.positions = self.positions[torch.tensor(order, dtype=torch.long, device=self.positions.device)]
        return order

    # ------------------------------------------------------------------------------------ reading prompts

    def _read_long(self, prompt: tuple[int, ...], row: int) -> None:
        """Read all but the last piece of a prompt that one forward pass cannot hold."""
        size = self.engine.batch_tokens
        for end in range(size, len(prompt), size):
            pack = next(self._packs([prompt[:end]]))
            self._read(pack, {prompt[:end]: [row]})

    def _packs(self, prompts: Sequence[tuple[int, ...]]) -> Iterator[Pack]:
        """Cut sorted prompts into packs; each is made when those before it have been read."""
        start, most = 0, min(PACK_TOKENS, self.engine.batch_tokens)
        while start < len(prompts):
            first = prompts[start]
            donor, shared = self._donor(first)
            size, end = len(first) - shared, start + 1
            while end < len(prompts):
                more = len(prompts[end]) - common_prefix(prompts[end - 1], prompts[end])
                if size + more > most or common_prefix(first, prompts[end]) < shared:
                    break
                size, end = size + more, end + 1
            yield Pack(list(prompts[start:end]), donor, shared)
            start = end

    def _donor(self, prompt: tuple[int, ...]) -> tuple[int, int]:
        """The row that holds most of a prompt's beginning, and how much; the last token is always computed."""
        shared = [min(common_prefix(held, prompt), len(prompt) - 1) for held in self.held]
        best = max(range(len(shared)), key=shared.__getitem__)
        return (best, shared[best]) if shared[best] >= WORTH_COPYING else (0, 0)

    def _read(self, pack: Pack, places: dict[tuple[int, ...], list[int]]) -> torch.Tensor:
        """Read a pack into its rows; logits (prompts, vocabulary) at the ends of the prompts."""
        device, shared = self.positions.device, pack.shared
        tree = PrefixTree.of([prompt[shared:] for prompt in pack.prompts])  # sorted and distinct as they are
        walk, tree_paths = tree.row(), tree.paths()
        rows, copied = [], []
        for prompt, path in zip(pack.prompts, tree_paths, strict=True):
            for row in places[prompt]:
                rows.append(row)
                copied.append(path)
                self.held[row] = prompt
        paths = self.engine.tensor(copied)
        self.cache.plan = Reading(torch.tensor(rows, device=device), paths, pack.donor, shared)
        positions = self.engine.on_device(positions_of(walk)) + shared
        before = torch.cat([torch.arange(shared, device=device), positions])
        distance = (positions.unsqueeze(1) - before).unsqueeze(0)
        ends = torch.tensor([path[-1] for path in tree_paths], device=device)
        ids = self.engine.tensor([[token for s in walk for token in tree.sequences[s.sequence][s.start : s.end]]])
        allowed = self.engine.on_device(visibility([walk], shared))
        mask = self._mask(allowed, distance)
        return self._forward(ids, Positions(torch.zeros_like(ends), ends), mask, positions.unsqueeze(0))

    def _mask(self, allowed: torch.Tensor, distance: torch.Tensor) -> Any:
        module = self.engine.module
        return additive_mask(allowed, distance, module.config, module.dtype)

    def _forward(self, ids: torch.Tensor, read: Positions, mask: Any, positions: torch.Tensor) -> torch.Tensor:
        step = self.engine.forward(ids, read, cache=self.cache, attention_mask=mask, position_ids=positions)
        return step.logits
