"""Static word vectors: from a file in word2vec's text form, or a model's own input embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steelyard.contracts import LanguageModel, OpenWeights
from steelyard.errors import InputError

Vector = NDArray[np.float64]


class WordVectors(Protocol):
    """Phrases to vectors."""

    @property
    def source(self) -> str:
        """Where they come from, for reports."""

    def vector(self, phrase: str) -> Vector:
        """The mean of its words' vectors, of shape (d,); zeros where none is known."""


@dataclass(frozen=True)
class FileVectors:
    """Vectors of words, lower-cased where only that is known."""

    source: str
    words: Mapping[str, Vector]
    width: int

    def vector(self, phrase: str) -> Vector:
        """The mean over the known words of a phrase."""
        pieces = phrase.replace("_", " ").split()
        found = [self.words.get(word, self.words.get(word.lower())) for word in pieces]
        known = [vector for vector in found if vector is not None]
        return np.mean(known, axis=0) if known else np.zeros(self.width)


@dataclass(frozen=True)
class EmbeddingVectors:
    """The rows of a model's input embedding matrix, averaged over a phrase's tokens."""

    source: str
    model: OpenWeights

    def vector(self, phrase: str) -> Vector:
        """The mean over the tokens of the phrase as it stands after a space."""
        import torch

        ids = self.model.tokenizer(f" {phrase}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            rows = self.model.module.get_input_embeddings()(torch.tensor(ids))  # type: ignore[operator]
        mean: Vector = rows.float().mean(dim=0).numpy().astype(np.float64)
        return mean


def read_vectors(file: str | Path, words: Sequence[str]) -> FileVectors:
    """The vectors of ``words`` (any case) from a text file of lines ``word x1 x2 ...``.

    A first line ``count width``, as word2vec and fastText write it, is passed over.

    Raises:
        InputError: A line of another width, or no such file.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: no such file; give word vectors in word2vec's text form")
    wanted = {form for word in words for form in (word, word.lower())}
    found: dict[str, Vector] = {}
    width = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            word, *values = line.rstrip().split(" ")
            if number == 1 and len(values) == 1:
                continue
            width = width or len(values)
            if len(values) != width:
                raise InputError(f"{path}:{number}: {len(values)} numbers where other lines have {width}")
            if word in wanted:
                try:
                    found[word] = np.array([float(value) for value in values])
                except ValueError:
                    raise InputError(f"{path}:{number}: a vector needs numbers") from None
    return FileVectors(path.name, found, width)


def vectors_of(model: LanguageModel, file: str | None, phrases: Sequence[str]) -> WordVectors | None:
    """Vectors from ``file``, or the model's own; None where it has no weights to look into."""
    if file is not None:
        return read_vectors(file, [word for phrase in phrases for word in phrase.replace("_", " ").split()])
    if isinstance(model, OpenWeights) and "weights" in model.card.capabilities:
        return EmbeddingVectors("the model's input embeddings", model)
    return None


def cosine(first: Vector, second: Vector) -> float:
    """The cosine of the angle between two vectors; 0 where one of them is zero."""
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / size if size > 0 else 0.0
