"""Retrieval by words and by meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import PositiveFloat, PositiveInt

from steelyard.contracts import Embedder, Retriever
from steelyard.parts import part
from steelyard.retrieval.index.settings import SearchOptions
from steelyard.retrieval.opening import open_index


@part()
def hybrid(
    index: str | Path,
    embedder: Embedder | None = None,
    *,
    fusion: Literal["rrf", "weighted"] = "rrf",
    depth: PositiveInt = 100,
    rank_constant: PositiveFloat = 60.0,
    dense_weight: Annotated[float, Interval(ge=0, le=1)] = 0.5,
) -> Retriever:
    """Fuse the best passages by words and by meaning.

    With ``rrf`` a passage scores the sum over both halves of 1 / (rank_constant + rank), which needs no scores
    that can be compared. With ``weighted`` it scores (1 - w) s_lexical + w s_dense, each half's scores scaled to
    [0, 1] over its own candidates; what a half does not return gets 0 from it.

    Args:
        index: an index that holds vectors: a folder, or a URL of PostgreSQL.
        embedder: the model that made them; by default the one that the index names.
        fusion: by reciprocal ranks, or by weighted scores.
        depth: candidates of either half.
        rank_constant: the larger, the less the first ranks lead.
        dense_weight: w of weighted fusion.

    Raises:
        UsageError: The index holds no vectors, or another model's (when first searched).
        InputError: No index there, or a damaged one (when first searched).

    Source:
        Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods (Cormack, Clarke and
        Büttcher, 2009), equation of section 2; the constant 60 is theirs.

    Relations:
        ``lexical`` and ``dense`` are its halves; a reranker may follow.

    Example:
        >>> retriever = hybrid("handbook.index", fusion="weighted")                  # doctest: +SKIP
        >>> retriever.search(["what does exit code 2 mean"], k=3)                    # doctest: +SKIP
    """
    options = SearchOptions(
        "hybrid", fusion=fusion, depth=depth, rank_constant=rank_constant, dense_weight=dense_weight
    )
    return open_index(index, embedder=embedder, options=options)
