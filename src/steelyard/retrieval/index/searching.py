"""How an index is searched, wherever it is kept: by words, by meaning, or by both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from steelyard.contracts import Embedder, Hit
from steelyard.errors import CapabilityError, UsageError
from steelyard.retrieval.content_fingerprint import passages_fingerprint
from steelyard.retrieval.index.analysis import Analyzer, Query
from steelyard.retrieval.index.filters import Filter
from steelyard.retrieval.index.fusion import reciprocal_rank_fusion, weighted_fusion
from steelyard.retrieval.index.passage_writer import PassageWriter
from steelyard.retrieval.index.settings import IndexSettings, Mode, SearchOptions
from steelyard.retrieval.index.writer import fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Found(NamedTuple):
    """A passage by its segment and row, and its score."""

    segment: int
    row: int
    score: float


class State(Protocol):
    """What an index holds at one moment, whatever is written since."""

    @property
    def settings(self) -> IndexSettings:
        """What the index was made with."""

    @property
    def version(self) -> Hashable:
        """Differs wherever contents may."""

    @property
    def passages(self) -> int:
        """How many there are."""

    def allowed(self, where: Filter | None) -> Any:
        """What :meth:`lexical` and :meth:`dense` take to return only what fulfils a filter."""

    def lexical(self, query: Query, k: int, k1: float, b: float, allowed: Any) -> list[Found]:
        """The ``k`` best by BM25; phrases must occur, their words count like others."""

    def dense(self, queries: NDArray[np.float32], k: int, allowed: Any) -> list[list[Found]]:
        """The ``k`` best of each query vector by inner product: float32 (m, d)."""

    def hits(self, found: Sequence[Found]) -> list[Hit]:
        """The passages found, with their texts."""

    def living(self) -> Iterator[Hit]:
        """Every passage."""


class SearchableIndex(ABC):
    """A retriever over an index; where that is kept is what its two kinds differ in.

    Args:
        settings: of a new index; for an existing one only to be checked against it.
        embedder: makes vectors of queries and passages; by default the model that the index names, loaded when it
            is first needed.
        options: how to search.
        where: which passages searches may return.
    """

    def __init__(
        self,
        settings: IndexSettings | None,
        embedder: Embedder | None,
        options: SearchOptions,
        where: Filter | None,
    ) -> None:
        self.settings = settings
        self.options = options
        self.where = where
        self._embedder = embedder
        self._analyzer = Analyzer("none")
        self._content: tuple[Hashable, str] | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the index, for messages."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[State]:
        """The newest state, to read from until the end of the block."""

    @abstractmethod
    def made(self) -> IndexSettings | None:
        """What the index was made with; None where there is none yet."""

    @abstractmethod
    def writing(
        self, settings: IndexSettings | None = None, embedder: Embedder | None = None
    ) -> AbstractContextManager[PassageWriter]:
        """Its writer, which commits at the end of the block."""

    def add(self, documents: Sequence[Hit]) -> None:
        """Add passages and commit; one whose id is known replaces it."""
        settings = self.settings or self.made() or IndexSettings()
        embedder = self.embedder(settings) if settings.embedder else None
        with self.writing(settings, embedder) as writer:
            writer.add(documents)

    def delete(self, ids: Sequence[str]) -> None:
        """Forget passages and commit."""
        with self.writing() as writer:
            writer.delete(ids)

    @property
    def fingerprint(self) -> str:
        """Content hash of the passages, the index's settings and how it is searched.

        All passages are read for it, once for every state and way to search.
        """
        with self.reading() as state:
            said = [asdict(state.settings), asdict(self.options), repr(self.where)]
            key = (state.version, repr(said))
            if self._content is None or self._content[0] != key:
                self._content = key, passages_fingerprint(state.living(), {"index": said})
            return self._content[1]

    @property
    def memory_bytes(self) -> int:
        """Of the embedder that searches need, which is loaded for it; 0 where they go by words alone."""
        with self.reading() as state:
            settings = state.settings
        if self._mode(settings) == "lexical":
            return 0
        card = getattr(self.embedder(settings), "card", None)
        return getattr(card, "memory_bytes", None) or 0

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """The ``k`` best passages of each query, best first, with the scores of the mode.

        Words in double quotation marks are a phrase, which must occur (in lexical search and in the lexical half
        of hybrid search; see ``SearchOptions.phrases``). Lexical search returns only passages that hold a word of
        the query.

        Raises:
            UsageError: ``k`` below 1, or dense search of an index without vectors or with another embedder.
            InputError: No index there, or a damaged one.
        """
        if k < 1:
            raise UsageError(f"k={k}: ask for at least one passage")
        with self.reading() as state:
            return self._searched(state, queries, k)

    def _searched(self, state: State, queries: Sequence[str], k: int) -> list[list[Hit]]:
        mode = self._mode(state.settings)
        allowed = state.allowed(self.where)
        vectors = self._vectors(state, queries) if mode != "lexical" else None
        depth = max(k, self.options.depth) if mode == "hybrid" else k
        meant = state.dense(vectors, depth, allowed) if vectors is not None else [[] for _ in queries]
        results = []
        for query, near in zip(queries, meant, strict=True):
            if mode == "dense":
                results.append(state.hits(near))
                continue
            asked = self._query(state.settings.language, query)
            worded = state.lexical(asked, depth, self.options.k1, self.options.b, allowed)
            results.append(state.hits(worded if mode == "lexical" else self._fused(worded, near, k)))
        return results

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
                f"{self.name}: its vectors were made by another model than this {settings.embedder!r}; use that "
                f"model, or make the index anew"
            )
        return self._embedder

    def _mode(self, settings: IndexSettings) -> Mode:
        vectors = bool(settings.embedder)
        if self.options.mode == "auto":
            return "hybrid" if vectors else "lexical"
        if self.options.mode != "lexical" and not vectors:
            raise UsageError(
                f"{self.name}: holds no vectors for {self.options.mode} search; make it with an embedder"
            )
        return self.options.mode

    def _query(self, language: str, text: str) -> Query:
        if self._analyzer.language != language:
            self._analyzer = Analyzer(language)
        asked = self._analyzer.query(text)
        return asked if self.options.phrases else Query(asked.terms, [])

    def _vectors(self, state: State, queries: Sequence[str]) -> NDArray[np.float32]:
        settings = state.settings
        if not queries or not state.passages:
            return np.zeros((len(queries), settings.width), dtype=np.float32)
        found = np.asarray(self.embedder(settings).embed(queries, role="query"), dtype=np.float32)
        if found.shape != (len(queries), settings.width):
            raise UsageError(f"{self.name}: holds vectors of width {settings.width}, not {found.shape[-1]}")
        return found

    def _fused(self, worded: Sequence[Found], near: Sequence[Found], k: int) -> list[Found]:
        options = self.options
        if options.fusion == "rrf":
            ranked = [[(f.segment, f.row) for f in half] for half in (worded, near)]
            fused = reciprocal_rank_fusion(ranked, options.rank_constant)
        else:
            scored = [{(f.segment, f.row): f.score for f in half} for half in (worded, near)]
            fused = weighted_fusion(scored, [1.0 - options.dense_weight, options.dense_weight])
        best = sorted(fused.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
        return [Found(segment, row, score) for (segment, row), score in best]
