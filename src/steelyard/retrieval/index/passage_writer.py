"""What writers of an index share, wherever it is kept: what waits for the next commit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from steelyard.contracts import Embedder, Hit
from steelyard.retrieval.index.analysis import Analyzer


class PassageWriter(ABC):
    """Changes an index; nothing of it is seen by readers before :meth:`commit`, then all at once.

    Passages and documents wait in memory until they are committed; how they are then kept, and how those of
    earlier commits are forgotten, is what writers differ in.

    Args:
        language: of the index.
        embedder: makes vectors, where the index's settings name one.
    """

    def __init__(self, language: str, embedder: Embedder | None) -> None:
        self.embedder = embedder
        self._analyzer = Analyzer(language)
        self._waiting: dict[str, Hit] = {}
        self._documents: dict[str, str] = {}

    @property
    def waiting(self) -> int:
        """Passages that the next commit adds."""
        return len(self._waiting)

    @property
    @abstractmethod
    def passages(self) -> int:
        """Passages that the index held after the last commit."""

    @abstractmethod
    def documents(self) -> dict[str, str]:
        """Every committed document's digest by its name."""

    @abstractmethod
    def commit(self) -> None:
        """Make everything since the last commit durable and seen."""

    def replace(self, source: str, digest: str, passages: Sequence[Hit]) -> None:
        """Add a document, in place of the one of that name."""
        self.delete_document(source)
        self._documents[source] = digest
        self._waiting.update((passage.id, passage) for passage in passages)

    def add(self, passages: Iterable[Hit]) -> None:
        """Add passages; one whose id is known replaces it."""
        for passage in passages:
            self._waiting.pop(passage.id, None)
            self._waiting[passage.id] = passage

    def delete(self, ids: Sequence[str]) -> None:
        """Forget passages; unknown ids are passed over."""
        for identity in ids:
            self._waiting.pop(identity, None)
        self._forget(ids)

    def delete_document(self, source: str) -> None:
        """Forget a document and all its passages."""
        if source in self._documents:
            del self._documents[source]
            self._waiting = {i: passage for i, passage in self._waiting.items() if passage.source != source}
        self._forget_document(source)

    @abstractmethod
    def _forget(self, ids: Sequence[str]) -> None:
        """Let the next commit leave out these committed passages."""

    @abstractmethod
    def _forget_document(self, source: str) -> None:
        """Let the next commit leave out this committed document."""
