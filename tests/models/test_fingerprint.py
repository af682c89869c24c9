"""Fingerprints change with what a model answers by, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from steelyard.contracts import AppliedPart
from steelyard.errors import ModelError
from steelyard.models import fingerprint
from steelyard.models.fingerprint import file_sha256, fingerprint_folder, fingerprint_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text('{"model_type": "llama", "transformers_version": "5.0"}')
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "tokenizer.json").write_text("{}")
    (made / "steelyard.json").write_text('{"name": "a", "parts": [], "int8": []}')
    return made


def change_json(file: str, key: str, value: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, key: value}))

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "model.safetensors").write_bytes(b"WEIGHTS"),
        lambda f: (f / "tokenizer.json").write_text("{ }"),
        lambda f: (f / "chat_template.jinja").write_text("hello"),
        lambda f: (f / "generation_config.json").write_text('{"eos_token_id": 3}'),
        change_json("config.json", "rope_theta", 2.0),
        change_json("steelyard.json", "parts", [{"name": "sleb", "settings": {"remove": 1}}]),
        change_json("steelyard.json", "int8", ["lm_head"]),
    ],
)
def test_what_bears_on_answers_changes_it(folder: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint_folder(folder)
    change(folder)
    assert fingerprint_folder(folder) != before


@pytest.mark.parametrize(
    "change",
    [
        change_json("config.json", "transformers_version", "6.0"),
        change_json("steelyard.json", "name", "b"),
        lambda f: (f / "README.md").write_text("hello"),
        lambda f: (f / "config.json").write_text(
            json.dumps(json.loads((f / "config.json").read_text()), indent=4)
        ),
    ],
)
def test_what_does_not_bear_on_answers_leaves_it(folder: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint_folder(folder)
    change(folder)
    assert fingerprint_folder(folder) == before
    moved = shutil.copytree(folder, folder.with_name("elsewhere"))
    assert fingerprint_folder(moved) == before


def test_files_are_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, names = fingerprint_folder(folder), sorted(os.listdir(folder))
    reads: list[str] = []
    original = fingerprint.hashlib.file_digest
    monkeypatch.setattr(
        fingerprint.hashlib,
        "file_digest",
        lambda stream, kind: reads.append(stream.name) or original(stream, kind),
    )
    assert fingerprint_folder(folder) == before
    assert reads == []
    assert sorted(os.listdir(folder)) == names  # nothing is written beside the user's files
    (folder / "model.safetensors").write_bytes(b"changed weights")
    assert fingerprint_folder(folder) != before
    assert [Path(name).name for name in reads] == ["model.safetensors"]


def test_parts_count_in_order_with_their_settings() -> None:
    sleb, int8 = AppliedPart("sleb", {"remove": 3, "by": "loss"}), AppliedPart("int8")
    assert fingerprint_of("base") == "base"
    assert fingerprint_of("base", [sleb]) == fingerprint_of(
        "base", [{"name": "sleb", "settings": {"by": "loss", "remove": 3}}]
    )
    found = {
        fingerprint_of("base", parts)
        for parts in (
            [sleb],
            [int8],
            [sleb, int8],
            [int8, sleb],
            [AppliedPart("sleb", {"remove": 4, "by": "loss"})],
        )
    }
    assert len(found) == 5
    assert fingerprint_of("other", [sleb]) not in found


def test_unreadable_files(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.bin: cannot be read"):
        file_sha256(tmp_path / "missing.bin")
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: not valid JSON"):
        fingerprint_folder(folder)
