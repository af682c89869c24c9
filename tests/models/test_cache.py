"""The model cache: whole folders or none, built once, whoever is killed in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steelyard.errors import ModelError, UsageError
from steelyard.models.cache import (
    cache_root,
    cached_folder,
    materialise,
    read_record,
    workspace,
    write_record,
)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_root_follows_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == root
    monkeypatch.delenv("STEELYARD_CACHE")
    assert cache_root() == Path.home() / ".cache" / "steelyard"


def test_built_once_and_whole(root: Path) -> None:
    calls = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_text("1")
        assert not cached_folder("k").exists()

    assert materialise("k", build) == materialise("k", build) == root / "models" / "k"
    assert len(calls) == 1
    assert (root / "models" / "k" / "a").read_text() == "1"
    assert list((root / "partial").iterdir()) == []


def test_a_failing_builder_leaves_nothing(root: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        materialise("k", build)
    assert not cached_folder("k").exists()
    assert list((root / "partial").iterdir()) == []


def test_a_killed_builder_leaves_nothing_for_long(root: Path) -> None:
    script = (
        "import time; from steelyard.models.cache import materialise\n"
        "def build(f):\n (f / 'half').write_text('x'); print('in', flush=True); time.sleep(60)\n"
        "materialise('k', build)"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=dict(os.environ))
    assert child.stdout is not None
    assert child.stdout.readline() == b"in\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(list((root / "partial").iterdir())) == 1
    folder = materialise("k", lambda f: (f / "done").write_text("y") and None)
    assert [file.name for file in folder.iterdir()] == ["done"]
    assert list((root / "partial").iterdir()) == []


def _slow(log: str) -> None:
    def build(folder: Path) -> None:
        with open(log, "a") as file:
            file.write("built\n")
        time.sleep(0.3)
        (folder / "a").write_text("1")

    assert (materialise("shared", build) / "a").exists()


def test_processes_build_one_key_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_slow, args=(str(tmp_path / "log"),)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    assert [child.exitcode for child in children] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"


def test_workspace_is_gone_afterwards(root: Path) -> None:
    (root / "partial").mkdir(parents=True)
    (root / "partial" / "w@leftover").mkdir()
    with workspace("w") as folder:
        (folder / "x").write_text("1")
        assert [p.name for p in (root / "partial").iterdir()] == [folder.name]
    assert list((root / "partial").iterdir()) == []


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "a b", "x" * 300])
def test_keys_are_plain_names(key: str) -> None:
    with pytest.raises(UsageError, match="not a plain file name"):
        materialise(key, lambda folder: None)


def test_unwritable_cache_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="set STEELYARD_CACHE to a folder that can be written"):
        materialise("k", lambda folder: None)
    write_record("r", 1)  # remembering is a convenience: it never fails
    assert read_record("r") is None


def test_records(root: Path) -> None:
    assert read_record("r") is None
    write_record("r", {"a": [1]})
    assert read_record("r") == {"a": [1]}
    (root / "records" / "r.json").write_text("{half")
    assert read_record("r") is None
