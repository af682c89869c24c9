"""Checkpoint folders into modules: checked first, read from safetensors only, never running code they bring.

checkpoint = read_checkpoint(Path("my-model"))
checkpoint.module(**checkpoint.tokenizer("Hello", return_tensors="pt"))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.contracts import AppliedPart
from steelyard.errors import ModelError, SteelyardError, UsageError
from steelyard.models.checkpoint_files import CheckpointFiles, inspect_folder, licence_of
from steelyard.models.family_data import FAMILIES
from steelyard.models.pooling import Pooling, read_pooling
from steelyard.models.quiet import quiet

DTYPES = ("auto", "fastest", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint. ``parts`` are those applied before it was saved, ``pooling`` is set for
    sentence-transformers folders, ``notes`` say what a conversion could not carry over.
    """

    module: Any
    tokenizer: Any
    config: Any
    name: str
    licence: str | None = None
    source: str | None = None
    parts: tuple[AppliedPart, ...] = ()
    pooling: Pooling | None = None
    notes: tuple[str, ...] = ()


def read_checkpoint(
    folder: Path, *, allow_pickle: bool = False, dtype: Any = "auto", device: Any = None
) -> Checkpoint:
    """Load a checkpoint folder: causal language model, encoder or encoder-decoder.

    Args:
        folder: config.json, safetensors weights (whole or in shards) and tokenizer files; with a
            ``steelyard.json`` also int8 and packed layers and a history of parts.
        allow_pickle: read ``pytorch_model.bin`` where there is nothing else, with ``weights_only``.
        dtype: ``auto`` is float32 on the CPU and bfloat16 on CUDA; ``fastest`` times bfloat16 against float32
            on this CPU; or a torch dtype or its name.
        device: where to put the module; the CPU unless given.

    Raises:
        ModelError: the folder is incomplete or damaged, its architecture unknown to transformers or only
            implemented by code in the checkpoint, or weights are missing from the files.
    """
    folder = Path(folder)
    files = inspect_folder(folder, allow_pickle=allow_pickle)
    try:
        with quiet():
            config = _read_config(files)
            module = _read_module(files, config, torch_dtype(dtype, device))
            tokenizer = read_tokenizer(folder)
    except (SteelyardError, MemoryError):
        raise
    except Exception as error:  # transformers raises whatever a malformed checkpoint provokes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder}: cannot be loaded ({reason})") from error
    if device is not None:
        module = module.to(device)
    return Checkpoint(
        module=module.eval(),
        tokenizer=tokenizer,
        config=module.config,
        name=files.describe("name") or folder.resolve().name,
        licence=licence_of(folder),
        source=files.describe("source") or str(folder),
        parts=read_history(files),
        pooling=read_pooling(folder),
        notes=tuple(str(note) for note in files.record.get("notes") or ()),
    )


def torch_dtype(dtype: Any = "auto", device: Any = None) -> Any:
    """The torch dtype a name stands for on a device; see :func:`read_checkpoint`."""
    import torch

    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None or dtype == "auto":
        return torch.bfloat16 if str(device or "cpu").startswith("cuda") else torch.float32
    if dtype == "fastest":
        return torch.bfloat16 if bfloat16_pays(device) else torch.float32
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} is unknown; choose {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return getattr(torch, str(dtype))


def bfloat16_pays(device: Any = None, *, ratio: Callable[[Any, int], float] | None = None) -> bool:
    """Whether bfloat16 is faster than float32 here, for many tokens at once as well as for a single one.

    Processors without instructions for it read half the bytes, which may help a single token, and compute many
    tokens several times slower; so both are timed, and bfloat16 has to win both. ``ratio`` gives the time of
    bfloat16 over that of float32 for a device and a number of rows; by default it is measured.
    """
    measured = ratio or _bfloat16_ratio
    return all(measured(device, rows) < 1.0 for rows in (64, 1))


def _bfloat16_ratio(device: Any, rows: int, *, width: int = 1024, repeats: int = 5) -> float:
    """Time of a (rows, width) x (width, width) product in bfloat16 over float32: best runs, taken in turns."""
    import torch

    def seconds(weight: Any) -> float:
        start = time.perf_counter()
        (weight[:rows] @ weight.t())[0, 0].item()  # waits for a GPU
        return time.perf_counter() - start

    single = torch.ones(width, width, device=device)
    half = single.bfloat16()
    pairs = [(seconds(single), seconds(half)) for _ in range(repeats)][1:]
    return min(b for _, b in pairs) / min(a for a, _ in pairs)


# --------------------------------------------------------------------------------------- configuration


def _read_config(files: CheckpointFiles) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    model_type = files.config.get("model_type")
    place = files.folder / "config.json"
    if not isinstance(model_type, str):
        raise ModelError(f"{place}: names no model_type; restore the file")
    if model_type not in CONFIG_MAPPING:
        if files.config.get("auto_map"):
            raise ModelError(
                f"{place}: architecture {model_type!r} needs code that comes with the checkpoint, which Steelyard "
                "never runs; use a model whose architecture transformers has, or serve it and give its address"
            )
        raise ModelError(
            f"{place}: architecture {model_type!r} is unknown to this version of transformers; update it"
        )
    return AutoConfig.from_pretrained(str(files.folder), local_files_only=True, trust_remote_code=False)


def _model_class(config: Any) -> Any:
    """The class to read a checkpoint into: with its language model head where it has one."""
    import transformers

    names: Sequence[str] = getattr(config, "architectures", None) or ()
    named = getattr(transformers, names[0], None) if names else None
    if names and names[0].endswith("EncoderModel") and named is not None:
        return named
    if getattr(config, "is_encoder_decoder", False):
        return transformers.AutoModelForSeq2SeqLM
    kind = FAMILIES.get(config.model_type, {}).get("kind")
    headless = bool(names) and names[0].endswith("Model") and not names[0].endswith("LMHeadModel")
    if kind == "encoder" or headless:
        return transformers.AutoModel
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModel


# --------------------------------------------------------------------------------------------- weights


def _read_module(files: CheckpointFiles, config: Any, dtype: Any) -> Any:
    from steelyard.models.grouped_linear import run_by_expert

    chosen = _model_class(config)
    int8 = files.record.get("int8") or ()
    grouped = files.record.get("grouped") or {}
    if int8 or grouped:
        chosen = _with_integers(config, int8, grouped)
    module, report = chosen.from_pretrained(
        str(files.folder),
        config=config,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=not files.pickled,
        weights_only=True,
        output_loading_info=True,
    )
    if int8 or grouped:
        module.__class__ = chosen.__mro__[1]
        run_by_expert(module)
    _check_missing(files, module, report)
    return module


def _with_integers(config: Any, int8: Sequence[str], grouped: Mapping[str, Mapping[str, int]]) -> Any:
    """The model's class, with int8 and packed layers put in place before the weights are read."""
    import transformers

    from steelyard.models.quantized import empty_grouped, empty_linears

    architecture = (getattr(config, "architectures", None) or ("",))[0]
    original = getattr(transformers, architecture, None)
    if original is None:
        raise ModelError(f"config.json: architecture {architecture!r} is unknown to this version of transformers")

    def build(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        original.__init__(self, config, *args, **kwargs)
        empty_linears(self, int8)
        empty_grouped(self, grouped)

    return type(original.__name__, (original,), {"__init__": build, "__module__": original.__module__})


def _check_missing(files: CheckpointFiles, module: Any, report: Mapping[str, Any]) -> None:
    missing = sorted(report["missing_keys"])
    if getattr(module, "pooler", None) is not None and any(key.startswith("pooler.") for key in missing):
        module.pooler = None  # made up by transformers, and not used for embedding
        missing = [key for key in missing if not key.startswith("pooler.")]
    if missing:
        raise ModelError(
            f"{files.weights[0]}: {len(missing)} weights are missing, among them {missing[0]!r}; transformers "
            "would fill them with random numbers, so the model is refused"
        )
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    if mismatched:
        raise ModelError(f"{files.weights[0]}: {mismatched[0]!r} has another shape than config.json says")


# ---------------------------------------------------------------------------------- tokenizer and record


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder; ModelError where there is none or it cannot be read."""
    from transformers import AutoTokenizer

    known = (
        "tokenizer.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "spiece.model",
        "sentencepiece.bpe.model",
    )
    if not any((folder / name).is_file() for name in known):
        raise ModelError(f"{folder}: no tokenizer; put its tokenizer.json (or tokenizer.model) beside the weights")
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exception
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder}: its tokenizer cannot be read ({reason})") from error


def read_history(files: CheckpointFiles) -> tuple[AppliedPart, ...]:
    """The parts applied before a checkpoint was saved, as its steelyard.json has them."""
    entries = files.record.get("parts") or []
    try:
        return tuple(AppliedPart(str(entry["name"]), dict(entry.get("settings") or {})) for entry in entries)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{files.folder / 'steelyard.json'}: `parts` is not a list of name and settings"
        ) from error
