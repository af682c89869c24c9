"""The retriever over an index folder: add, delete and search, by words, by meaning or both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from steelyard.contracts import Embedder
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.manifest import FILE
from steelyard.retrieval.index.passage_writer import PassageWriter
from steelyard.retrieval.index.searching import SearchableIndex
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions
from steelyard.retrieval.index.snapshot import Snapshot, open_snapshot
from steelyard.retrieval.index.writer import open_writer


class DocumentIndex(SearchableIndex):
    """A retriever whose passages lie in a folder; see :mod:`steelyard.retrieval.index.writer` for what is safe.

    A search sees the newest generation as a whole. Several processes may search while one writes.

    Args:
        folder: an index, made by :func:`steelyard.index`, :func:`open_writer` or the first :meth:`add`.
        settings: of a new index; for an existing one only to be checked against it.
        embedder: makes vectors of queries and passages; by default the model that the index names, loaded when it
            is first needed.
        options: how to search.
        where: which passages searches may return.

    Example:
        >>> import tempfile
        >>> from steelyard.contracts import Hit
        >>> index = DocumentIndex(Path(tempfile.mkdtemp()) / "index")
        >>> index.add([Hit("a", 0.0, "Wings lift."), Hit("b", 0.0, "Wheels roll.")])
        >>> [hit.id for hit in index.search(["a lifting wing"])[0]]
        ['a']
    """

    def __init__(
        self,
        folder: str | Path,
        settings: IndexSettings | None = None,
        embedder: Embedder | None = None,
        options: SearchOptions = SearchOptions(),  # noqa: B008
        where: Filter | None = None,
    ) -> None:
        super().__init__(settings, embedder, options, where)
        self.folder = Path(folder)
        self._snapshot: Snapshot | None = None
        self._seen: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def made(self) -> IndexSettings | None:
        """What the index was made with; None where there is none yet."""
        return self.snapshot().settings if (self.folder / FILE).exists() else None

    def writing(
        self, settings: IndexSettings | None = None, embedder: Embedder | None = None
    ) -> AbstractContextManager[PassageWriter]:
        """The folder's one writer."""
        return open_writer(self.folder, settings, embedder)

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """The newest generation."""
        yield self.snapshot()

    def snapshot(self) -> Snapshot:
        """The newest generation; opened anew only when the manifest changed.

        Raises:
            InputError: No index in the folder, or a damaged one.
        """
        try:
            status = os.stat(self.folder / FILE)
            seen = (status.st_ino, status.st_mtime_ns)
        except OSError:
            seen = None  # open_snapshot says what is wrong
        if self._snapshot is None or seen is None or seen != self._seen:
            self._snapshot = open_snapshot(self.folder, self._snapshot)
            self._seen = seen
        return self._snapshot
