"""What other programs load gives the answers of the compressed model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from family_models import build
from steelyard.compression.export import FORMATS, export
from steelyard.compression.finequant import finequant
from steelyard.compression.int8 import int8
from steelyard.contracts import Continuation
from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.models.loading import load_model

IDS = torch.tensor([[5, 9, 200, 12, 40]])


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(IDS).logits.float()


def read(folder: Path) -> Any:
    """As anyone would load it, without Steelyard."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture
def library() -> None:
    pytest.importorskip("compressed_tensors")


@pytest.mark.parametrize("part", [finequant, int8])
def test_transformers_loads_a_plain_checkpoint(tiny: Any, part: Any, tmp_path: Path) -> None:
    model = part(tiny)
    folder = export(model, tmp_path / "plain", "transformers")
    assert torch.allclose(logits(read(folder)), logits(model.module), atol=1e-4)
    config = json.loads((folder / "config.json").read_text())
    assert not [key for key in config if "int8" in key or "quant" in key]
    again = load_model(str(folder))
    assert again.card.parts == model.card.parts
    asked = [Continuation("The quick", " brown fox")]
    assert again.score(asked)[0].logprob == pytest.approx(model.score(asked)[0].logprob, abs=1e-4)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "choices",
    [
        {"bits": 4, "group": 16},
        {"bits": 8, "group": 16, "head": False},
        {"bits": 4, "group": "column", "skip": ("down_proj",)},
        {"bits": 4, "alpha": 1.1, "minimum": 8},
    ],
)
def test_transformers_loads_compressed_tensors(tiny: Any, choices: dict[str, Any], tmp_path: Path) -> None:
    model = finequant(tiny, **choices)
    folder = export(model, tmp_path / "packed", "compressed-tensors")
    assert torch.allclose(logits(read(folder)), logits(model.module), atol=1e-3)
    plain = export(model, tmp_path / "plain", "transformers")
    assert (folder / "model.safetensors").stat().st_size < 0.6 * (plain / "model.safetensors").stat().st_size


@pytest.mark.usefixtures("library")
def test_int8_is_written_as_channels_of_eight_bits(tiny: Any, tmp_path: Path) -> None:
    model = int8(tiny, head=False)
    folder = export(model, tmp_path / "packed", "compressed-tensors")
    assert torch.allclose(logits(read(folder)), logits(model.module), atol=1e-3)
    said = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert said["config_groups"]["group_0"]["weights"]["strategy"] == "channel"
    assert said["ignore"] == ["lm_head"]


@pytest.mark.usefixtures("library")
def test_tied_embeddings_are_written_once(as_open_weights: Any, tmp_path: Path) -> None:
    module = build("llama", vocab_size=300, tie_word_embeddings=True)
    for head in (False, True):
        model = finequant(as_open_weights(module), group=16, head=head)
        folder = export(model, tmp_path / f"head-{head}", "compressed-tensors")
        assert torch.allclose(logits(read(folder)), logits(model.module), atol=1e-3)


def test_steelyards_own_format_is_the_default(tiny: Any, tmp_path: Path) -> None:
    model = finequant(tiny)
    assert load_model(str(export(model, tmp_path / "own"))).card.memory_bytes == model.card.memory_bytes


@pytest.mark.usefixtures("library")
def test_what_a_format_cannot_hold_is_refused(tiny: Any, as_open_weights: Any, tmp_path: Path) -> None:
    cases = [
        (tiny, "has no packed layers"),
        (finequant(as_open_weights(build("mixtral", vocab_size=300))), "packed experts cannot be written"),
        (finequant(as_open_weights(build("gpt2", vocab_size=300))), "packs Linear layers only"),
        (finequant(tiny, group=24), "groups that divide its 32 inputs"),
    ]
    for model, message in cases:
        with pytest.raises(CapabilityError, match=message):
            export(model, tmp_path / "none", "compressed-tensors")
    with pytest.raises(UsageError, match="'transformer' is unknown; did you mean 'transformers'"):
        export(tiny, tmp_path / "none", "transformer")
    assert not list(tmp_path.iterdir())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    for format in FORMATS:
        with pytest.raises(ModelError, match="holds other files"):
            export(finequant(tiny, group=16), tmp_path / "full", format)
