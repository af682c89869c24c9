"""GGUF files, converted once into plain checkpoint folders.

Reading a GGUF file through transformers takes half a minute each time, most of it spent unpacking blocks and
rebuilding the tokenizer. Here that happens once: the result, float32 safetensors with a ``tokenizer.json``, lies
in the model cache under the hash of the file's content and is mapped into memory in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steelyard.errors import ModelError, SteelyardError
from steelyard.models.cache import materialise
from steelyard.models.fingerprint import file_sha256
from steelyard.models.gguf_header import GgufHeader, read_header
from steelyard.models.gguf_tokenizer import mend_tokenizer
from steelyard.models.quiet import quiet, without_bars

CONVERSION = 1
"""Number of this conversion; raise it when its result changes, and cached folders are made anew."""


def convert_gguf(file: Path) -> Path:
    """The checkpoint folder of a GGUF file, converted into the model cache the first time.

    Raises:
        ModelError: the file is not GGUF, is truncated or damaged, or holds an architecture that transformers
            cannot read from GGUF.
    """
    file = Path(file)
    header = read_header(file)
    digest = file_sha256(file)
    about = {
        "name": header.text("general.name") or file.stem,
        "licence": header.text("general.license"),
        "source": file.name,
        "source_sha256": digest,
    }
    return materialise(f"gguf-{digest[:24]}-v{CONVERSION}", lambda folder: write_checkpoint(file, folder, about))


def write_checkpoint(file: Path, folder: Path, about: Mapping[str, Any]) -> None:
    """Convert ``file`` into ``folder``: config.json, model.safetensors, tokenizer and ``steelyard.json``.

    ``about`` gives name, licence, source and source_sha256. Weights are stored as float32, exactly as they
    unpack; norms and embeddings as llama.cpp stores them are put back into transformers' convention.
    """
    header = read_header(file)
    with _explained(file), quiet():
        model, tokenizer = _read(file)
        notes = mend_tokenizer(tokenizer, header.metadata)
        _set_generation(model, tokenizer, header)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    record = {"format": 1, **about, "parts": [], "int8": [], "notes": notes}
    (folder / "steelyard.json").write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def convert_tokenizer(file: Path) -> Path:
    """A folder with the tokenizer of a GGUF file alone, made in the model cache the first time.

    Raises:
        ModelError: as for :func:`convert_gguf`.
    """

    def build(folder: Path) -> None:
        with _explained(file), quiet():
            tokenizer = _read_tokenizer(file)
            notes = mend_tokenizer(tokenizer, read_header(file).metadata)
            tokenizer.save_pretrained(folder)
        (folder / "notes.json").write_text(json.dumps(notes, ensure_ascii=False) + "\n", encoding="utf-8")

    return materialise(f"gguf-{file_sha256(file)[:24]}-tokenizer-v{CONVERSION}", build)


def end_tokens(header: GgufHeader) -> list[int]:
    """The tokens that end an answer, as the file states them."""
    ends = [header.metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    return list(dict.fromkeys(end for end in ends if isinstance(end, int)))


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (SteelyardError, OSError, MemoryError):
        raise
    except Exception as error:  # transformers and gguf raise whatever the file provokes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{file}: cannot be converted ({reason})") from error


def _read_tokenizer(file: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)


def _read(file: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers import modeling_gguf_pytorch_utils as unpacking

    where = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = _read_tokenizer(file)
    encoder_decoder = read_header(file).architecture.startswith("t5")
    auto = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    with without_bars(unpacking):
        model, report = auto.from_pretrained(
            str(file.parent), dtype=torch.float32, output_loading_info=True, **where
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(f"{file}: {len(missing)} weights are missing, among them {missing[0]!r}")
    model.hf_quantizer = None  # it is plain float32 now, and is to be saved as such
    model.is_quantized = False
    model.config.__dict__.pop("quantization_config", None)
    return model.eval(), tokenizer


def _set_generation(model: Any, tokenizer: Any, header: GgufHeader) -> None:
    ends = end_tokens(header)
    settings = model.generation_config
    if ends:
        settings.eos_token_id = ends if len(ends) > 1 else ends[0]
    settings.bos_token_id = tokenizer.bos_token_id
    if tokenizer.pad_token_id is not None:
        settings.pad_token_id = tokenizer.pad_token_id
