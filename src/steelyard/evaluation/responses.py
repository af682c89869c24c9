"""What a model returned, checked to be what it was asked for."""

from __future__ import annotations

import math

from steelyard.contracts import Generation, Response, Sample, Score
from steelyard.errors import ModelError


def checked_score(response: Response, sample: Sample) -> Score:
    """The response as a score; ModelError where it is text, or its log-likelihood is no number."""
    if not isinstance(response, Score):
        raise ModelError(f"sample {sample.id!r}: asked for a score, the model returned text")
    if math.isnan(response.logprob) or response.logprob == math.inf:
        raise ModelError(
            f"sample {sample.id!r}: the model's log-likelihood is {response.logprob}; "
            "its weights or number format are damaged"
        )
    return response


def checked_text(response: Response, sample: Sample) -> str:
    """The response as text; ModelError where it is a score."""
    if not isinstance(response, Generation):
        raise ModelError(f"sample {sample.id!r}: asked for an answer, the model returned a score")
    return response.text
