"""LoRA adapters as peft writes them: read, and folded into a model's weights.

A layer's weight becomes W + scaling * B A, with A (rank, in) and B (out, rank) of the adapter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import ModelError
from steelyard.models.checkpoint_files import check_safetensors, read_json

if TYPE_CHECKING:
    import torch

    from steelyard.merging.evolution import Genes

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
_ENDS = (".lora_A.weight", ".lora_B.weight")
_PLAIN: Mapping[str, Any] = {
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "fan_in_fan_out": False,
    "layer_replication": None,
}
"""Options of peft's LoRA that change what its tensors mean; adapters with another value are refused."""


@dataclass(frozen=True)
class Adapter:
    """The tensors of a LoRA adapter, float32, by peft's names, and the factor on B A."""

    name: str
    fingerprint: str
    genes: Genes
    scaling: float


def is_adapter(name: object) -> bool:
    """Whether a model's name is that of an adapter's folder."""
    return isinstance(name, str | Path) and (Path(name) / CONFIG).is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read a LoRA adapter from its folder.

    Raises:
        ModelError: files missing or damaged, another kind of adapter, or options that change the formula (DoRA,
            biases, ranks by pattern).
    """
    from safetensors.torch import load_file

    config = read_json(folder / CONFIG, "an adapter needs its configuration")
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder / CONFIG}: peft_type is {config.get('peft_type')!r}; only LORA is supported")
    for option, plain in _PLAIN.items():
        if config.get(option) not in (plain, None, False):
            raise ModelError(f"{folder / CONFIG}: {option} is {config[option]!r}, which is not supported")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ModelError(f"{folder / CONFIG}: r and lora_alpha must be numbers; restore the file")
    file = folder / WEIGHTS
    if not file.is_file():
        raise ModelError(f"{file}: missing; adapters are read from safetensors only")
    check_safetensors(file)
    genes = {name: tensor.float() for name, tensor in load_file(str(file)).items()}
    for name in genes:
        if not name.startswith(PREFIX) or not name.endswith(_ENDS):
            raise ModelError(f"{file}: {name!r} is no A or B of a linear layer, which is not supported")
    scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    digest = hashlib.sha256(f"{scaling}\n{gene_hash(genes)}".encode()).hexdigest()[:32]
    return Adapter(folder.resolve().name, digest, genes, scaling)


def weight_changes(genes: Genes, scaling: float) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight, by the weight's name: scaling * B A."""
    changes = {}
    for name, low in genes.items():
        if name.endswith(_ENDS[0]):
            path = name.removeprefix(PREFIX).removesuffix(_ENDS[0])
            high = genes.get(f"{PREFIX}{path}{_ENDS[1]}")
            if high is None or high.shape[1:] != low.shape[:1]:
                raise ModelError(f"adapter: {name!r} has no B that fits")
            changes[f"{path}.weight"] = scaling * (high @ low)
    return changes


def gene_hash(genes: Genes) -> str:
    """Content hash of named tensors, 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(genes):
        digest.update(name.encode() + genes[name].float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
