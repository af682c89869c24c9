"""Merging checkpoints one tensor at a time.

For each name the tensor of every model is read, computed with in float32 (float64 where one of them is) and
rounded once, to the number format of the result, which is written at once. So memory does not grow with the size
of the models but with their largest tensor, usually the embedding: three times its float32 form for each model,
and about five times besides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.contracts import AppliedPart, ModelCard, Progress
from steelyard.errors import ModelError, UsageError
from steelyard.merging.compatibility import check_compatible
from steelyard.merging.methods import Method
from steelyard.merging.shards import SHARD_BYTES, Written, write_tensors
from steelyard.merging.sources import FLOATS, Source, TensorInfo
from steelyard.merging.vocabularies import (
    CHOICES,
    Vocabulary,
    map_rows,
    match_heads,
    plan_vocabulary,
    vocabulary_tensors,
)

if TYPE_CHECKING:
    import torch

DTYPES: Mapping[str, str] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_NAMES = {"F64": "float64", **{code: name for name, code in DTYPES.items()}}


@dataclass(frozen=True)
class StreamedMerge:
    """A merge of which everything is decided and checked, before any tensor is read.

    ``sources`` are the models, and behind them the base where the method takes one; ``mapped`` names the tensors
    whose rows are put into the order of the vocabulary's tokens.
    """

    method: Method
    sources: tuple[Source, ...]
    base: int | None
    vocabulary: Vocabulary
    mapped: tuple[str, ...]
    untied: bool
    dtype: str | None
    choice: str | None
    notes: tuple[str, ...]

    @property
    def template(self) -> Source:
        """The model whose tokenizer and configuration the result takes."""
        return self.sources[self.vocabulary.template]

    @property
    def part(self) -> AppliedPart:
        """What the result's history says: the method, its settings, and what was merged."""
        models = [source.record for number, source in enumerate(self.sources) if number != self.base]
        made: dict[str, Any] = {**self.method.settings, "models": models}
        if self.base is not None:
            made["base"] = self.sources[self.base].record
        if self.choice is not None:
            made["tokenizer"] = self.choice
        if self.dtype is not None:
            made["dtype"] = self.dtype
        return AppliedPart(self.method.name, json.loads(json.dumps(made, default=str)))

    @cached_property
    def tensors(self) -> dict[str, TensorInfo]:
        """Shape and number format of every tensor of the result."""
        planned = {}
        for name, info in self.template.tensors.items():
            shape = info.shape
            if name in self.mapped and self.vocabulary.rows is not None:
                shape = (len(self.vocabulary.rows[0]), *shape[1:])
            chosen = DTYPES[self.dtype] if self.dtype is not None and info.dtype in FLOATS else info.dtype
            planned[name] = TensorInfo(shape, chosen)
        return planned

    def compute(self, name: str) -> torch.Tensor:
        """One merged tensor, in its final number format.

        Raises:
            ModelError: a value that is no finite number, or a counter or mask that differs between models.
        """
        import torch

        if self.tensors[name].dtype not in FLOATS:
            return self._copied(name)
        single = all(source.tensors[name].dtype != "F64" for source in self.sources)
        kind = torch.float32 if single else torch.float64
        tensors = [source.read(name).to(kind) for source in self.sources]
        for source, tensor in zip(self.sources, tensors, strict=True):
            if not bool(torch.isfinite(tensor).all()):
                raise ModelError(f"{source.name}: tensor {name!r} has values that are no numbers; it is damaged")
        if name in self.mapped and self.vocabulary.rows is not None:
            tensors = map_rows(tensors, self.vocabulary.rows, self.base)
        arguments: dict[str, Any] = {"tensors": tensors, "name": name}
        if self.base is not None:
            arguments["base"] = tensors.pop(self.base)
        given = {key: arguments[key] for key in self.method.inputs}
        merged: torch.Tensor = self.method.function(**given, **self.method.settings)
        merged = merged.to(getattr(torch, _NAMES[self.tensors[name].dtype]))
        if not bool(torch.isfinite(merged).all()):
            raise ModelError(f"tensor {name!r} overflows when merged; use smaller weights, or --dtype float32")
        return merged

    def _copied(self, name: str) -> torch.Tensor:
        first = self.template.read(name)
        for source in self.sources:
            if not bool((source.read(name) == first).all()):
                raise ModelError(
                    f"tensor {name!r} holds no weights ({self.tensors[name].dtype}) and differs between "
                    f"{source.name} and {self.template.name}; it cannot be averaged"
                )
        return first

    def write(self, folder: Path, progress: Progress | None = None, shard_bytes: int = SHARD_BYTES) -> Written:
        """Write the merged checkpoint into an existing folder."""
        bar = "merging"
        if progress is not None:
            progress.start(bar, len(self.tensors))
        done = write_tensors(
            folder,
            self.tensors,
            self.compute,
            shard_bytes=shard_bytes,
            advance=(lambda: progress.advance(bar)) if progress is not None else (lambda: None),
        )
        self._write_rest(folder)
        return done

    def _write_rest(self, folder: Path) -> None:
        from steelyard.models.pooling import write_pooling
        from steelyard.models.quiet import quiet
        from steelyard.models.saving import write_record

        _write_json(folder / "config.json", self._config())
        if self.template.generation is not None:
            _write_json(folder / "generation_config.json", self.template.generation)
        with quiet():
            self.vocabulary.tokenizer.save_pretrained(folder)
        if self.template.pooling is not None:
            write_pooling(folder, self.template.pooling, int(self.template.config["hidden_size"]))
        licences = {source.licence for source in self.sources}
        titles = [source.title for number, source in enumerate(self.sources) if number != self.base]
        card = ModelCard(
            name=f"{self.method.name}({', '.join(titles)})",
            fingerprint="",
            licence=licences.pop() if len(licences) == 1 else None,
            source=f"{self.method.name} of {', '.join(titles)}",
            parts=(self.part,),
        )
        write_record(folder, card, [], {}, self.notes)

    def _config(self) -> dict[str, Any]:
        config = {key: value for key, value in self.template.config.items() if key != "torch_dtype"}
        formats = [info.dtype for info in self.tensors.values() if info.dtype in FLOATS]
        config["dtype"] = _NAMES[max(set(formats), key=formats.count)]
        if self.untied:
            config["tie_word_embeddings"] = False
        if self.vocabulary.rows is not None:
            size = len(self.vocabulary.rows[0])
            inner = config.get("text_config")
            if isinstance(inner, dict) and "vocab_size" in inner:
                config["text_config"] = {**inner, "vocab_size": size}
            else:
                config["vocab_size"] = size
        return config


def plan_merge(
    method: Method,
    models: Sequence[Source],
    base: Source | None,
    *,
    tokenizer: str | None = None,
    dtype: str | None = None,
) -> StreamedMerge:
    """Check that sources can be merged by a method, and decide on tokenizer, head and number formats.

    Raises:
        UsageError: too few models, a base missing or superfluous, or settings that do not go together.
        ModelError: models that cannot be merged; see :func:`~steelyard.merging.compatibility.check_compatible`.
    """
    import torch

    if len(models) < 2 and base is None:
        raise UsageError("a merge needs at least two models")
    if "base" in method.inputs and base is None:
        raise UsageError(f"{method.name} merges what models have beyond a base: give it with --base")
    if "base" not in method.inputs and base is not None:
        raise UsageError(f"{method.name} takes no base; leave --base out, or list it among the models")
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} is unknown; choose {', '.join(DTYPES)}")
    if tokenizer is not None and tokenizer not in CHOICES:
        raise UsageError(f"tokenizer {tokenizer!r} is unknown; choose {', '.join(CHOICES)}")
    trial = torch.eye(2)
    inputs = {"tensors": [trial * number for number in range(2, 2 + len(models))], "base": trial, "name": ""}
    method.function(**{key: inputs[key] for key in method.inputs}, **method.settings)  # settings that do not fit
    place = len(models) if base is not None else None
    given = [*models, *([base] if base is not None else [])]
    sources, untied = match_heads(given)
    mapped = vocabulary_tensors(sources[0]) if tokenizer is not None else ()
    notes = check_compatible(sources, mapped)
    vocabulary = plan_vocabulary(sources, place, tokenizer)
    template = sources[vocabulary.template].name
    used = [f"{note}; that of {template} is used" for note in (*notes, *vocabulary.notes)]
    if len({source.licence for source in sources}) > 1:
        stated = ", ".join(f"{source.name}: {source.licence or 'not stated'}" for source in sources)
        used.append(f"licences differ ({stated}), so none is recorded for the result")
    return StreamedMerge(method, tuple(sources), place, vocabulary, mapped, untied, dtype, tokenizer, tuple(used))


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
