"""How an embedding model makes one vector of a text: read from, and written to, a sentence-transformers folder.

pooling = read_pooling(Path("my-embedder"))     # None where the folder states nothing
pooling.prefix("query")                         # "query: ", or whatever the checkpoint wants before a query
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.contracts import TextRole
from steelyard.errors import ModelError
from steelyard.models.checkpoint_files import check_safetensors, read_json

if TYPE_CHECKING:
    import torch

MODES = ("mean", "cls", "max", "last", "eos")
"""``last`` is the state of the last token; ``eos`` appends an end-of-sequence token first and takes its state."""

MODULES = "modules.json"
LIMITS = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"
_FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
_ROLE_NAMES: Mapping[TextRole, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A linear layer behind the pooling: ``weight`` (out, in), ``bias`` (out,) or None, then an activation of
    torch.nn by name.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: str = "Identity"

    def apply(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors (n, in) to vectors (n, out)."""
        import torch

        weight = self.weight.to(vectors.device)
        bias = None if self.bias is None else self.bias.to(vectors.device)
        found: torch.Tensor = getattr(torch.nn, self.activation)()(
            torch.nn.functional.linear(vectors, weight, bias)
        )
        return found


@dataclass(frozen=True, slots=True)
class Pooling:
    """How token states become one vector.

    Attributes:
        mode: one of :data:`MODES`.
        normalise: whether the checkpoint says that vectors have unit length (Steelyard's always do).
        max_length: most tokens read of a text, special ones and the prefix included; None: as the model takes.
        prompts: what is put before a text, by name; ``query`` and ``document`` (or ``passage``, ``corpus``) are
            those of the two roles.
        default_prompt: the name of the prompt of a role that has none of its own.
        include_prompt: whether the states of the prefix are pooled too.
        lower_case: whether texts are put in lower case first.
        dense: linear layers behind the pooling, in order.
    """

    mode: str
    normalise: bool = True
    max_length: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    include_prompt: bool = True
    lower_case: bool = False
    dense: tuple[Dense, ...] = ()

    def prefix(self, role: TextRole) -> str:
        """What is put before a text of a role.

        >>> Pooling("mean", prompts={"query": "query: ", "passage": "passage: "}).prefix("document")
        'passage: '
        """
        names = [name for name in (*_ROLE_NAMES[role], self.default_prompt) if name in self.prompts]
        return self.prompts[names[0]] if names and names[0] is not None else ""


def read_pooling(folder: Path) -> Pooling | None:
    """How a sentence-transformers folder pools, or None where it is not one.

    Raises:
        ModelError: a module, an order of modules, an activation or a pooling mode that Steelyard does not know,
            or a damaged file.
    """
    if not (folder / MODULES).exists():
        return None
    modules = _modules(folder)
    settings = read_json(folder / dict(modules).get("Pooling", "1_Pooling") / "config.json")
    prompts = read_json(folder / PROMPTS) if (folder / PROMPTS).exists() else {}
    limits = read_json(folder / LIMITS) if (folder / LIMITS).exists() else {}
    longest = limits.get("max_seq_length")
    named = prompts.get("prompts") or {}
    if not isinstance(named, dict) or not all(isinstance(text, str) for text in named.values()):
        raise ModelError(f"{folder / PROMPTS}: `prompts` must give a text for each name; mend the file")
    default = prompts.get("default_prompt_name")
    if default is not None and default not in named:
        raise ModelError(f"{folder / PROMPTS}: default_prompt_name {default!r} is not among its prompts")
    return Pooling(
        mode=_mode(folder, settings),
        normalise=any(kind == "Normalize" for kind, _ in modules),
        max_length=longest if isinstance(longest, int) else None,
        prompts={str(name): text for name, text in named.items()},
        default_prompt=default,
        include_prompt=bool(settings.get("include_prompt", True)),
        lower_case=bool(limits.get("do_lower_case", False)),
        dense=tuple(_read_dense(folder / path) for kind, path in modules if kind == "Dense"),
    )


def write_pooling(folder: Path, pooling: Pooling, width: int) -> None:
    """Write the files that :func:`read_pooling` reads back, as sentence-transformers writes them.

    ``width`` is that of the token states. The mode ``eos``, which sentence-transformers does not have, is written
    under that name, so that it is refused there rather than read as something else.
    """
    kinds = ["Transformer", "Pooling", *("Dense" for _ in pooling.dense)]
    kinds += ["Normalize"] if pooling.normalise else []
    modules = []
    for number, kind in enumerate(kinds):
        path = f"{number}_{kind}" if number else ""
        modules.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        )
        (folder / path).mkdir(exist_ok=True)
    mode = "lasttoken" if pooling.mode == "last" else pooling.mode
    settings = {"word_embedding_dimension": width, "pooling_mode": mode, "include_prompt": pooling.include_prompt}
    _write(folder / "1_Pooling" / "config.json", settings)
    for number, dense in enumerate(pooling.dense, start=2):
        _write_dense(folder / f"{number}_Dense", dense)
    limits = {"max_seq_length": pooling.max_length, "do_lower_case": pooling.lower_case}
    _write(folder / LIMITS, limits)
    if pooling.prompts:
        _write(
            folder / PROMPTS,
            {"prompts": dict(pooling.prompts), "default_prompt_name": pooling.default_prompt},
        )
    _write(folder / MODULES, modules)


def pooling_record(pooling: Pooling) -> dict[str, Any]:
    """What bears on the vectors, JSON-ready, without the weights of dense layers."""
    return {
        "mode": pooling.mode,
        "max_length": pooling.max_length,
        "prompts": dict(pooling.prompts),
        "default_prompt": pooling.default_prompt,
        "include_prompt": pooling.include_prompt,
        "lower_case": pooling.lower_case,
    }


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Kind and folder of each module, in order."""
    place = folder / MODULES
    try:
        listed = json.loads(place.read_text(encoding="utf-8"))
        found = [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{place}: not a list of sentence-transformers modules; restore the file") from error
    kinds = [kind for kind, _ in found]
    unknown = set(kinds) - {"Transformer", "Pooling", "Dense", "Normalize"}
    if unknown:
        raise ModelError(
            f"{place}: module {min(unknown)!r} is not supported, only Transformer, Pooling, Dense, Normalize"
        )
    if any(Path(path).name != path for _, path in found if path):
        raise ModelError(f"{place}: names a module outside its folder; do not trust this checkpoint")
    if kinds != sorted(kinds, key=["Transformer", "Pooling", "Dense", "Normalize"].index):
        raise ModelError(f"{place}: the order {', '.join(kinds)} of its modules is not supported")
    return found


def _mode(folder: Path, settings: Mapping[str, Any]) -> str:
    modes: Sequence[str] = [
        _FLAGS.get(key, key) for key, on in settings.items() if key.startswith("pooling_mode_") and on
    ]
    if settings.get("pooling_mode"):  # newer versions write one name instead of a flag per mode
        modes = [str(settings["pooling_mode"]).replace("lasttoken", "last")]
    if len(modes) != 1 or modes[0] not in MODES:
        raise ModelError(
            f"{folder}: pooling {' + '.join(modes) or '?'} is not supported; only mean, cls, max, last or eos"
        )
    return modes[0]


def _read_dense(folder: Path) -> Dense:
    from safetensors.torch import load_file

    place = folder / "config.json"
    settings = read_json(place)
    activation = str(settings.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise ModelError(f"{place}: activation {activation!r} is not supported, only {', '.join(_ACTIVATIONS)}")
    source = settings.get("module_input_name") or "sentence_embedding"
    target = settings.get("module_output_name") or source
    if settings.get("use_residual") or {source, target} != {"sentence_embedding"}:
        raise ModelError(
            f"{place}: only plain layers behind the pooling are supported, no residual, no token layer"
        )
    file = folder / "model.safetensors"
    if not file.exists():
        raise ModelError(
            f"{file}: missing; save the model again with safetensors (pickle files are not read here)"
        )
    check_safetensors(file)
    tensors = load_file(file)
    if "linear.weight" not in tensors or bool(settings.get("bias", True)) != ("linear.bias" in tensors):
        raise ModelError(f"{file}: does not hold the layer that {place.name} describes; fetch it again")
    bias = tensors.get("linear.bias")
    return Dense(tensors["linear.weight"].float(), None if bias is None else bias.float(), activation)


def _write_dense(folder: Path, dense: Dense) -> None:
    from safetensors.torch import save_file

    out, into = dense.weight.shape
    name = f"torch.nn.modules.{'linear' if dense.activation == 'Identity' else 'activation'}.{dense.activation}"
    settings = {
        "in_features": into,
        "out_features": out,
        "bias": dense.bias is not None,
        "activation_function": name,
    }
    _write(folder / "config.json", settings)
    tensors = {"linear.weight": dense.weight.contiguous()}
    if dense.bias is not None:
        tensors["linear.bias"] = dense.bias.contiguous()
    save_file(tensors, folder / "model.safetensors")


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
