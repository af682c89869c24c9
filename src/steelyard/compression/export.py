"""Writing a compressed model in a format that other programs load."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from steelyard.contracts import OpenWeights
from steelyard.errors import UsageError
from steelyard.parts import nearest

Format: TypeAlias = Literal["steelyard", "transformers", "compressed-tensors"]
FORMATS: tuple[Format, ...] = get_args(Format)


def export(model: OpenWeights, folder: str | Path, format: str = "steelyard") -> Path:
    """Write a model into a new or empty folder, all or nothing.

    - ``steelyard``: as :meth:`OpenWeights.save` does; layers of integers stay as they are and load in Steelyard.
    - ``transformers``: a plain checkpoint, with the floats that integers stand for in their place. Pruning is
      kept, quality is that of the compressed model, size that of the floats.
    - ``compressed-tensors``: layers of integers in that library's packed format, which transformers, vLLM and
      SGLang read; needs the library (``pip install "steelyard[quantization]"``).

    Raises:
        UsageError: an unknown format.
        CapabilityError: a model that the format cannot hold.
        ModelError: the folder holds other files or cannot be written.

    Example:
        >>> export(finequant(model), "small", "compressed-tensors")  # doctest: +SKIP
    """
    if format not in FORMATS:
        raise UsageError(f"format {format!r} is unknown{nearest(format, FORMATS)}; choose {', '.join(FORMATS)}")
    if format == "steelyard":
        return model.save(Path(folder))
    from steelyard.models.compressed_tensors import write_compressed_tensors
    from steelyard.models.quantized import dense
    from steelyard.models.saving import save_checkpoint, write_folder

    pooling: Any = getattr(model, "pooling", None)
    module, tokenizer, card = model.module, model.tokenizer, model.card
    if format == "transformers":
        return save_checkpoint(Path(folder), dense(module), tokenizer, card, pooling)
    return write_folder(Path(folder), lambda new: write_compressed_tensors(new, module, tokenizer, card))
