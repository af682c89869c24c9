"""What is in a retriever, as a hash: results that were measured with it are filed under it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from steelyard.contracts import Hit
from steelyard.errors import UsageError


def source_fingerprint(role: str, source: Any) -> str:
    """What a retriever or reranker says its content is."""
    found = getattr(source, "fingerprint", None) or getattr(getattr(source, "card", None), "fingerprint", None)
    if not isinstance(found, str) or not found:
        raise UsageError(
            f"the {role} ({type(source).__name__}) has no fingerprint of its content, so results with it cannot "
            "be filed; give it a `fingerprint` (passages_fingerprint in steelyard.retrieval.content_fingerprint)"
        )
    return found


def passages_fingerprint(passages: Iterable[Hit], settings: Mapping[str, Any] | None = None) -> str:
    """Content hash of passages, whatever their order, and of the settings of the search over them.

    Passages are hashed one at a time and their hashes summed, so they need not be in memory together.

    >>> one, two = Hit("a", 0.0, "Wings."), Hit("b", 0.0, "Wheels.")
    >>> passages_fingerprint([one, two]) == passages_fingerprint([two, one])
    True
    """
    total = 0
    for hit in passages:
        total += int.from_bytes(_digest([hit.id, hit.text, hit.source, hit.start, hit.end, dict(hit.metadata)]))
    return _digest([total % 2**256, dict(settings or {})]).hex()[:32]


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
