"""The retriever over an index folder: add, delete and search, by words, by meaning or both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steelyard.contracts import Embedder, Hit
from steelyard.errors import CapabilityError, UsageError
from steelyard.retrieval.content_fingerprint import passages_fingerprint
from steelyard.retrieval.index.analysis import Analyzer, Query
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.fusion import reciprocal_rank_fusion, weighted_fusion
from steelyard.retrieval.index.manifest import FILE
from steelyard.retrieval.index.settings import IndexSettings, Mode, SearchOptions
from steelyard.retrieval.index.snapshot import Found, Snapshot, open_snapshot
from steelyard.retrieval.index.writer import fingerprint, open_writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = tuple[int, int]


class DocumentIndex:
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
        self.folder = Path(folder)
        self.settings = settings
        self.options = options
        self.where = where
        self._embedder = embedder
        self._snapshot: Snapshot | None = None
        self._seen: tuple[int, int] | None = None
        self._analyzer = Analyzer("none")
        self._content: tuple[Snapshot, str] | None = None

    @property
    def fingerprint(self) -> str:
        """Content hash of the passages, the index's settings and how it is searched.

        All passages are read for it, once a generation.
        """
        snapshot = self.snapshot()
        if self._content is None or self._content[0] is not snapshot:
            said = [asdict(snapshot.manifest.settings), asdict(self.options), repr(self.where)]
            self._content = snapshot, passages_fingerprint(snapshot.living(), {"index": said})
        return self._content[1]

    @property
    def memory_bytes(self) -> int:
        """Of the embedder that searches need, which is loaded for it; 0 where they go by words alone."""
        snapshot = self.snapshot()
        if self._mode(snapshot) == "lexical":
            return 0
        card = getattr(self.embedder(snapshot.manifest.settings), "card", None)
        return getattr(card, "memory_bytes", None) or 0

    def add(self, documents: Sequence[Hit]) -> None:
        """Add passages and commit; one whose id is known replaces it."""
        settings = self.settings
        if settings is None and (self.folder / FILE).exists():
            settings = self.snapshot().manifest.settings
        settings = settings or IndexSettings()
        embedder = self.embedder(settings) if settings.embedder else None
        with open_writer(self.folder, settings, embedder) as writer:
            writer.add(documents)

    def delete(self, ids: Sequence[str]) -> None:
        """Forget passages and commit."""
        with open_writer(self.folder) as writer:
            writer.delete(ids)

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """The ``k`` best passages of each query, best first, with the scores of the mode.

        Words in double quotation marks are a phrase, which must occur (in lexical search and in the lexical half
        of hybrid search; see ``SearchOptions.phrases``). Lexical search returns only passages that hold a word of
        the query.

        Raises:
            UsageError: ``k`` below 1, or dense search of an index without vectors or with another embedder.
            InputError: No index in the folder, or a damaged one.
        """
        if k < 1:
            raise UsageError(f"k={k}: ask for at least one passage")
        snapshot = self.snapshot()
        mode = self._mode(snapshot)
        allowed = snapshot.allowed(self.where)
        vectors = self._vectors(snapshot, queries) if mode != "lexical" else None
        depth = max(k, self.options.depth) if mode == "hybrid" else k
        meant = snapshot.dense(vectors, depth, allowed) if vectors is not None else [[] for _ in queries]
        results = []
        for query, near in zip(queries, meant, strict=True):
            if mode == "dense":
                results.append(snapshot.hits(near))
                continue
            asked = self._query(snapshot, query)
            worded = snapshot.lexical(asked, depth, self.options.k1, self.options.b, allowed)
            results.append(snapshot.hits(worded if mode == "lexical" else self._fused(worded, near, k)))
        return results

    def snapshot(self) -> Snapshot:
        """The newest generation; opened anew only when the manifest changed."""
        try:
            status = os.stat(self.folder / FILE)
            seen = (status.st_ino, status.st_mtime_ns)
        except OSError:
            seen = None  # open_snapshot says what is wrong
        if self._snapshot is None or seen is None or seen != self._seen:
            self._snapshot = open_snapshot(self.folder, self._snapshot)
            self._seen = seen
            if self.settings is None:
                self._analyzer = Analyzer(self._snapshot.manifest.settings.language)
        return self._snapshot

    def embedder(self, settings: IndexSettings) -> Embedder:
        """The embedder given, or the model that the settings name.

        Raises:
            UsageError: It is not the model that made the vectors.
        """
        if self._embedder is None:
            from steelyard.models.loading import load_model

            loaded = load_model(settings.embedder)
            if not isinstance(loaded, Embedder):
                raise CapabilityError(f"search needs an embedder, and {settings.embedder!r} gives no vectors")
            self._embedder = loaded
        given = fingerprint(self._embedder)
        if settings.fingerprint and given and given != settings.fingerprint:
            raise UsageError(
                f"{self.folder}: its vectors were made by another model than this {settings.embedder!r}; use that "
                f"model, or make the index anew"
            )
        return self._embedder

    def _mode(self, snapshot: Snapshot) -> Mode:
        vectors = bool(snapshot.manifest.settings.embedder)
        if self.options.mode == "auto":
            return "hybrid" if vectors else "lexical"
        if self.options.mode != "lexical" and not vectors:
            raise UsageError(
                f"{self.folder}: holds no vectors for {self.options.mode} search; make it with an embedder"
            )
        return self.options.mode

    def _query(self, snapshot: Snapshot, text: str) -> Query:
        language = snapshot.manifest.settings.language
        if self._analyzer.language != language:
            self._analyzer = Analyzer(language)
        asked = self._analyzer.query(text)
        return asked if self.options.phrases else Query(asked.terms, [])

    def _vectors(self, snapshot: Snapshot, queries: Sequence[str]) -> NDArray[np.float32]:
        settings = snapshot.manifest.settings
        if not queries or not snapshot.passages:
            return np.zeros((len(queries), settings.width), dtype=np.float32)
        found = np.asarray(self.embedder(settings).embed(queries, role="query"), dtype=np.float32)
        if found.shape != (len(queries), settings.width):
            raise UsageError(f"{self.folder}: holds vectors of width {settings.width}, not {found.shape[-1]}")
        return found

    def _fused(self, worded: Sequence[Found], near: Sequence[Found], k: int) -> list[Found]:
        options = self.options
        if options.fusion == "rrf":
            ranked: list[list[Key]] = [[(f.segment, f.row) for f in half] for half in (worded, near)]
            fused = reciprocal_rank_fusion(ranked, options.rank_constant)
        else:
            scored = [{(f.segment, f.row): f.score for f in half} for half in (worded, near)]
            fused = weighted_fusion(scored, [1.0 - options.dense_weight, options.dense_weight])
        best = sorted(fused.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
        return [Found(segment, row, score) for (segment, row), score in best]
