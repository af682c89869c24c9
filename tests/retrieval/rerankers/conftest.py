from __future__ import annotations

from typing import Any

import pytest

from steelyard.models.loading import load_model
from tiny import tiny_llama


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny random Llama whose context holds prompts of single-character tokens."""
    return load_model(str(tiny_llama(tmp_path_factory.mktemp("wide"), layers=2, max_position_embeddings=4096)))
