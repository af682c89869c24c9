"""Retrieval by meaning."""

from __future__ import annotations

from pathlib import Path

from steelyard.contracts import Embedder, Retriever
from steelyard.parts import part
from steelyard.retrieval.index.settings import SearchOptions
from steelyard.retrieval.opening import open_index


@part()
def dense(index: str | Path, embedder: Embedder | None = None) -> Retriever:
    """Retrieve by the inner product of unit vectors of query and passage.

    Small segments of the index are searched exactly; larger ones through an HNSW graph, whose candidates are
    scored anew from the stored vectors. A query costs one forward pass of the embedder.

    Args:
        index: an index that holds vectors: a folder, or a URL of PostgreSQL.
        embedder: the model that made them; by default the one that the index names.

    Raises:
        UsageError: The index holds no vectors, or another model's (when first searched).
        InputError: No index there, or a damaged one (when first searched).

    Source:
        Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks, section 1 (semantic search by cosine).

    Relations:
        ``lexical`` finds names, numbers and rare words that vectors blur; ``hybrid`` fuses both.

    Example:
        >>> retriever = dense("handbook.index")                                      # doctest: +SKIP
        >>> retriever.search(["how far may a candidate lag behind"], k=3)            # doctest: +SKIP
    """
    return open_index(index, embedder=embedder, options=SearchOptions("dense"))
