"""The texts of a compression: which it is calibrated on and which it is measured on, and what is said of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from steelyard.compression.calibration import fingerprint_texts, read_calibration
from steelyard.compression.held_out import Split, hold_back
from steelyard.contracts import Texts
from steelyard.evaluation.benchmarks.quick.tasks import bank

Source: TypeAlias = str | Path | Texts
"""Texts, or the file or folder to read them from."""


@dataclass(frozen=True, slots=True)
class ChosenTexts:
    """Texts to calibrate on (if any) and to measure on.

    ``calibrated_on`` and ``source`` say where they come from.
    """

    calibration: Texts | None
    calibrated_on: str
    held_out: Texts
    source: str


def choose_texts(calibration: Source | None, held_out: Source | None, *, measured: bool = True) -> ChosenTexts:
    """Read what is given. Without held-out texts the last tenth of the calibration texts is kept from calibration.

    Where those are too short for that, or absent, the six texts of the quick suite are measured on. Where nothing
    is ``measured``, nothing is kept back.
    """
    texts = None if calibration is None else _read(calibration)
    named = _name(calibration, "texts that were handed over")
    if held_out is not None:
        other = _name(held_out, "other texts that were handed over")
        return ChosenTexts(texts, named, _read(held_out), other)
    kept = hold_back(texts or []) if measured else Split(texts or [], [])
    if kept.held_out:
        source = f"the last tenth of {named}, which was kept from calibration"
        return ChosenTexts(kept.calibration, f"all but the last tenth of {named}", kept.held_out, source)
    return ChosenTexts(texts, named, bank()["texts"], "the six texts of the quick suite")


def texts_record(source: str, texts: Texts) -> Mapping[str, Any]:
    """What a record says of texts."""
    return {
        "source": source,
        "fingerprint": fingerprint_texts(texts),
        "texts": len(texts),
        "characters": sum(map(len, texts)),
    }


def _read(source: Source) -> Texts:
    return read_calibration(source) if isinstance(source, str | Path) else source


def _name(source: Source | None, otherwise: str) -> str:
    return str(source) if isinstance(source, str | Path) else otherwise
