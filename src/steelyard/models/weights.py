"""Open weights in this process: the :class:`~steelyard.contracts.OpenWeights` behind every local model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.contracts import (
    AppliedPart,
    Capability,
    Continuation,
    FamilyLike,
    Generation,
    ModelCard,
    Prompt,
    Sampling,
    Samplings,
    Score,
    TextRole,
)
from steelyard.errors import CapabilityError, UsageError
from steelyard.models import embedding, generation, memory_plan, scoring
from steelyard.models.fingerprint import fingerprint_of
from steelyard.models.forward import Engine
from steelyard.models.pooling import Pooling, pooling_record
from steelyard.models.saving import save_checkpoint
from steelyard.parts import nearest

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class TransformersModel:
    """A transformers module with its tokenizer, as a language model.

    ``batch_tokens`` bounds the tokens of one forward pass, and with it the memory above the weights:
    :attr:`pack_bytes`. :meth:`within` chooses it for a limit on memory.

        model = load_model("smollm2-135m")
        model.score([Continuation("The capital of France is", " Paris")])[0].logprob
    """

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        card: ModelCard,
        family: FamilyLike,
        *,
        batch_tokens: int = 4096,
        pooling: Pooling | None = None,
        memory: int | None = None,
    ) -> None:
        self._module = module
        self._tokenizer = tokenizer
        self._card = card
        self._family = family
        self.batch_tokens = batch_tokens
        self.pooling = pooling
        self.memory = memory

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        return self._card

    @property
    def module(self) -> torch.nn.Module:
        """The torch module; parts that change weights work on a copy."""
        module: torch.nn.Module = self._module
        return module

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self._tokenizer

    @property
    def family(self) -> FamilyLike:
        """The architecture as data."""
        return self._family

    @cached_property
    def engine(self) -> Engine:
        """What runs the module."""
        card = self._card
        return Engine(self._module, self._tokenizer, card.name, card.context_length, self.batch_tokens)

    @property
    def pack_bytes(self) -> int:
        """Most bytes that one forward pass holds beside the weights, as planned."""
        return memory_plan.pack_bytes(memory_plan.shape_of(self._module), self.batch_tokens)

    def within(self, memory: int) -> TransformersModel:
        """The same model with passes small enough for weights and one of them to stay within ``memory`` bytes.

        Raises :class:`UsageError` where the weights alone are too large.
        """
        weights = self._card.memory_bytes or 0
        tokens = memory_plan.plan_tokens(self._module, memory, weights=weights, name=self._card.name)
        return TransformersModel(
            self._module,
            self._tokenizer,
            self._card,
            self._family,
            batch_tokens=tokens,
            pooling=self.pooling,
            memory=memory,
        )

    def score(self, requests: Sequence[Continuation], *, top: int = 0, detail: bool = False) -> list[Score]:
        """Score each request, in order; results do not depend on how requests are batched."""
        self._need("score")
        return scoring.score(self.engine, requests, top, detail)

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings = Sampling()) -> list[Generation]:
        """Continue each prompt, in order; the same prompt under several seeds is read once."""
        self._need("generate")
        return generation.generate(self.engine, prompts, sampling)

    def stream(self, prompt: Prompt, sampling: Sampling = Sampling()) -> Iterator[Generation]:
        """Yield increments; joined, their texts equal ``generate``'s."""
        self._need("generate")
        return generation.stream(self.engine, prompt, sampling)

    def embed(self, texts: Sequence[str], role: TextRole = "document") -> NDArray[np.float32]:
        """Unit vectors, float32 (n, d), of texts behind their role's prefix, where the checkpoint has one.

        Texts longer than the model takes are cut on the right, with a line in the log.
        """
        self._need("embed")
        return embedding.embed(self.engine, texts, self.pooling or embedding.MEAN, role)

    def embed_tokens(self, texts: Sequence[str], role: TextRole = "document") -> list[NDArray[np.float32]]:
        """The unit vector of every token, for late interaction: per text float32 (tokens, width)."""
        self._need("embed")
        return embedding.embed_tokens(self.engine, texts, self.pooling or embedding.MEAN, role)

    def with_pooling(self, **changes: Any) -> TransformersModel:
        """The same weights making their vectors in another way; ``changes`` are fields of ``Pooling``.

        What is embedded changes, so the fingerprint does too. Weights are shared.

            model.with_pooling(mode="eos", prompts={"query": "Instruct: find the answer. Query: "})
        """
        pooling = self.pooling or embedding.MEAN
        known = [field.name for field in dataclasses.fields(Pooling)]
        for name in changes:
            if name not in known:
                raise UsageError(f"with_pooling has no setting {name!r}{nearest(name, known)}")
        changed = dataclasses.replace(pooling, **changes)
        entry = {"name": "pooling", "settings": pooling_record(changed)}
        card = dataclasses.replace(self._card, fingerprint=fingerprint_of(self._card.fingerprint, [entry]))
        return TransformersModel(
            self._module, self._tokenizer, card, self._family, batch_tokens=self.batch_tokens, pooling=changed
        )

    def hidden(self, texts: Sequence[str], layers: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """Hidden states per text: float32 (layers, tokens, width), layer 0 being the embeddings."""
        self._need("hidden")
        return embedding.hidden(self.engine, texts, layers)

    def evolve(self, module: torch.nn.Module, part: AppliedPart) -> TransformersModel:
        """The same model around another module, with ``part`` appended to its history."""
        parameters, memory = size_of(module)
        card = dataclasses.replace(
            self._card,
            fingerprint=fingerprint_of(self._card.fingerprint, [part]),
            parameters=parameters,
            memory_bytes=memory,
            parts=(*self._card.parts, part),
        )
        changed = TransformersModel(
            module, self._tokenizer, card, self._family, batch_tokens=self.batch_tokens, pooling=self.pooling
        )
        return changed if self.memory is None else changed.within(self.memory)

    def save(self, folder: Path) -> Path:
        """Write a checkpoint folder that :func:`steelyard.load` reads back; all or nothing."""
        return save_checkpoint(Path(folder), self._module, self._tokenizer, self._card, self.pooling)

    def _need(self, capability: Capability) -> None:
        if capability not in self._card.capabilities:
            have = ", ".join(sorted(self._card.capabilities)) or "none"
            raise CapabilityError(f"{self._card.name} lacks the capability {capability!r} (it has: {have})")


def size_of(module: torch.nn.Module) -> tuple[int, int]:
    """Number of parameters, and bytes of parameters, buffers and packed copies; shared tensors count once.

    Weights that share a byte count as parameters each.

    >>> import torch
    >>> size_of(torch.nn.Linear(3, 2))
    (8, 32)
    """
    parameters = {p.data_ptr(): p for p in module.parameters()}
    held = {b.data_ptr(): b for b in module.buffers()} | parameters
    packed = sum(int(getattr(child, "packed_bytes", 0)) for child in module.modules())
    unpacked = sum(int(getattr(child, "unpacked_parameters", 0)) for child in module.modules())
    return (
        sum(p.numel() for p in parameters.values()) + unpacked,
        sum(t.numel() * t.element_size() for t in held.values()) + packed,
    )
