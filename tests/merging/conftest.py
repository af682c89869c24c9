"""Tiny models of one architecture to merge, and mergekit as an oracle."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import tiny_llama


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three random checkpoints that differ in their weights alone; tests must not change them."""
    root = tmp_path_factory.mktemp("to-merge")
    return [str(tiny_llama(root / f"m{seed}", layers=2, seed=seed)) for seed in range(3)]


@pytest.fixture(scope="session")
def stacks() -> list[torch.Tensor]:
    """Tensors of four models, the first one the base."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(12, 40, generator=generator) for _ in range(4)]


@pytest.fixture
def mergekit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package mergekit. Its import of peft takes ten seconds and serves adapters only, so it is left out."""
    pytest.importorskip("mergekit")
    if "peft" not in sys.modules:
        stand_in = types.ModuleType("peft")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("peft", None)
        monkeypatch.setitem(sys.modules, "peft", stand_in)
    import mergekit.merge
    import mergekit.merge_methods
    import mergekit.options

    return mergekit
