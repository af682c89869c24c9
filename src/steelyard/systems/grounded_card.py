"""The card of a language model that reads from a retriever: results are filed under what both of them are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.contracts import AppliedPart, Capability, Hit, ModelCard
from steelyard.errors import UsageError
from steelyard.models.fingerprint import fingerprint_of

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


def source_fingerprint(role: str, source: Any) -> str:
    """What a retriever or reranker says its content is."""
    found = getattr(source, "fingerprint", None) or getattr(getattr(source, "card", None), "fingerprint", None)
    if not isinstance(found, str) or not found:
        raise UsageError(
            f"the {role} ({type(source).__name__}) has no fingerprint of its content, so results with it cannot "
            "be filed; give it a `fingerprint` (steelyard.systems.grounded_card.passages_fingerprint makes one)"
        )
    return found


def passages_fingerprint(passages: Sequence[Hit], settings: Mapping[str, Any] | None = None) -> str:
    """Content hash of passages, whatever their order, and of the settings of the search over them.

    >>> one, two = Hit("a", 0.0, "Wings."), Hit("b", 0.0, "Wheels.")
    >>> passages_fingerprint([one, two]) == passages_fingerprint([two, one])
    True
    """
    rows = sorted([hit.id, hit.text, hit.source, hit.start, hit.end] for hit in passages)
    text = json.dumps([rows, dict(settings or {})], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
