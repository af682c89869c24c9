"""Retrieval by words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from annotated_types import Interval
from pydantic import NonNegativeFloat

from steelyard.contracts import Embedder, Retriever
from steelyard.parts import part
from steelyard.retrieval.index.settings import SearchOptions
from steelyard.retrieval.opening import open_index


@part()
def lexical(
    index: str | Path,
    embedder: Embedder | None = None,
    *,
    k1: NonNegativeFloat = 1.2,
    b: Annotated[float, Interval(ge=0, le=1)] = 0.75,
    phrases: bool = True,
) -> Retriever:
    """Retrieve by BM25 as Lucene computes it, over stemmed words, with exact phrases.

    A passage d scores the sum over the query's words t of

        log(1 + (N - n_t + 0.5) / (n_t + 0.5)) * tf / (tf + k1 (1 - b + b l_d / l_avg))

    with N passages, n_t of which hold t, tf uses of t in d, and l_d words in d. Words in double quotation marks
    must occur as a phrase. Passages without any word of the query are not returned. Costs no model.

    Args:
        index: an index: a folder, or a URL of PostgreSQL.
        embedder: the model of its vectors, if there are any; used to add passages and not to search.
        k1: how soon more uses of a word stop counting.
        b: how much long passages are held back.
        phrases: whether quotation marks mean phrases.

    Raises:
        InputError: No index there, or a damaged one (when first searched).

    Source:
        Okapi at TREC-3 (Robertson et al., 1994), section 3.2, with Lucene's non-negative inverse document
        frequency and without its rounding of lengths.

    Relations:
        ``dense`` finds passages that say the same in other words; ``hybrid`` fuses both.

    Example:
        >>> import tempfile
        >>> from steelyard.contracts import Hit
        >>> retriever = lexical(Path(tempfile.mkdtemp()) / "index")
        >>> retriever.add([Hit("a", 0.0, "Wings lift."), Hit("b", 0.0, "Wheels roll.")])
        >>> retriever.search(["lifting"])[0][0].id
        'a'
    """
    return open_index(index, embedder=embedder, options=SearchOptions("lexical", k1, b, phrases=phrases))
