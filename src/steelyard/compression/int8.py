"""Linear layers in 8-bit integers."""

from __future__ import annotations

from steelyard.contracts import AppliedPart, OpenWeights
from steelyard.models.quantized import replace_linears
from steelyard.parts import part


@part()
def int8(model: OpenWeights, *, head: bool = True, skip: tuple[str, ...] = ()) -> OpenWeights:
    """Run every linear layer in 8-bit integers: weights once per output channel, activations per token (W8A8).

    Both are scaled symmetrically by their largest magnitude, x ~ round(127 x / max|x|) * max|x| / 127, rows of
    the weight when the part is applied, tokens as they arrive. The product is accumulated in exact integers,
    so results do not depend on how requests are batched. No calibration is needed.

    Memory: a quarter of float32 for the layers replaced; embeddings stay as they are. A head that is tied to
    the embedding becomes an int8 matrix of its own beside it: somewhat more memory, much faster.

    Args:
        model: any model with linear layers.
        head: whether the output head is quantized too.
        skip: layers to leave in floating point: names, or last or inner parts of names (``"lm_head"``,
            ``"down_proj"``, ``"model.layers.0"``).

    Raises:
        CapabilityError: the model has no linear layer left to replace.

    Source:
        LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, section 2 (vector-wise quantization),
        without its outlier decomposition; per-token activations as in ZeroQuant.

    Relations:
        ``sleb`` removes whole blocks; apply it first.

    Example:
        >>> smaller = int8(model, head=False)  # doctest: +SKIP
    """
    module = replace_linears(model.module, skip=skip, head=head)
    return model.evolve(module, AppliedPart("int8", {"head": head, "skip": list(skip)}))
