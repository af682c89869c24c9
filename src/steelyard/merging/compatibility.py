"""Whether models can be merged: one architecture, the same tensors, the same shapes.

A refusal names the first tensor that differs and both shapes. What differs in the configuration without changing
any shape is refused where it changes what the weights mean, and noted otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from steelyard.errors import ModelError
from steelyard.merging.sources import FLOATS, Source

MEANING = ("num_attention_heads", "num_key_value_heads", "n_head", "head_dim", "hidden_act", "activation_function")
"""Settings that change how weights of one shape are used: averages over them would be nonsense."""
INCIDENTAL = frozenset(
    {
        *("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path"),
        *("name_or_path", "use_cache", "vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"),
        *("unk_token_id", "tie_word_embeddings", "initializer_range"),
    }
)
"""Settings that say nothing about how the weights compute, or that the merge sets itself."""


def check_compatible(sources: Sequence[Source], vocabulary: Collection[str] = ()) -> list[str]:
    """Refuse sources that cannot be merged; returns notes on settings in which they differ.

    ``vocabulary`` names the tensors with a row for each token, whose rows are mapped and may differ in number.

    Raises:
        ModelError: another architecture, a tensor missing, another shape or another use of the same shapes.
    """
    first = sources[0]
    notes: list[str] = []
    for other in sources[1:]:
        if other.architecture != first.architecture:
            raise ModelError(
                f"{other.name} is a {other.architecture} and {first.name} a {first.architecture}; only models of "
                "one architecture can be merged"
            )
        _check_tensors(first, other, vocabulary)
        notes += _compare_settings(first, other)
    return list(dict.fromkeys(notes))


def _check_tensors(first: Source, other: Source, vocabulary: Collection[str]) -> None:
    for one, two in ((first, other), (other, first)):
        missing = [name for name in one.tensors if name not in two.tensors and name not in vocabulary]
        if missing:
            raise ModelError(
                f"{two.name} lacks the tensor {missing[0]!r} {list(one.tensors[missing[0]].shape)} of {one.name} "
                f"({len(missing)} in all); only models of one architecture and depth can be merged"
            )
    for name, info in first.tensors.items():
        theirs = other.tensors.get(name, info)
        start = 1 if name in vocabulary else 0
        if info.shape[start:] != theirs.shape[start:]:
            remedy = (
                "map the rows by token: --tokenizer union, base or first"
                if _rows_alone_differ(info.shape, theirs.shape, first, other)
                else "only models of one size can be merged"
            )
            raise ModelError(
                f"tensor {name!r} is {list(theirs.shape)} in {other.name} and {list(info.shape)} in {first.name}; "
                f"{remedy}"
            )
        if (info.dtype in FLOATS) != (theirs.dtype in FLOATS):
            raise ModelError(f"tensor {name!r} is {theirs.dtype} in {other.name} and {info.dtype} in {first.name}")


def _rows_alone_differ(one: tuple[int, ...], two: tuple[int, ...], first: Source, other: Source) -> bool:
    rows = (_vocabulary_size(first.config), _vocabulary_size(other.config))
    return one[1:] == two[1:] and (one[:1], two[:1]) == ((rows[0],), (rows[1],))


def _vocabulary_size(config: Mapping[str, Any]) -> Any:
    return config.get("vocab_size", (config.get("text_config") or {}).get("vocab_size"))


def _compare_settings(first: Source, other: Source) -> list[str]:
    notes = []
    for key in sorted({*first.config, *other.config} - INCIDENTAL):
        if key not in first.config or key not in other.config:
            continue  # written by another version of transformers, or left at its default
        mine, theirs = first.config[key], other.config[key]
        if mine == theirs:
            continue
        if key in MEANING:
            raise ModelError(
                f"{key} is {theirs!r} in {other.name} and {mine!r} in {first.name}: their weights have the same "
                "shapes and another meaning; they cannot be merged"
            )
        notes.append(f"{key} is {theirs!r} in {other.name} and {mine!r} in {first.name}")
    return notes
