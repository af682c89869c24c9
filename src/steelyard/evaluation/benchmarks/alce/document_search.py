"""The document of a question that is closest to a sentence: for citing afterwards and for searching on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from steelyard.contracts import Embedder
from steelyard.errors import CapabilityError
from steelyard.evaluation.benchmarks.alce.citations import MARK, Layout, entries, sentences
from steelyard.evaluation.benchmarks.alce.records import Source

Search: TypeAlias = Callable[[Sequence[str], Sequence[Source]], list[int]]
"""Sentences and documents to the number (from 0) of the closest document of each sentence."""

TFIDF = "tfidf"


def open_search(name: str) -> Search:
    """A search by name: ``tfidf``, or an embedder that can be loaded.

    Raises:
        CapabilityError: The model gives no vectors of texts.
    """
    if name == TFIDF:
        return by_words
    from steelyard.models.loading import load_model

    model = load_model(name)
    if not isinstance(model, Embedder):
        raise CapabilityError(f"alce: {name!r} gives no vectors to search documents by")
    return by_vectors(model)


def by_words(texts: Sequence[str], documents: Sequence[Source]) -> list[int]:
    """The document with the largest cosine of TF-IDF vectors over these documents; the first of equals."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")  # one-letter words too: a document may have no others
    found = vectors.fit_transform([f"{one.title} {one.text}" for one in documents])
    cosines = (vectors.transform(texts) @ found.T).toarray()
    return [int(row) for row in np.argmax(cosines, axis=1)]


def by_vectors(embedder: Embedder) -> Search:
    """The document whose vector has the largest inner product with the sentence's."""

    def search(texts: Sequence[str], documents: Sequence[Source]) -> list[int]:
        held = embedder.embed([f"{one.title}. {one.text}" for one in documents], role="document")
        asked = embedder.embed(list(texts), role="query")
        return [int(row) for row in np.argmax(asked @ held.T, axis=1)]

    return search


def cite_afterwards(
    answer: str, layout: Layout, question: str, documents: Sequence[Source], search: Search
) -> str:
    """The answer with a mark before each sentence or entry that has none: that of the closest document.

    Entries of a list are searched after their question.

    >>> sources = [Source("Ulm", "A tower in Ulm."), Source("Bonn", "A bridge in Bonn.")]
    >>> cite_afterwards("Bonn has a bridge. Ulm has a tower [1].", "prose", "", sources, by_words)
    '[2] Bonn has a bridge. Ulm has a tower [1].'
    """
    pieces = [piece for piece in (sentences(answer) if layout == "prose" else entries(answer)) if piece]
    bare = [piece for piece in pieces if not MARK.search(piece)]
    if not bare or not documents:
        return answer
    asked = [piece if layout == "prose" else f"{question} {piece}" for piece in bare]
    closest = dict(zip(bare, search(asked, documents), strict=True))
    marked = [f"[{closest[piece] + 1}] {piece}" if piece in closest else piece for piece in pieces]
    return (" " if layout == "prose" else ", ").join(marked)
