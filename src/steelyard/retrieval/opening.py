"""An index by its place: a folder, or a URL of PostgreSQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from steelyard.contracts import Embedder, Retriever
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.passage_writer import PassageWriter
from steelyard.retrieval.index.searching import SearchableIndex
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions
from steelyard.retrieval.index.writer import open_writer
from steelyard.retrieval.served.place import ServedPlace, is_served
from steelyard.retrieval.served.served_index import ServedIndex
from steelyard.retrieval.served.served_writer import open_served_writer


def open_index(
    place: str | Path,
    settings: IndexSettings | None = None,
    embedder: Embedder | None = None,
    options: SearchOptions = SearchOptions(),  # noqa: B008
    where: Filter | None = None,
) -> SearchableIndex:
    """The retriever over the index in a folder or at a ``postgresql://`` URL; for the arguments see the two kinds.

    Relations:
        :class:`DocumentIndex` needs nothing but the folder and is faster on one machine; :class:`ServedIndex` is
        for indexes larger than that, and for several writers.
    """
    if is_served(place):
        return ServedIndex(str(place), settings, embedder, options, where)
    return DocumentIndex(place, settings, embedder, options, where)


def for_questions(
    made: Retriever, place: str | Path, settings: Mapping[str, Any], embedder: Embedder | None = None
) -> Retriever:
    """The retriever that a part made over ``place``, fit for questions as people write them.

    Quotation marks in them are no phrases to search for, unless the ``settings`` that the part was given say so.
    A retriever of another kind stays as it is.
    """
    if not isinstance(made, SearchableIndex):
        return made
    phrases = made.options.phrases and "phrases" in settings
    return open_index(place, embedder=embedder, options=dataclasses.replace(made.options, phrases=phrases))


def open_index_writer(
    place: str | Path, settings: IndexSettings | None = None, embedder: Embedder | None = None
) -> AbstractContextManager[PassageWriter]:
    """The writer of the index at ``place``, which is made where there is none; commits at the end of the block."""
    if is_served(place):
        return open_served_writer(ServedPlace(str(place)), settings, embedder)
    return open_writer(Path(place), settings, embedder)
