"""Retrievers and rerankers that remember what they found, and say what their results are filed under."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from steelyard.contracts import Hit, Reranker, Retriever
from steelyard.retrieval.content_fingerprint import source_fingerprint

ROOM = 20_000
"""So many queries' hits are kept, the least recently used going first."""
Memory: TypeAlias = OrderedDict[tuple[object, ...], tuple[Hit, ...]]


class RememberedRetriever:
    """A retriever that searches once for each query and number of hits.

    What is remembered is filed under the content searched, so it is forgotten when that changes, and several
    retrievers may share one memory.

    Args:
        retriever: what searches.
        filed: a fingerprint of it; by default its own.
        memory: shared with others; a new one by default.
        room: how many queries' hits are kept; with 0 every search is done.
    """

    def __init__(
        self, retriever: Retriever, filed: str | None = None, memory: Memory | None = None, room: int = ROOM
    ) -> None:
        self.retriever = retriever
        self.filed = filed
        self.memory = OrderedDict() if memory is None else memory
        self.room = room

    @property
    def fingerprint(self) -> str:
        """The one given, or the retriever's own."""
        return self.filed or source_fingerprint("retriever", self.retriever)

    @property
    def memory_bytes(self) -> int:
        """Of the models that the retriever inside needs, as far as it says."""
        return int(getattr(self.retriever, "memory_bytes", 0))

    def add(self, documents: Sequence[Hit]) -> None:
        """Add to the retriever inside."""
        self.retriever.add(documents)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete from the retriever inside."""
        self.retriever.delete(ids)

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """The ``k`` best passages of each query; new queries are searched for together."""
        if not self.room:
            return self.retriever.search(queries, k)
        content = self.fingerprint
        keys = [("search", content, k, query) for query in queries]
        return recalled(
            self.memory, keys, self.room, lambda new: self.retriever.search([queries[i] for i in new], k)
        )


class RememberedReranker:
    """A reranker that orders the same hits of a query once; arguments as :class:`RememberedRetriever`'s."""

    def __init__(self, reranker: Reranker, filed: str, memory: Memory | None = None, room: int = ROOM) -> None:
        self.reranker = reranker
        self.filed = filed
        self.memory = OrderedDict() if memory is None else memory
        self.room = room

    @property
    def fingerprint(self) -> str:
        """The one given."""
        return self.filed

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits, best first."""
        return self.rerank_all([query], [hits])[0]

    def rerank_all(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """The hits of each query, best first; new ones are ordered together."""
        if not self.room:
            return reranked(self.reranker, queries, hits)
        keys = [
            ("rerank", self.filed, query, tuple((hit.id, hit.text) for hit in each))
            for query, each in zip(queries, hits, strict=True)
        ]
        return recalled(
            self.memory,
            keys,
            self.room,
            lambda new: reranked(self.reranker, [queries[i] for i in new], [hits[i] for i in new]),
        )


def reranked(reranker: Reranker, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
    """The hits of each query in the reranker's order, all in one call where it can do that."""
    together = getattr(reranker, "rerank_all", None)
    if together is not None:
        return list(together(queries, hits))
    return [reranker.rerank(query, each) for query, each in zip(queries, hits, strict=True)]


def recalled(
    memory: Memory,
    keys: Sequence[tuple[object, ...]],
    room: int,
    find: Callable[[list[int]], list[list[Hit]]],
) -> list[list[Hit]]:
    """The hits of each key: remembered ones, and for the positions of new keys, each once, what ``find`` gives."""
    known = {key: memory[key] for key in keys if key in memory}
    new = {key: position for position, key in enumerate(keys) if key not in known}
    if new:
        known |= zip(new, map(tuple, find(list(new.values()))), strict=True)
    for key in keys:
        memory[key] = known[key]
        memory.move_to_end(key)
    while len(memory) > room:
        memory.popitem(last=False)
    return [list(known[key]) for key in keys]
