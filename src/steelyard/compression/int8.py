"""Linear layers in 8-bit integers."""

from __future__ import annotations

from typing import Literal

from steelyard.contracts import AppliedPart, OpenWeights
from steelyard.models.quantized import replace_linears
from steelyard.parts import part


@part()
def int8(
    model: OpenWeights, *, head: bool = True, skip: tuple[str, ...] = (), digits: Literal[1, 2, 3] = 3
) -> OpenWeights:
    """Run every linear layer in 8-bit integers: weights once per output channel, activations per token.

    Weights are scaled symmetrically by the largest magnitude of their row, w ~ round(127 w / m) * m / 127 with
    m = max|w|, when the part is applied; tokens alike as they arrive. Products are summed in exact integers.
    With one 8-bit digit an activation this is W8A8, the fastest, but scores then move a little with what else is
    in a batch; three digits keep float32's precision, so only the rounding of the weights is felt. No
    calibration is needed.

    Memory: a quarter of float32 for the layers replaced; embeddings stay as they are. A head that is tied to
    the embedding becomes an int8 matrix of its own beside it: somewhat more memory, much faster.

    Args:
        model: any model with linear layers.
        head: whether the output head is quantized too.
        skip: layers to leave in floating point: names, or last or inner parts of names (``"lm_head"``,
            ``"down_proj"``, ``"model.layers.0"``).
        digits: 8-bit digits an activation: 1 is fastest, 3 keeps its precision.

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
    module = replace_linears(model.module, skip=skip, head=head, digits=digits)
    return model.evolve(module, AppliedPart("int8", {"head": head, "skip": list(skip), "digits": digits}))
