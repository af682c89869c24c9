"""Running a model forward: logits only where they are read, and caches that several rows share.

An :class:`Engine` knows a module only through its ``forward`` signature and its output head, so it serves any
architecture. Rows are padded on the right for scoring (nothing to the right is ever attended to, so no mask is
needed) and on the left for generation.
"""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from steelyard.errors import CapabilityError, ModelError
from steelyard.models.prefix_tree import common_prefix

LOGIT_ELEMENTS = 2**26
"""Most logits held at once: 256 MiB in float32."""


class Step(NamedTuple):
    """Result of one forward pass: logits float32 (read positions, vocabulary) and the cache, if kept."""

    logits: torch.Tensor
    cache: Any


class Pass(NamedTuple):
    """A forward pass whose logits are computed on demand: ``logits_of`` takes a range of the read positions."""

    logits_of: Callable[[slice], torch.Tensor]
    cache: Any


class Positions(NamedTuple):
    """Where logits are read: equally long index tensors into rows and columns of the input."""

    rows: torch.Tensor
    columns: torch.Tensor


@dataclass(frozen=True)
class Engine:
    """A module with its tokenizer and limits. ``batch_tokens`` bounds the tokens of one forward pass."""

    module: Any
    tokenizer: Any
    name: str
    context_length: int | None = None
    batch_tokens: int = 4096
    lock: Any = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        device: torch.device = next(self.module.parameters()).device
        return device

    @property
    def encoder_decoder(self) -> bool:
        """Whether the context goes to an encoder of its own."""
        return bool(getattr(self.module.config, "is_encoder_decoder", False))

    @cached_property
    def _accepted(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.module.forward).parameters)

    @property
    def takes_positions(self) -> bool:
        """Whether explicit position numbers can be passed."""
        return "position_ids" in self._accepted

    @property
    def cache_argument(self) -> str | None:
        """The name under which ``forward`` takes its cache."""
        return next((n for n in ("past_key_values", "cache_params") if n in self._accepted), None)

    @cached_property
    def head(self) -> Any:
        """The output head, or None where the module does not tell."""
        try:
            return self.module.get_output_embeddings()
        except (AttributeError, NotImplementedError):
            return None

    @cached_property
    def vocabulary(self) -> int:
        """Number of logits per position, as far as the configuration tells."""
        config = self.module.config
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        return int(getattr(text, "vocab_size", 0) or 50_000)

    @property
    def logit_rows(self) -> int:
        """Most positions whose logits may be held at once, where they cannot be computed a few at a time."""
        return max(64, LOGIT_ELEMENTS // self.vocabulary)

    @cached_property
    def plain_head(self) -> bool:
        """Whether logits are what the output head returns, found by trying; some models bend them afterwards."""
        if self.head is None or self.encoder_decoder:
            return False
        raw: list[torch.Tensor] = []
        handle = self.head.register_forward_hook(lambda _, __, output: raw.append(output.clone()))
        ids = self.tensor([[self.vocabulary // 2, self.vocabulary // 3]])  # not 0: padding, whose logits may be 0
        try:
            logits = self.forward(ids, Positions(*torch.tensor([[0], [1]], device=ids.device))).logits
        finally:
            handle.remove()
        return len(raw) == 1 and raw[0].shape == (1, *logits.shape) and torch.equal(raw[0][0].float(), logits)

    @cached_property
    def sharing(self) -> str:
        """How caches can be shared: ``"full"`` attention, ``"window"`` (some layers slide) or ``"none"``."""
        if self.encoder_decoder or self.cache_argument != "past_key_values":
            return "none"
        from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

        try:
            kinds = {type(layer) for layer in DynamicCache(config=self.module.config).layers}
        except (AttributeError, KeyError, TypeError, ValueError):
            return "none"
        if kinds <= {DynamicLayer}:
            return "full"
        return "window" if kinds <= {DynamicLayer, DynamicSlidingWindowLayer} else "none"

    @cached_property
    def takes_masks(self) -> bool:
        """Whether explicit masks work, so that one row can hold a tree and rows need no padding to one side."""
        from steelyard.models.attention_masks import takes_masks

        return not self.encoder_decoder and takes_masks(self)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        from steelyard.models.answers import end_tokens

        return end_tokens(self)

    @cached_property
    def recorder(self) -> Any:
        """Keeps the recorded decoding step."""
        from steelyard.models.recorded_step import Recorder

        return Recorder(self)

    @cached_property
    def grammar_tokenizer(self) -> Any:
        """The vocabulary as grammars see it."""
        from steelyard.models.grammars import grammar_tokenizer

        return grammar_tokenizer(self, self.end_tokens)

    def forward(
        self,
        ids: torch.Tensor,
        read: Positions | None,
        *,
        cache: Any = None,
        keep_cache: bool = False,
        **inputs: Any,
    ) -> Step:
        """Run tokens ``ids`` (rows, columns) and return the logits at ``read`` (None: of one position)."""
        if read is None:
            zero = torch.zeros(1, dtype=torch.long, device=ids.device)
            read = Positions(zero, zero)
        with self._readable(), _reading(self.head, ids.shape, read):
            logits, kept = self._forward(ids, cache, keep_cache, inputs)
        if logits.shape[:2] == ids.shape and logits.shape[:2] != (1, len(read.rows)):
            logits = logits[read.rows, read.columns].unsqueeze(0)
        return Step(logits[0].float(), kept)

    def _forward(self, ids: torch.Tensor, cache: Any, keep: bool, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """The module's own logits (rows, positions, vocabulary) and, if asked for, its cache."""
        arguments = {k: v for k, v in inputs.items() if v is not None}
        arguments["decoder_input_ids" if self.encoder_decoder else "input_ids"] = ids
        if self.cache_argument is not None:
            arguments["use_cache"] = keep or cache is not None
            if cache is not None:
                arguments[self.cache_argument] = cache
        output = self.module(**arguments)
        logits = getattr(output, "logits", None)
        if logits is None or logits.dim() != 3:
            raise CapabilityError(f"{self.name} computes no next-token probabilities (capability 'score')")
        return logits, getattr(output, self.cache_argument, None) if self.cache_argument and keep else None

    def run(
        self, ids: torch.Tensor, read: Positions, *, cache: Any = None, keep: bool = False, **inputs: Any
    ) -> Pass:
        """Run tokens ``ids`` (rows, columns); the logits at ``read`` are computed when asked for.

        Where the head is plain, only the hidden states at ``read`` are held.
        """
        if not self.plain_head:
            step = self.forward(ids, read, cache=cache, keep_cache=keep, **inputs)
            return Pass(lambda part: step.logits[part], step.cache)
        held: list[torch.Tensor] = []

        def hold(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            held.append(arguments[0][0])
            return (arguments[0][:, :1], *arguments[1:])

        with self._readable(), _reading(self.head, ids.shape, read):
            handle = self.head.register_forward_pre_hook(hold)
            try:
                kept = self._forward(ids, cache, keep, inputs)[1]
            finally:
                handle.remove()

        def logits_of(part: slice) -> torch.Tensor:
            with self._readable():
                logits: torch.Tensor = self.head(held[0][part])
            return logits.float()

        return Pass(logits_of, kept)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        with self.lock, torch.inference_mode():
            yield

    def empty_cache(self) -> Any:
        """A cache that keeps every position, whatever windows the layers have: explicit masks cut them."""
        from transformers.cache_utils import DynamicCache

        return DynamicCache() if self.takes_masks else None

    def on_device(self, array: NDArray[Any]) -> torch.Tensor:
        """A NumPy array as a tensor where inputs go."""
        return torch.from_numpy(array).to(self.device)

    def tensor(self, rows: Sequence[Sequence[int]], *, left: bool = False) -> torch.Tensor:
        """Rows of tokens as one tensor, padded on the right (or ``left``) with a token of the row itself."""
        width = max(len(row) for row in rows)
        fills = [[row[-1]] * (width - len(row)) for row in rows]
        padded = [[*fill, *row] if left else [*row, *fill] for fill, row in zip(fills, rows, strict=True)]
        return torch.tensor(padded, dtype=torch.long, device=self.device)


@contextmanager
def _reading(head: Any, shape: torch.Size, read: Positions) -> Iterator[None]:
    """Let ``head`` see only the hidden states at ``read``: shape (1, positions, width)."""
    if head is None:
        yield
        return

    def select(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        hidden = arguments[0]
        if hidden.dim() != 3 or hidden.shape[:2] != shape:
            return None
        return (hidden[read.rows, read.columns].unsqueeze(0), *arguments[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def cropped(cache: Any, length: int) -> Any | None:
    """The first ``length`` positions of a cache, sharing memory; None where a sliding layer has lost them."""
    layers = []
    for layer in cache.layers:
        if not layer.is_initialized:  # layers that share another's keys keep none
            layers.append(copy.copy(layer))
            continue
        held = layer.keys.shape[-2]
        if held != layer.get_seq_length():
            if layer.get_seq_length() != length:
                return None
            layers.append(copy.copy(layer))
            continue
        new = copy.copy(layer)
        new.keys, new.values = layer.keys[..., :length, :], layer.values[..., :length, :]
        if layer.is_sliding:
            new.cumulative_length = length
        layers.append(new)
    return _with_layers(cache, layers)


def expanded(cache: Any, rows: int) -> Any:
    """A cache of one row as a cache of ``rows`` equal rows, sharing memory (updates do not write into it)."""
    layers = []
    for layer in cache.layers:
        new = copy.copy(layer)
        if layer.is_initialized:
            new.keys = layer.keys.expand(rows, *layer.keys.shape[1:])
            new.values = layer.values.expand(rows, *layer.values.shape[1:])
        layers.append(new)
    return _with_layers(cache, layers)


def _with_layers(cache: Any, layers: list[Any]) -> Any:
    new = copy.copy(cache)
    new.layers = layers
    return new


@dataclass
class PrefixCache:
    """The cache of one token sequence, kept while neighbours share its beginning."""

    engine: Engine
    tokens: tuple[int, ...] = ()
    cache: Any = None

    def reach(self, tokens: tuple[int, ...]) -> Any:
        """The cache after exactly ``tokens``, computing only what is not held already."""
        shared = common_prefix(self.tokens, tokens)
        kept = cropped(self.cache, shared) if self.cache is not None and shared else None
        if kept is None:
            shared = 0
        while shared < len(tokens):
            piece = tokens[shared : shared + self.engine.batch_tokens]
            step = self.engine.forward(self.engine.tensor([piece]), None, cache=kept, keep_cache=True)
            if step.cache is None:
                raise ModelError(f"{self.engine.name} returned no cache although it takes one")
            kept, shared = step.cache, shared + len(piece)
        self.tokens, self.cache = tokens, kept
        return kept
