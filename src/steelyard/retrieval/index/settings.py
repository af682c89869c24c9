"""What is fixed when an index is made, and what may be chosen at every search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Storage: TypeAlias = Literal["float32", "int8", "binary"]
Mode: TypeAlias = Literal["auto", "lexical", "dense", "hybrid"]


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What is fixed when an index is made.

    ``language`` names the stemmer (a Snowball algorithm such as ``"english"``, or ``"none"``). ``embedder`` is the
    name of the model of the vectors, empty for an index of words alone; ``fingerprint`` and ``width`` are the
    model's, known once it has embedded something. ``storage`` says how vectors are kept. Segments of
    ``approximate_from`` passages or more get a graph for approximate search; smaller ones are searched exactly.
    """

    language: str = "english"
    embedder: str = ""
    fingerprint: str = ""
    width: int = 0
    storage: Storage = "float32"
    approximate_from: int = 50_000


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search. ``mode`` "auto" is hybrid where there are vectors and lexical otherwise.

    ``k1`` and ``b`` are BM25's, with Lucene's defaults. With ``phrases`` words in double quotation marks must
    occur as a phrase; without, quotation marks mean nothing, as suits questions that were not written for a search
    engine.

    Hybrid search takes the ``depth`` best of either half (at least ``k``) and fuses them by reciprocal ranks with
    the constant ``rank_constant``, or, with ``fusion`` "weighted", by scores scaled to [0, 1], the dense half
    weighing ``dense_weight``.
    """

    mode: Mode = "auto"
    k1: float = 1.2
    b: float = 0.75
    fusion: Literal["rrf", "weighted"] = "rrf"
    depth: int = 100
    rank_constant: float = 60.0
    dense_weight: float = 0.5
    phrases: bool = True
