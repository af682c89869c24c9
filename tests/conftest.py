"""Fixtures shared by all tests: isolation from the user's folders, and the one real model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in an empty folder, so a default run store never lands in the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEELYARD_STORE", raising=False)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("public data sets not found: set STEELYARD_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """SmolLM2-135M-Instruct as a checkpoint folder in the model cache, pulled on first use."""
    from steelyard.errors import SteelyardError
    from steelyard.models.pull import pull

    try:
        return Path(pull("smollm2-135m"))
    except SteelyardError as error:
        pytest.skip(f"SmolLM2-135M-Instruct cannot be fetched here: {error}")


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> Iterator[Any]:
    """SmolLM2-135M-Instruct, loaded once per session; tests must not change it."""
    from steelyard.models.loading import load_model

    return load_model(str(smollm2_folder))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama checkpoint, built once per session; tests must not change it."""
    from tiny import tiny_llama

    return tiny_llama(tmp_path_factory.mktemp("tiny"))
