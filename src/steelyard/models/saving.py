"""Saving a model as a checkpoint folder, all or nothing.

transformers writes it, and reads it again unless the model has layers of integers: ``steelyard.json`` names those,
and :mod:`steelyard.models.checkpoint` puts them in place before it reads the weights.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steelyard.contracts import ModelCard
from steelyard.errors import ModelError
from steelyard.models.grouped_linear import GroupedExperts
from steelyard.models.pooling import Pooling, write_pooling
from steelyard.models.quantized import grouped_layers, int8_names
from steelyard.models.quiet import quiet

RECORD = "steelyard.json"
FORMAT = 1


def save_checkpoint(
    folder: Path, module: Any, tokenizer: Any, card: ModelCard, pooling: Pooling | None = None
) -> Path:
    """Write a checkpoint folder, all or nothing; see :func:`write_folder` for what is replaced and refused."""
    return write_folder(folder, lambda new: write_checkpoint(new, module, tokenizer, card, pooling))


def write_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill ``folder`` beside its final place, then put it there in one step.

    An existing folder is replaced only if it is empty or holds a checkpoint of Steelyard's; anything else, an
    unwritable place and a full disk raise :class:`ModelError`, and what was there stays.
    """
    folder = Path(folder)
    _check_target(folder)
    new = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        write(new)
        _put(new, folder)
    except Exception as error:
        shutil.rmtree(new, ignore_errors=True)
        if isinstance(error, OSError) or "safetensor" in type(error).__name__.lower():
            raise ModelError(f"{folder}: cannot be written ({_reason(error)})") from error
        raise
    return folder


def write_checkpoint(
    folder: Path, module: Any, tokenizer: Any, card: ModelCard, pooling: Pooling | None = None
) -> None:
    """Write configuration, tensors, tokenizer and ``steelyard.json`` into an existing folder.

    With a ``pooling`` also the files of sentence-transformers that say how texts are embedded: without them a
    saved embedder would forget its limit, its prefixes and how it pools.
    """
    packed_experts = any(isinstance(child, GroupedExperts) for child in module.modules())
    with quiet():
        # older names of experts, one tensor for each, are for floats alone
        module.save_pretrained(folder, save_original_format=not packed_experts)
        tokenizer.save_pretrained(folder)
    if pooling is not None:
        write_pooling(folder, pooling, int(module.get_input_embeddings().embedding_dim))
    write_record(folder, card, int8_names(module), grouped_layers(module))


def write_record(
    folder: Path, card: ModelCard, int8: list[str], grouped: Mapping[str, Any], notes: Sequence[str] = ()
) -> None:
    """Write ``steelyard.json``: what is known of a model, which of its layers hold integers, and what to know."""
    record = {
        "format": FORMAT,
        "name": card.name,
        "licence": card.licence,
        "source": card.source,
        "parts": [{"name": part.name, "settings": _plain(part.settings)} for part in card.parts],
        "int8": int8,
    }
    if grouped:
        record["grouped"] = dict(grouped)
    if notes:
        record["notes"] = list(notes)
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _check_target(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder}: is a file; name a folder to save the model in")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise ModelError(f"{folder}: holds other files; name a new or empty folder to save the model in")


def _put(new: Path, folder: Path) -> None:
    old = folder.parent / f".{folder.name}.{os.getpid()}.replaced"
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC or "No space left" in str(error):
        return "the disk is full; free some space or save elsewhere"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission to write there; choose another folder"
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str))
    return plain
