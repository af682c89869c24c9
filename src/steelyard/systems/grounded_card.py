"""The card of a language model that reads from a retriever: results are filed under what both of them are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from steelyard.contracts import AppliedPart, Capability, ModelCard
from steelyard.models.fingerprint import fingerprint_of
from steelyard.retrieval.content_fingerprint import source_fingerprint

KEPT: frozenset[Capability] = frozenset({"score", "generate", "chat", "logprobs"})
"""What a model behind retrieval can still do: its weights and hidden states are those of another model."""


def grounded_card(card: ModelCard, part: str, settings: Mapping[str, Any], **sources: Any) -> ModelCard:
    """The card of ``part`` around the model of ``card``.

    Args:
        card: the model inside.
        part: the part's name.
        settings: what it was set to, JSON-ready.
        **sources: retrievers and rerankers by role. Each says what is in it by its ``fingerprint`` (or the one of
            its ``card``); None is left out.

    Raises:
        UsageError: One of ``sources`` has no fingerprint: its results could not be told from another's.
    """
    contents = {role: source_fingerprint(role, source) for role, source in sources.items() if source is not None}
    applied = AppliedPart(part, {**settings, **contents})
    return dataclasses.replace(
        card,
        name=f"{card.name} + {part}",
        fingerprint=fingerprint_of(card.fingerprint, [applied]),
        capabilities=card.capabilities & KEPT,
        parts=(*card.parts, applied),
    )
