"""N-gram models as files: one ``.npz`` that is read back exactly."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import AppliedPart
from steelyard.errors import InputError, UsageError
from steelyard.models.ngrams.counts import Counts
from steelyard.models.ngrams.smoothing import Pattern, Smoothed
from steelyard.models.ngrams.words import Vocabulary

if TYPE_CHECKING:
    from steelyard.models.ngrams.model import NgramModel

FORMAT = "steelyard-ngrams-1"


def save(model: NgramModel, file: Path) -> Path:
    """Write ``model`` to ``file``; nothing half written is ever seen under that name."""
    file = Path(file)
    if file.suffix != ".npz":
        raise UsageError(f"{file}: an n-gram model is saved as .npz; give such a name")
    smoothed, part = model.smoothed, model.part
    if not isinstance(smoothed, Smoothed):
        raise UsageError(f"{model.name}: has no counts to save; keep the ARPA file it was read from")
    record = {
        "format": FORMAT,
        "name": model.name,
        "part": {"name": part.name, "settings": dict(part.settings)} if part else None,
        "words": list(model.vocabulary.words),
        "order": smoothed.order,
        "skips": smoothed.skips,
    }
    arrays: dict[str, NDArray[np.generic]] = {
        "record": np.frombuffer(json.dumps(record).encode(), dtype=np.uint8).copy()
    }
    for number, table in smoothed.patterns.items():
        arrays[f"keys-{number}"], arrays[f"counts-{number}"] = table.counts
        arrays[f"discounts-{number}"] = np.array(table.discounts)
        arrays[f"totals-{number}"], arrays[f"gammas-{number}"] = table.totals, table.gammas
    part_file = file.with_name(file.name + ".part")
    with part_file.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    part_file.replace(file)
    return file


def load(file: Path) -> NgramModel:
    """Read what :func:`save` wrote; raises :class:`InputError` for anything else."""
    from steelyard.models.ngrams.model import NgramModel

    try:
        with np.load(file, allow_pickle=False) as arrays:
            record = json.loads(bytes(arrays["record"]))
            if record["format"] != FORMAT:
                raise ValueError(f"its format is {record['format']!r}, not {FORMAT!r}")
            words = Vocabulary(tuple(record["words"]))
            numbers = sorted(int(name.removeprefix("keys-")) for name in arrays if name.startswith("keys-"))
            tables = {n: _pattern(arrays, n) for n in numbers}
        part = record["part"]
        smoothed = Smoothed(tables, len(words), int(record["order"]), bool(record["skips"]))
        return NgramModel(words, smoothed, record["name"], AppliedPart(**part) if part else None, source=str(file))
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: not an n-gram model that can be read ({reason}); save it again") from error


def _pattern(arrays: np.lib.npyio.NpzFile, number: int) -> Pattern:
    keys, counts = arrays[f"keys-{number}"], arrays[f"counts-{number}"]
    if keys.shape != counts.shape or (np.diff(keys) <= 0).any():
        raise ValueError(f"the n-grams of pattern {number:b} are damaged")
    d1, d2, d3 = (float(d) for d in arrays[f"discounts-{number}"])
    return Pattern(Counts(keys, counts), (d1, d2, d3), arrays[f"totals-{number}"], arrays[f"gammas-{number}"])
