"""Linear layers in 8-bit integers."""

from __future__ import annotations

from typing import Literal

from steelyard.contracts import AppliedPart, OpenWeights
from steelyard.models.quantized import replace_linears
from steelyard.parts import part


@part()
def int8(
    model: OpenWeights,
    *,
    head: bool = True,
    skip: tuple[str, ...] = (),
    digits: Literal[1, 2, 3] = 3,
    packed: bool = False,
) -> OpenWeights:
    """Hold the weights of every linear layer as 8-bit integers, scaled once per output channel.

    Weights are scaled symmetrically by the largest magnitude of their row, w ~ round(127 w / m) * m / 127 with
    m = max|w|. Activations keep float32's precision, so only the rounding of the weights is felt, and a score
    does not depend on what else is in the batch. How products are computed is chosen by timing on the machine:
    as floats, or in exact integers where the processor is quick at those. No calibration is needed.

    With ``digits`` 1 activations are rounded to 8 bits too, per token (W8A8): faster on processors with integer
    dot products only, and scores then move a little with what else is in a batch.

    Memory: a quarter of float32 for the layers replaced; embeddings stay as they are. A head that is tied to
    the embedding becomes an int8 matrix of its own beside it: somewhat more memory, much faster. ``packed``
    spends two more bytes a weight on a copy for inputs of a few tokens, which are what generation consists of;
    where such a copy gains nothing, none is made.

    Args:
        model: any model with linear layers.
        head: whether the output head is quantized too.
        skip: layers to leave in floating point: names, or last or inner parts of names (``"lm_head"``,
            ``"down_proj"``, ``"model.layers.0"``).
        digits: 8-bit digits an activation: 3 keeps its precision, 1 is W8A8.
        packed: trade memory for the speed of generation.

    Raises:
        CapabilityError: the model has no linear layer left to replace.

    Source:
        LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, section 2 (vector-wise quantization),
        without its outlier decomposition; per-token activations (``digits`` 1) as in ZeroQuant.

    Relations:
        ``sleb`` removes whole blocks; apply it first.

    Example:
        >>> smaller = int8(model, head=False)  # doctest: +SKIP
    """
    module = replace_linears(model.module, skip=skip, head=head, digits=digits, packed=packed)
    settings = {"head": head, "skip": list(skip), "digits": digits} | ({"packed": True} if packed else {})
    return model.evolve(module, AppliedPart("int8", settings))
