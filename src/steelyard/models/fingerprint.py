"""Content hashes: which weights, tokenizer and configuration, and which parts applied to them.

A fingerprint is what measured results are filed under, so it must not change when a folder is moved, renamed
or converted again by another version of transformers, and must change when anything that bears on a model's
answers does. Hashes of files are remembered in the model cache by path, size and modification time; nothing
is ever written into the user's folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steelyard.contracts import AppliedPart
from steelyard.errors import ModelError
from steelyard.models.cache import read_record, write_record

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf")
_TEXT_FILES = ("vocab.txt", "vocab.json", "merges.txt", "chat_template.jinja")
_JSON_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)
_TOKENIZER_SUFFIXES = (".model", ".tiktoken")
_INCIDENTAL = {"transformers_version", "_name_or_path", "name_or_path", "is_local", "local_files_only"}
"""Keys that record where or by what a file was written."""


def file_sha256(file: Path, *, remember: bool = True) -> str:
    """SHA-256 of a file's content, in hexadecimal, remembered by path, size and modification time."""
    path = file.resolve()
    try:
        status = path.stat()
        state = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        record = "sha256-" + hashlib.sha256(str(path).encode()).hexdigest()[:32]
        known = read_record(record) if remember else None
        if isinstance(known, dict) and {**known, "sha256": None} == {**state, "sha256": None}:
            return str(known["sha256"])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from error
    if remember:
        write_record(record, {**state, "sha256": digest})
    return digest


def fingerprint_folder(folder: Path, *, remember: bool = True) -> str:
    """Content hash of a checkpoint folder: 32 hexadecimal digits over weights, tokenizer and configuration.

    The first call reads the weights (about half a second per gigabyte); later ones take milliseconds.
    """
    entries: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix in (*WEIGHT_SUFFIXES, *_TOKENIZER_SUFFIXES) or file.name in (
            "tokenizer.json",
            *_TEXT_FILES,
        ):
            entries[file.name] = file_sha256(file, remember=remember)
    for name in _JSON_FILES:
        if (folder / name).is_file():
            entries[name] = _digest(_without(_read_json(folder / name), _INCIDENTAL))
    entries.update(_embedding_entries(folder, remember))
    own = folder / "steelyard.json"
    if own.is_file():
        record = _read_json(own)
        said = {key: record.get(key) or [] for key in ("parts", "int8")}
        if record.get("grouped"):
            said["grouped"] = record["grouped"]
        entries[own.name] = _digest(said)
    return _digest(entries)[:32]


def _embedding_entries(folder: Path, remember: bool) -> dict[str, str]:
    """Hashes of what else bears on an embedder's vectors: its prefixes, and layers behind its pooling."""
    entries: dict[str, str] = {}
    prompts = folder / "config_sentence_transformers.json"
    if prompts.is_file():
        said = _read_json(prompts)
        kept = {key: said[key] for key in ("prompts", "default_prompt_name") if said.get(key)}
        if any(kept.get("prompts", {}).values()):
            entries[prompts.name] = _digest(kept)
    for file in sorted(folder.glob("[0-9]*_Dense/*")):
        if file.suffix in WEIGHT_SUFFIXES:
            entries[f"{file.parent.name}/{file.name}"] = file_sha256(file, remember=remember)
        elif file.name == "config.json":
            entries[f"{file.parent.name}/{file.name}"] = _digest(_read_json(file))
    return entries


def fingerprint_of(base: str, parts: Sequence[AppliedPart | Mapping[str, Any]] = ()) -> str:
    """Fingerprint of a model with parts applied, in order: 32 hexadecimal digits; ``base`` itself if none.

    Example:
        >>> fingerprint_of("abc", [AppliedPart("int8")]) == fingerprint_of("abc", [AppliedPart("int8", {})])
        True
    """
    if not parts:
        return base
    history = [dataclasses.asdict(part) if isinstance(part, AppliedPart) else dict(part) for part in parts]
    return _digest([base, [[part["name"], part.get("settings") or {}] for part in history]])[:32]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _without(value: Any, keys: set[str]) -> Any:
    return {k: v for k, v in value.items() if k not in keys} if isinstance(value, dict) else value


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: not valid JSON ({error}); restore the file") from error
