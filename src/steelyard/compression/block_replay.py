"""Running the blocks of a decoder one by one, whatever its family.

Block methods need hidden states *between* blocks. Instead of rewriting each family's forward pass, one real
pass records what every block is called with (rotary embeddings, masks; they differ by layer type in Gemma),
and later calls replay a block on other hidden states. The final norm, the head and whatever else a family
does after its blocks run through the family's own forward pass, its blocks replaced by one that hands over
given hidden states.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import nn

from steelyard.contracts import OpenWeights
from steelyard.errors import ModelError
from steelyard.models.sharing import share as share

BlockArguments: TypeAlias = tuple[tuple[Any, ...], Mapping[str, Any]]
"""What a block is called with beside hidden states: by position, and by name."""


@dataclass(frozen=True)
class RecordedBatch:
    """What one batch of token ids (b, w) met on its way: the first block's input (b, w, d) and each block's
    other arguments. ``extra`` is what the last block returned beside hidden states, None for no tuple at all.
    """

    ids: torch.Tensor
    hidden: torch.Tensor
    arguments: tuple[BlockArguments, ...]
    extra: tuple[Any, ...] | None


@dataclass(frozen=True)
class _Met:
    """What hooks met on a pass; its lists are filled as it runs."""

    hidden: list[torch.Tensor] = field(default_factory=list)
    arguments: list[BlockArguments] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    extra: list[tuple[Any, ...] | None] = field(default_factory=list)


class PassEnded(Exception):
    """Raised by a hook to end a forward pass whose rest is not needed."""


class BlockReplay:
    """The blocks of a model, callable one at a time on a shared copy, ``module``; the model is never touched.

    ``logits(batch, hidden)`` finishes a pass from the last block's output. Raises :class:`ModelError` where a
    family has no list of blocks, or its blocks turn out not to be replayable.
    """

    def __init__(self, model: OpenWeights) -> None:
        self._name = model.card.name
        self.module = share(model.module).eval()
        self._list = model.family.layers(self.module)
        self.blocks: list[nn.Module] = list(self._list)
        self.device = next(self.module.parameters()).device

    @torch.no_grad()
    def record(self, ids: torch.Tensor) -> RecordedBatch:
        """Run the whole model once on ``ids`` (b, w) and keep what its blocks are called with.

        A replay that does not reproduce the model's own output is refused, so that no choice ever rests on
        wrong numbers.
        """
        ids = ids.to(self.device)
        with self._watched() as met:
            expected = self._forward(ids)
        batch = self._batch(ids, met)
        replayed = self.logits(batch, self.run(batch, batch.hidden, range(len(self.blocks))))
        self._agree(replayed, expected)
        return batch

    @torch.no_grad()
    def trace(self, ids: torch.Tensor) -> RecordedBatch:
        """As :meth:`record`, but pass and check end behind the last block: no logits are made."""
        ids = ids.to(self.device)
        with self._watched(until=self.blocks[-1]) as met, contextlib.suppress(PassEnded):
            self._forward(ids)
        batch = self._batch(ids, met)
        self._agree(self.run(batch, batch.hidden, range(len(self.blocks))), met.outputs[0])
        return batch

    @torch.no_grad()
    def enter(self, ids: torch.Tensor) -> tuple[torch.Tensor, BlockArguments]:
        """The first block's input (b, w, d) and its other arguments for ``ids`` (b, w); no block is run."""
        with self._watched(before=self.blocks[0]) as met, contextlib.suppress(PassEnded):
            self._forward(ids.to(self.device))
        return met.hidden[0], met.arguments[0]

    @contextlib.contextmanager
    def _watched(self, until: nn.Module | None = None, before: nn.Module | None = None) -> Iterator[_Met]:
        """Note what blocks are called with; the pass ends behind ``until`` or in front of ``before``."""
        seen = _Met()

        def keep(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            named = dict(kwargs)
            hidden = args[0] if args else named.pop("hidden_states")
            if not seen.arguments:
                seen.hidden.append(hidden)
            seen.arguments.append((args[1:], named))
            if block is before:
                raise PassEnded

        def keep_output(block: nn.Module, _args: Any, output: Any) -> None:
            seen.extra.append(output[1:] if isinstance(output, tuple) else None)
            seen.outputs.append(output[0] if isinstance(output, tuple) else output)
            if block is until:
                raise PassEnded

        hooks = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in self.blocks]
        hooks.append(self.blocks[-1].register_forward_hook(keep_output))
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def _batch(self, ids: torch.Tensor, met: _Met) -> RecordedBatch:
        if len(met.arguments) != len(self.blocks):
            raise ModelError(f"{self._name}: its {len(self.blocks)} blocks do not run once each, in order")
        return RecordedBatch(ids, met.hidden[0], tuple(met.arguments), met.extra[0])

    def _agree(self, replayed: torch.Tensor, expected: torch.Tensor) -> None:
        # where weights are damaged both sides are no numbers: that is for others to find, and name
        first, second = (torch.nan_to_num(t.float(), 0.0, 0.0, 0.0) for t in (replayed, expected))
        noise = 1e-3 * float(second.abs().max())
        if not torch.allclose(first, second, rtol=1e-3, atol=noise):
            raise ModelError(
                f"{self._name}: its blocks carry more than hidden states and cannot be tried one by one"
            )

    @torch.no_grad()
    def run(self, batch: RecordedBatch, hidden: torch.Tensor, blocks: Iterable[int]) -> torch.Tensor:
        """Send hidden states (b, w, d) through the blocks with these numbers, in turn."""
        for number in blocks:
            args, kwargs = batch.arguments[number]
            output = self.blocks[number](hidden, *args, **kwargs)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden

    @torch.no_grad()
    def logits(self, batch: RecordedBatch, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (b, w, vocabulary) from what left the last block."""
        output = hidden if batch.extra is None else (hidden, *batch.extra)
        self._replace([_HandOver(self.blocks[0], output)])
        try:
            return self._forward(batch.ids)
        finally:
            self._replace(self.blocks)

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(input_ids=ids, use_cache=False).logits
        return logits

    def _replace(self, blocks: Sequence[nn.Module]) -> None:
        del self._list[:]
        self._list.extend(blocks)


class _HandOver(nn.Module):
    """Stands in for all blocks: returns ``output``, and answers for ``block`` where its attributes are asked."""

    def __init__(self, block: nn.Module, output: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_block", block)  # not a submodule: it only answers for attributes
        self._output = output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "_block"), name)

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        return self._output


def next_token_nll(logits: torch.Tensor, ids: torch.Tensor) -> float:
    """Summed negative log-likelihood, in nats, of each token given those before it.

    ``logits`` is (b, w, v), ``ids`` (b, w); the first token of a row is not predicted. Rows are taken one by
    one in float32, so that memory stays at w * v numbers.

    >>> ids = torch.tensor([[0, 1, 1]])
    >>> round(next_token_nll(torch.zeros(1, 3, 4), ids) / 2, 4)  # uniform over 4: log 4
    1.3863
    """
    total = 0.0
    for row, targets in zip(logits, ids, strict=True):
        total += float(nn.functional.cross_entropy(row[:-1].float(), targets[1:], reduction="sum"))
    return total
