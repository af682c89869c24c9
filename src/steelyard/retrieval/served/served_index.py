"""The retriever over an index in PostgreSQL: add, delete and search, by words, by meaning or both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from steelyard.contracts import Embedder
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.passage_writer import PassageWriter
from steelyard.retrieval.index.searching import SearchableIndex
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions
from steelyard.retrieval.served.place import ServedPlace
from steelyard.retrieval.served.schema import exists, read_facts
from steelyard.retrieval.served.served_state import ServedState
from steelyard.retrieval.served.served_writer import open_served_writer


class ServedIndex(SearchableIndex):
    """A retriever whose passages lie in PostgreSQL; any number of processes on any machines may search and write.

    Searching is that of :class:`~steelyard.retrieval.index.document_index.DocumentIndex`, with the same scores:
    BM25 over the same terms, inner products of the same vectors (pgvector; exact below ``approximate_from``
    passages, through an HNSW graph above), the same fusion and filters. A search sees one state as a whole.

    Args:
        url: ``postgresql://user:password@host:port/database?index=name``; see :class:`ServedPlace`.
        settings: of a new index; for an existing one only to be checked against it.
        embedder: makes vectors of queries and passages; by default the model that the index names, loaded when it
            is first needed.
        options: how to search.
        where: which passages searches may return.

    Example:
        >>> from steelyard.contracts import Hit
        >>> index = ServedIndex("postgresql://me@localhost/library")                # doctest: +SKIP
        >>> index.add([Hit("a", 0.0, "Wings lift."), Hit("b", 0.0, "Wheels roll.")])  # doctest: +SKIP
        >>> index.search(["a lifting wing"])[0][0].id                                # doctest: +SKIP
        'a'
    """

    def __init__(
        self,
        url: str,
        settings: IndexSettings | None = None,
        embedder: Embedder | None = None,
        options: SearchOptions = SearchOptions(),  # noqa: B008
        where: Filter | None = None,
    ) -> None:
        self._place = ServedPlace(url)
        super().__init__(settings, embedder, options, where)

    @property
    def name(self) -> str:
        """The URL without user and password."""
        return self._place.name

    def made(self) -> IndexSettings | None:
        """What the index was made with; None where there is none yet."""
        with self._place.transaction() as connection:
            return read_facts(connection, self._place).settings if exists(connection, self._place) else None

    def writing(
        self, settings: IndexSettings | None = None, embedder: Embedder | None = None
    ) -> AbstractContextManager[PassageWriter]:
        """One of its writers, of which there may be several at a time."""
        return open_served_writer(self._place, settings, embedder)

    @contextmanager
    def reading(self) -> Iterator[ServedState]:
        """The newest state."""
        with self._place.transaction() as connection:
            yield ServedState(connection, read_facts(connection, self._place))
