"""A tiny model whose blocks matter, as open weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import tiny_config, tiny_tokenizer

TEXTS = [
    "The keeper of the weigh house hung the steelyard from its hook every morning before the carts arrived.",
    "A merchant who doubted a weight could ask for the sliding poise to be moved again, slowly, in his sight.",
    "Wool was weighed dry, fish wet and salt whenever the toll collector happened to be awake.",
    "Nobody remembers who cut the notches of the beam, but they were never found to be wrong by a grain.",
]


def open_weights(module: Any, name: str = "tiny") -> Any:
    """Any causal language model of transformers behind the contract, with the tiny tokenizer."""
    from steelyard.contracts import ModelCard
    from steelyard.models.families import family_of
    from steelyard.models.weights import TransformersModel, size_of

    parameters, memory = size_of(module)
    card = ModelCard(
        name=name,
        fingerprint="0" * 32,
        parameters=parameters,
        memory_bytes=memory,
        context_length=64,
        capabilities=frozenset({"score", "generate", "logprobs", "weights"}),
    )
    return TransformersModel(module, tiny_tokenizer(), card, family_of(module))


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def as_open_weights() -> Callable[..., Any]:
    return open_weights


@pytest.fixture(scope="session")
def tiny() -> Any:
    """Six blocks with large random weights, so that removing one changes the loss visibly."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(3)
    return open_weights(LlamaForCausalLM(tiny_config(num_hidden_layers=6, initializer_range=0.15)).eval())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
