"""How much the tokens of a query attend to each token before them, summed as the layers compute it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import CapabilityError
from steelyard.models.families import family_of

if TYPE_CHECKING:
    import torch

    from steelyard.contracts import OpenWeights

Array = NDArray[np.float64]


class Reading(NamedTuple):
    """``attention`` float64 (before,): what each token before the tail receives; ``cache`` holds their keys."""

    attention: Array
    cache: Any


def query_attention(
    model: OpenWeights, before: Sequence[int], tail: Sequence[int], rows: slice, *, cache: Any = None
) -> Reading:
    """Read ``before`` and then ``tail`` in one forward pass, and see where some tokens of the tail look.

    attention_j = sum over layers and heads of the mean, over the tokens ``tail[rows]``, of their attention weight
    on token j of ``before``.

    Args:
        model: open weights of a family whose attention blocks are known.
        before: tokens of instruction and passages.
        tail: tokens after them.
        rows: which tokens of the tail are the query.
        cache: of an earlier call with the same ``before``: it is cut back to that, and only the tail is run.

    Returns:
        The attention, and a cache for another tail (None where windows of the layers allow none).

    Raises:
        CapabilityError: the family's attention blocks are not known, or show no weights.
    """
    import torch
    from transformers.cache_utils import DynamicCache, DynamicLayer

    held = 0
    if cache is not None:
        held = len(before)
        cache.crop(held - cache.get_seq_length())  # below 0: so many are removed
    else:
        cache = DynamicCache(config=model.module.config)
        if any(type(layer) is not DynamicLayer for layer in cache.layers):
            cache = None
    ids = torch.tensor([[*before, *tail][held:]], device=next(model.module.parameters()).device)
    picked = [len(before) - held + row for row in range(len(tail))[rows]]
    total = np.zeros(len(before))

    def take(weights: torch.Tensor) -> None:
        nonlocal total
        total += weights[0][:, picked, : len(before)].double().mean(1).sum(0).cpu().numpy()

    named: dict[str, Any] = {} if cache is None else {"past_key_values": cache}
    with plain_attention(model, take), torch.inference_mode():
        model.module(input_ids=ids, use_cache=cache is not None, **named)
    return Reading(total, cache)


@contextmanager
def plain_attention(model: OpenWeights, take: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Let the model compute attention plainly, and hand each layer's weights (1, heads, tokens, keys) to ``take``.

    Only one layer's weights are held at a time. The model's own kind of attention is put back afterwards; the lock
    of its engine is held, so that nothing else runs meanwhile.
    """
    module: Any = model.module
    family = family_of(module)

    def hook(block: Any, _: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if weights is None or weights.dim() != 4:
            raise CapabilityError(
                f"{model.card.name}: its {type(block).__name__} shows no attention weights; use another reranker"
            )
        take(weights)

    kind = module.config._attn_implementation
    engine = getattr(model, "engine", None)
    with nullcontext() if engine is None else engine.lock:
        handles = [family.attention(layer).register_forward_hook(hook) for layer in family.layers(module)]
        try:
            module.set_attn_implementation("eager")
            yield
        finally:
            module.set_attn_implementation(kind)
            for handle in handles:
                handle.remove()


def passage_score(query: Array, calibration: Array | None) -> float:
    """One passage's score from the attention that its tokens receive.

    s_j = query_j - calibration_j for each token; tokens with s_j at or below mean - 2 sd (sd with n - 1) are left
    out, the rest summed. Without calibration the attention is summed as it is.

    Source: Attention in Large Language Models Yields Efficient Zero-Shot Re-Rankers (2025), section 3.

    >>> passage_score(np.array([3.0, 1.0]), np.array([1.0, 1.0])), passage_score(np.array([3.0, 1.0]), None)
    (2.0, 4.0)
    """
    if calibration is None:
        return float(query.sum())
    change = query - calibration
    if len(change) < 2:
        return float(change.sum())
    spread = float(change.std(ddof=1))
    kept = change > change.mean() - 2 * spread if spread > 0 else np.ones(len(change), dtype=bool)
    return float(change[kept].sum())
