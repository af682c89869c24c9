"""The winner of a tune as a system file that rebuilds it exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from steelyard.compression.apply import needs_texts
from steelyard.contracts import LanguageModel, PromptStyle, Task
from steelyard.errors import InputError
from steelyard.evaluation.evaluate import resolved_style
from steelyard.systems.system_file import PromptSection, SystemFile
from steelyard.tuning.candidates import Candidate

CALIBRATION_FILE = "calibration.jsonl"


def system_of(
    candidate: Candidate, model: LanguageModel, task: Task, folder: Path, calibration: str | None
) -> SystemFile:
    """A system file in ``folder``: settings as they really were, examples written out.

    ``model`` is the candidate's without its documents and its prompt style.

    A part that chooses by calibration texts is written with what it chose. One whose weights depend on them is
    written as it was asked for, together with ``calibration``, the texts' place as the file names it.
    """
    style = candidate.style
    full = PromptStyle(
        style=style.style,
        shots=style.shots,
        seed=style.seed,
        instruction=style.instruction,
        examples=resolved_style(task, style).examples if style.shots else (),
    )
    asked = candidate.variant.weights
    ran = model.card.parts[len(model.card.parts) - len(asked) :]
    weights = [
        {name: dict(settings if needs_texts(name) else part.settings)}
        for part, entry in zip(ran, asked, strict=True)
        for name, settings in entry.items()
    ]
    return SystemFile(
        model=candidate.variant.model,
        weights=weights,
        calibration=calibration if texts_needed(candidate) else None,
        prompt=PromptSection.from_style(full),
        ground=None if candidate.ground is None else candidate.ground.beside(folder),
    )


def texts_needed(candidate: Candidate) -> bool:
    """Whether the candidate's weights cannot be made again without calibration texts."""
    return any(needs_texts(name) for entry in candidate.variant.weights for name in entry)


def calibration_beside(folder: Path, given: Path | None, texts: Sequence[str]) -> str:
    """How a system file in ``folder`` names the calibration texts.

    Texts that were ``given`` are named where they lie; those of the task are written beside the file.
    """
    if given is not None:
        return os.path.relpath(given, folder)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    try:
        (folder / CALIBRATION_FILE).write_text(lines, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder / CALIBRATION_FILE}: cannot be written ({error.strerror})") from error
    return CALIBRATION_FILE
