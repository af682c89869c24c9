"""Tensors with a row for each token, when models have different tokenizers, and heads tied to the embedding.

The merged model has one tokenizer. Its tokens are looked up by their strings in each model's own vocabulary, and
each model's rows are put into that order. A token that a model lacks gets a row all the same, so that every method
sees tensors of one shape:

- the base model's row, where there is a base and it has the token;
- else the mean of the rows of the models that have it (with one such model, its row);
- zeros, where no model has it.

Rows beyond a model's tokenizer (padding) are dropped.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.errors import CapabilityError, ModelError, UsageError
from steelyard.merging.sources import Source, TensorInfo

if TYPE_CHECKING:
    import torch

CHOICES = ("base", "first", "union")


class Heads(NamedTuple):
    """Sources after their heads were made alike; ``untied`` where a model's embedding stands in for its head."""

    sources: list[Source]
    untied: bool


@dataclass(frozen=True)
class Vocabulary:
    """The merged model's tokens.

    ``rows`` has, for each source, int64 (tokens): the row of each token in that source's matrices, or -1. It is
    None where all vocabularies are equal and rows stay where they are. ``template`` is the source whose tokenizer,
    and so whose configuration, the result takes.
    """

    tokenizer: Any
    template: int
    rows: tuple[torch.Tensor, ...] | None = None
    notes: tuple[str, ...] = ()


def vocabulary_tensors(source: Source) -> tuple[str, ...]:
    """Names of the tensors with a row for each token: the embedding, the head where it has its own, and its bias.

    Raises:
        CapabilityError: an architecture of which it is not known where these are.
    """
    embedding, head = _names(source)
    if embedding not in source.tensors:
        raise CapabilityError(
            f"{source.name}: where {source.architecture} keeps its token embedding is not known, so that "
            "tokenizers cannot be matched; merge models of one tokenizer"
        )
    bias = head.removesuffix("weight") + "bias" if head else ""
    return tuple(name for name in (embedding, head, bias) if name in source.tensors)


def _names(source: Source) -> tuple[str, str]:
    """The names of the embedding and of the head; empty where they are not known."""
    from steelyard.models.family_data import FAMILIES

    family = FAMILIES.get(str(source.config.get("model_type")), {})
    found = []
    for path in (family.get("embeddings_path"), family.get("head_path")):
        paths = [path] if isinstance(path, str) else list(path or ())
        names = [f"{one}.weight" for one in paths]
        found.append(next((name for name in names if name in source.tensors), names[0] if names else ""))
    return found[0], found[1]


def match_heads(sources: Sequence[Source]) -> Heads:
    """Give all sources a head of their own, or none of them.

    A head that is tied to the embedding is not merged apart. Where some models tie it and others do not, the
    embedding stands in for the missing head and the merged model's head is its own.
    """
    heads = [_names(source)[1] for source in sources]
    own = [
        head in source.tensors and not source.config.get("tie_word_embeddings")
        for source, head in zip(sources, heads, strict=True)
    ]
    if not any(own):
        return Heads([_without(source, head) for source, head in zip(sources, heads, strict=True)], False)
    matched = [source if mine else _aliased(source) for source, mine in zip(sources, own, strict=True)]
    return Heads(matched, not all(own))


def _without(source: Source, head: str) -> Source:
    tensors = {name: info for name, info in source.tensors.items() if name != head}
    return dataclasses.replace(source, tensors=tensors)


def _aliased(source: Source) -> Source:
    embedding, head = _names(source)
    if embedding not in source.tensors or not head:
        return source
    tensors = {**source.tensors, head: source.tensors[embedding]}
    return dataclasses.replace(
        source, tensors=tensors, read=lambda name: source.read(embedding if name == head else name)
    )


# ------------------------------------------------------------------------------------------- tokenizers


def plan_vocabulary(sources: Sequence[Source], base: int | None, choice: str | None) -> Vocabulary:
    """Choose the tokenizer, and find the rows of its tokens in each source.

    Args:
        sources: the models.
        base: which of them is the base, if any.
        choice: whose tokens the merged model has: the ``base``'s, the ``first`` model's that is not the base, or
            the ``union`` of all, which adds to the base's (or first model's) tokens those of the others behind
            them. Like mergekit's union it adds them as whole strings: texts are still split by the rules of the
            tokenizer it started from. None: the first model's, and vocabularies must be equal.

    Raises:
        UsageError: ``base`` without a base.
        ModelError: without a choice, vocabularies that differ.
    """
    first = next(number for number in range(len(sources)) if number != base)
    tokenizers = [source.tokenizer() for source in sources]
    vocabularies = [dict(tokenizer.get_vocab()) for tokenizer in tokenizers]
    if choice is None:
        notes = [
            _check_equal(sources, vocabularies, tokenizers, first, number)
            for number in range(len(sources))
            if number != first
        ]
        return Vocabulary(tokenizers[first], first, notes=tuple(note for note in notes if note))
    if choice == "base" and base is None:
        raise UsageError("--tokenizer base: no base model was given; give --base, or choose first or union")
    template = first if choice == "first" or base is None else base
    tokenizer = tokenizers[template]
    if choice == "union":
        order = [template, *(number for number in range(len(sources)) if number != template)]
        tokenizer = union([tokenizers[number] for number in order])
    rows = tuple(
        token_rows(tokenizer.get_vocab(), own, source.tensors[_names(source)[0]])
        for own, source in zip(vocabularies, sources, strict=True)
    )
    return Vocabulary(tokenizer, template, rows)


def _check_equal(
    sources: Sequence[Source],
    vocabularies: Sequence[Mapping[str, int]],
    tokenizers: Sequence[Any],
    first: int,
    other: int,
) -> str:
    mine, theirs = vocabularies[first], vocabularies[other]
    if mine != theirs:
        differing = sorted(token for token in {*mine, *theirs} if mine.get(token) != theirs.get(token))
        raise ModelError(
            f"{sources[other].name} and {sources[first].name} have different tokenizers ({len(theirs)} and "
            f"{len(mine)} tokens; {differing[0]!r} differs, {len(differing)} in all); map their rows by token: "
            "--tokenizer union, base or first"
        )
    if _rules(tokenizers[first]) != _rules(tokenizers[other]):
        return f"the tokenizers of {sources[other].name} and {sources[first].name} split texts by other rules"
    return ""


def _rules(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    stated = json.loads(backend.to_str())
    return [stated.get("normalizer"), stated.get("pre_tokenizer"), stated["model"].get("merges")]


def union(tokenizers: Sequence[Any]) -> Any:
    """The first tokenizer with the tokens of the others added behind its own: ordinary ones, then added ones."""
    result = copy.deepcopy(tokenizers[0])
    known = set(result.get_vocab())
    added: dict[str, Any] = {}
    ordinary: list[str] = []
    for tokenizer in tokenizers[1:]:
        declared = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
        for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]):
            if token not in known:
                known.add(token)
                if token in declared:
                    added[token] = declared[token]
                else:
                    ordinary.append(token)
    result.add_tokens([*ordinary, *added.values()])
    return result


def token_rows(vocabulary: Mapping[str, int], own: Mapping[str, int], embedding: TensorInfo) -> torch.Tensor:
    """For each token id of ``vocabulary`` the row of the same token in a model's own embedding, or -1."""
    import torch

    rows = torch.full((max(vocabulary.values()) + 1,), -1, dtype=torch.int64)
    for token, number in vocabulary.items():
        row = own.get(token, -1)
        if row < embedding.shape[0]:
            rows[number] = row
    return rows


def map_rows(
    matrices: Sequence[torch.Tensor], rows: Sequence[torch.Tensor], base: int | None
) -> list[torch.Tensor]:
    """Each model's matrix (own tokens, ...) as (tokens, ...), missing rows filled in as the module says.

    >>> import torch
    >>> one, two = torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])
    >>> [m.flatten().tolist() for m in map_rows([one, two], [torch.tensor([0, 1]), torch.tensor([0, -1])], None)]
    [[1.0, 2.0], [6.0, 2.0]]
    """
    import torch

    shape = (-1, *[1] * (matrices[0].dim() - 1))
    has = [(own >= 0).reshape(shape) for own in rows]
    found = [
        torch.where(mask, matrix[own.clamp(min=0)], 0.0)
        for matrix, own, mask in zip(matrices, rows, has, strict=True)
    ]
    total, number = found[0].clone(), has[0].to(found[0].dtype)
    for matrix, mask in zip(found[1:], has[1:], strict=True):
        total += matrix
        number = number + mask
    missing = total / number.clamp(min=1)
    if base is not None:
        missing = torch.where(has[base], found[base], missing)
    return [torch.where(mask, matrix, missing) for mask, matrix in zip(has, found, strict=True)]
