"""The verb ``compress``: load, apply parts, measure, save."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steelyard.compression.apply import PartEntry, apply_parts
from steelyard.compression.calibration import read_calibration
from steelyard.compression.checks import Compression, compare_bits, sizes, text_windows, window_bits
from steelyard.contracts import LanguageModel, Texts
from steelyard.errors import UsageError


def compress(
    model: str | Path | LanguageModel,
    parts: Sequence[PartEntry],
    *,
    out: str | Path | None = None,
    calibration: str | Path | Texts | None = None,
    held_out: str | Path | Texts | None = None,
    windows: int = 24,
    cache: bool = True,
) -> Compression:
    """Compress a model, say what that changed, and save the result.

    Args:
        model: a loaded model, or anything ``load_model`` takes by name.
        parts: compression parts in order, such as ``[{"sleb": {"remove": 3}}, "int8"]``.
        out: a new or empty folder for the checkpoint; without it nothing is saved.
        calibration: texts, or where to read them, for the parts that need them.
        held_out: texts, or where to read them, to measure bits per byte on before and after. They should not be
            the calibration texts, on which a calibrated part looks better than it is.
        windows: how many windows of about 1000 characters to measure.
        cache: remember what slow parts found.

    Raises:
        UsageError: no parts, a folder that is already full, or a wrong setting.

    Example:
        >>> compress("smollm2-135m", ["int8"], out="small").memory_ratio  # doctest: +SKIP
    """
    if not parts:
        raise UsageError("compress needs at least one part, such as int8; `steelyard parts` lists them")
    target = Path(out) if out is not None else None
    if target is not None and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} already exists and is not an empty folder; name a new one")
    tested = text_windows(_texts(held_out), windows=windows) if held_out is not None else None
    texts = _texts(calibration) if calibration is not None else None
    before = _loaded(model)
    after = apply_parts(before, parts, texts, cache=cache)
    if target is not None:
        after.save(target)
    parameters, memory = sizes(before.card, after.card)
    record = Compression(before.card, after.card, parameters, memory, folder=str(target) if target else None)
    if tested is None:
        return record
    first, second, difference = compare_bits(window_bits(before, tested), window_bits(after, tested))
    return Compression(
        before.card, after.card, parameters, memory, first, second, difference, folder=record.folder
    )


def _loaded(model: str | Path | LanguageModel) -> LanguageModel:
    if not isinstance(model, str | Path):
        return model
    from steelyard.models.loading import load_model

    return load_model(str(model))


def _texts(source: str | Path | Texts) -> Texts:
    return read_calibration(source) if isinstance(source, str | Path) else source
