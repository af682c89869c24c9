"""What a stream's increments stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from steelyard.contracts import Generation


def summary_of(parts: Sequence[Generation]) -> Generation:
    """The whole answer a stream's increments stand for."""
    last: Any = parts[-1]
    logprobs = tuple(value for part in parts for value in part.token_logprobs)
    return Generation(
        text="".join(part.text for part in parts),
        tokens=tuple(token for part in parts for token in part.tokens),
        logprob=math.fsum(logprobs),
        finish_reason=last.finish_reason,
        usage=last.usage,
        token_logprobs=logprobs,
        top=tuple(top for part in parts for top in part.top),
    )
