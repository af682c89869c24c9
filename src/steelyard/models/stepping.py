"""Advancing several sequences a token at a time: the caches, masks and positions behind generation.

Where an architecture takes explicit masks, sequences join and leave as they like (:mod:`.row_stepping`). The
steppers here serve the others: all sequences of a batch begin together, padded on the left so that they grow at
the same column; finished ones leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from steelyard.models.forward import Engine, Positions, PrefixCache, expanded
from steelyard.models.prefix_tree import common_prefix
from steelyard.models.sequence_pairs import decoder_start, encode_contexts

SHARED_AT_LEAST = 32
"""Prompts that begin with at least this many equal tokens share their computation."""


class Stepper(Protocol):
    """A batch of growing sequences."""

    @property
    def continuous(self) -> bool:
        """Whether prompts may join while others run."""

    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Read prompts, which become the last rows; logits (prompts, vocabulary) of the first new tokens."""
        ...

    def advance(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to each row; logits (rows, vocabulary) of the next."""
        ...

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Go on with these rows only; returns them in the order they are in from now on."""
        ...


def takes_rows(engine: Engine) -> bool:
    """Whether sequences can have a cache row each."""
    return engine.sharing != "none" and engine.takes_masks


def stepper(engine: Engine, rows: int) -> Stepper:
    """The stepper that suits a model, for at most ``rows`` sequences at a time."""
    if takes_rows(engine):
        from steelyard.models.row_stepping import RowStepper  # loads transformers

        return RowStepper(engine, rows)
    return PairStepper(engine) if engine.encoder_decoder else DecoderStepper(engine)


class DecoderStepper:
    """Decoders and recurrent models. Without a usable cache every step reads the whole sequence again."""

    continuous = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ids = torch.zeros(0, 0, dtype=torch.long, device=engine.device)
        self.lengths: list[int] = []
        self.mask: torch.Tensor | None = None
        self.cache: Any = None

    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Read the prompts."""
        self.ids = self.engine.tensor(prompts, left=True)
        self.lengths = [len(prompt) for prompt in prompts]
        self.mask = self.cache = None
        columns = self.ids.shape[1]
        if min(self.lengths) < columns:
            lengths = torch.tensor(self.lengths, device=self.ids.device)
            self.mask = (torch.arange(columns, device=self.ids.device) >= (columns - lengths).unsqueeze(1)).long()
        shared = self._shared(prompts)
        if shared:
            return self._begin_shared(prompts, shared)
        return self._forward(self.ids, None)

    def advance(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to each row."""
        new = torch.tensor(tokens, dtype=torch.long, device=self.ids.device).unsqueeze(1)
        if self.mask is not None:
            self.mask = torch.cat([self.mask, torch.ones_like(new)], dim=1)
        self.lengths = [length + 1 for length in self.lengths]
        if self.cache is None:
            self.ids = torch.cat([self.ids, new], dim=1)
            return self._forward(self.ids, None)
        return self._forward(new, self.cache)

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Go on with these rows only."""
        index = torch.tensor(rows, dtype=torch.long, device=self.ids.device)
        self.ids = self.ids[index]
        self.lengths = [self.lengths[row] for row in rows]
        if self.mask is not None:
            self.mask = self.mask[index]
        if self.cache is not None:
            with torch.inference_mode():
                self.cache.reorder_cache(index)
        return list(rows)

    def _shared(self, prompts: Sequence[Sequence[int]]) -> int:
        """How many first tokens to compute once. Gaps in the middle need explicit positions and full attention."""
        if len(prompts) < 2 or self.engine.sharing != "full" or not self.engine.takes_positions:
            return 0
        first = prompts[0]
        shared = min(min(common_prefix(first, other) for other in prompts), min(self.lengths) - 1)
        return shared if shared >= SHARED_AT_LEAST else 0

    def _begin_shared(self, prompts: Sequence[Sequence[int]], shared: int) -> torch.Tensor:
        rows = len(prompts)
        prefix = PrefixCache(self.engine).reach(tuple(prompts[0][:shared]))
        rest = self.engine.tensor([prompt[shared:] for prompt in prompts], left=True)
        if self.mask is not None:
            gaps = self.mask[:, : rest.shape[1]]  # the padding now lies between the shared tokens and the rest
            self.mask = torch.cat([torch.ones_like(self.ids[:, :shared]), gaps], dim=1)
        return self._forward(rest, expanded(prefix, rows))

    def _forward(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        rows, columns = ids.shape
        inputs: dict[str, Any] = {}
        if self.mask is not None:
            recurrent = self.engine.cache_argument == "cache_params" and columns == 1  # its state knows no padding
            inputs["attention_mask"] = None if recurrent else self.mask
            if self.engine.takes_positions:
                positions = self.mask.cumsum(1) - 1
                inputs["position_ids"] = positions.clamp_(min=0)[:, -columns:]
        last = torch.full((rows,), columns - 1, device=ids.device)
        read = Positions(torch.arange(rows, device=ids.device), last)
        step = self.engine.forward(ids, read, cache=cache, keep_cache=True, **inputs)
        self.cache = step.cache
        return step.logits


class PairStepper:
    """Encoder-decoders: prompts are encoded once, the decoder starts from its start token."""

    continuous = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.states: Any = None
        self.mask: Any = None
        self.cache: Any = None

    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Encode the prompts and read the start token."""
        self.cache = None
        self.states, self.mask = encode_contexts(self.engine, prompts)
        return self.advance([decoder_start(self.engine)] * len(prompts))

    def advance(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to each row."""
        from transformers.modeling_outputs import BaseModelOutput

        ids = torch.tensor(tokens, dtype=torch.long, device=self.engine.device).unsqueeze(1)
        rows = torch.arange(len(tokens), device=ids.device)
        step = self.engine.forward(
            ids,
            Positions(rows, torch.zeros_like(rows)),
            cache=self.cache,
            keep_cache=True,
            encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
            attention_mask=self.mask,
        )
        self.cache = step.cache
        return step.logits

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Go on with these rows only."""
        index = torch.tensor(rows, dtype=torch.long, device=self.engine.device)
        with torch.inference_mode():
            self.states, self.mask = self.states[index], self.mask[index]
            self.cache.reorder_cache(index)
        return list(rows)
