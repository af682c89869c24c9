"""Explicit attention masks: who may look at whom, as the models of each architecture take it.

A mask of four dimensions is used by transformers' models as it stands, which is what lets unrelated sequences
share one row of a batch and sequences of different lengths share a cache. Where layers see only a window, the
window has to be in the mask; models that mix such layers with others take one mask for each kind of layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from steelyard.models.forward import Engine

KINDS = {"full_attention", "sliding_attention"}


def windows_of_layers(config: Any) -> dict[str, int | None]:
    """The window of each kind of layer, None for unlimited; ``{"": window}`` where all layers are alike.

    >>> from transformers import LlamaConfig, MistralConfig
    >>> windows_of_layers(LlamaConfig()), windows_of_layers(MistralConfig(sliding_window=8))
    ({'': None}, {'': 8})
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    window = getattr(text, "sliding_window", None) or None
    kinds = set(getattr(text, "layer_types", None) or ())
    if kinds == {"full_attention"}:
        return {"": None}
    if not kinds or not kinds <= KINDS:
        return {"": window}
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


def additive_mask(allowed: torch.Tensor, distance: torch.Tensor, config: Any, dtype: torch.dtype) -> Any:
    """The ``attention_mask`` argument that lets position q of a row see position k.

    Args:
        allowed: bool (rows, q, k) or (1, q, k); every q must see at least one k.
        distance: integers of a shape that broadcasts with it: position number of q less that of k.
        config: the model's configuration, which tells the windows of its layers.
        dtype: the model's.

    Returns:
        A tensor (rows, 1, q, k) of zeros and very small numbers, or a dictionary of one for each kind of layer.
    """
    made = {}
    for kind, window in windows_of_layers(config).items():
        visible = allowed if window is None else allowed & (distance < window)
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        made[kind] = mask.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)
    return made.get("", made)


def takes_masks(engine: Engine) -> bool:
    """Whether explicit masks and positions work, found by trying.

    The two branches of a small tree, run in one row, must give the logits that they give apart. Architectures
    whose row in the family table rules it out, and those without a row, are not tried: a short text does not show
    every way to go wrong.
    """
    from steelyard.models.families import family_of
    from steelyard.models.forward import Positions

    if not family_of(engine.module).packed_masks or not engine.takes_positions:
        return False
    size = engine.vocabulary
    a, b, c, d, e = (size // n for n in (2, 3, 4, 5, 7))
    positions = torch.tensor([[0, 1, 2, 1, 2]], device=engine.device)
    ends = torch.tensor([5, 3, 3, 5, 5], device=engine.device)  # where the subtree of each token ends
    order = torch.arange(5, device=engine.device)
    allowed = (order <= order.unsqueeze(1)) & (order.unsqueeze(1) < ends)
    distance = positions.unsqueeze(2) - positions.unsqueeze(1)
    mask = additive_mask(allowed.unsqueeze(0), distance, engine.module.config, engine.module.dtype)
    try:
        together = engine.forward(
            engine.tensor([[a, b, c, d, e]]),
            Positions(torch.tensor([0, 0]), torch.tensor([2, 4])),
            attention_mask=mask,
            position_ids=positions,
        ).logits
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
        return False
    apart = engine.forward(
        engine.tensor([[a, b, c], [a, d, e]]), Positions(torch.tensor([0, 1]), torch.tensor([2, 2]))
    ).logits
    tolerance = 1e-3 if engine.module.dtype == torch.float32 else 0.1
    spread = max(float(apart.std()), 1e-6)
    return bool((together - apart).abs().max() < tolerance * spread)
