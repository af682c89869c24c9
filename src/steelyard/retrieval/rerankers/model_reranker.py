"""The reranker that every part of this room returns: it checks, asks, sorts, and says what it cost."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from steelyard.contracts import Hit
from steelyard.errors import ModelError, UsageError
from steelyard.retrieval.rerankers.asking import RerankCost
from steelyard.retrieval.rerankers.template import first_words

Unread: TypeAlias = Literal["error", "keep"]
"""Of a query none of whose answers could be read: an error, or its hits stay in the retriever's order."""
_log = logging.getLogger(__name__)


class Ranked(NamedTuple):
    """Scores of each list's hits in the order given, and what it cost to find them.

    ``breakers`` decide between hits of equal score, before the retriever's own score does. ``lost`` numbers the
    queries none of whose answers could be read.
    """

    scores: list[list[float]]
    cost: RerankCost
    breakers: list[list[float]] | None = None
    lost: tuple[int, ...] = ()


class Reranking(NamedTuple):
    """Hits of each query, best first, each with the reranker's score, and what it cost."""

    hits: list[list[Hit]]
    cost: RerankCost


Rank: TypeAlias = Callable[[Sequence[str], Sequence[Sequence[Hit]]], Ranked]


@dataclass(frozen=True)
class ModelReranker:
    """Puts hits into the order of the scores that ``rank`` gives them.

    Equal scores go by the retriever's score, then by id, so that the order in which hits come in decides nothing
    unless the method itself goes by it.

    Attributes:
        name: the part's name, for errors.
        rank: from queries and their hits, texts already shortened, to scores.
        passage_words: how many words of a passage are shown; longer ones are cut there and counted.
        unread: what happens to a query none of whose answers could be read.
    """

    name: str
    rank: Rank
    passage_words: int = 200
    unread: Unread = "error"

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits, best first."""
        return self.run([query], [hits]).hits[0]

    def rerank_all(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """The hits of each query, best first; much faster than query by query, with the same result."""
        return self.run(queries, hits).hits

    def run(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> Reranking:
        """Rerank the hits of each query and say what it cost.

        Raises:
            UsageError: an empty query, or not one list of hits for each query.
            CapabilityError: the model lacks what the method needs.
            InputError: passages do not fit the model's context.
            ModelError: nothing that the model answered for a query could be read.
        """
        queries = [query.strip() for query in queries]
        if len(queries) != len(hits):
            raise UsageError(
                f"{self.name}: {len(queries)} queries but {len(hits)} lists of hits; give one for each"
            )
        if "" in queries:
            raise UsageError(f"{self.name}: query {queries.index('')} is empty")
        shown = [[replace(hit, text=first_words(hit.text, self.passage_words)) for hit in each] for each in hits]
        ranked = self.rank(queries, shown)
        if ranked.lost and self.unread == "error":
            raise ModelError(
                f"{self.name}: none of the model's answers for the query {queries[ranked.lost[0]]!r} could be "
                f"read ({len(ranked.lost)} of {len(queries)} queries); a larger model or another template may "
                "help, unread=keep leaves such hits in the retriever's order"
            )
        cut = sum(
            a.text.strip() != b.text
            for old, new in zip(hits, shown, strict=True)
            for a, b in zip(old, new, strict=True)
        )
        cost = replace(ranked.cost, shortened=ranked.cost.shortened + cut)
        self._tell(cost, len(ranked.lost))
        breakers = ranked.breakers or [[0.0] * len(each) for each in hits]
        return Reranking(
            [sorted_hits(*each) for each in zip(hits, ranked.scores, breakers, strict=True)],
            cost,
        )

    def _tell(self, cost: RerankCost, lost: int) -> None:
        if cost.unread:
            _log.warning("%s: %d of %d answers could not be read", self.name, cost.unread, cost.requests)
        if cost.unchanged:
            _log.warning("%s: %d answers left the passages in the order shown", self.name, cost.unchanged)
        if lost:
            _log.warning("%s: the hits of %d queries keep the retriever's order", self.name, lost)
        if cost.shortened:
            _log.info("%s: %d passages were cut to %d words", self.name, cost.shortened, self.passage_words)


def sorted_hits(hits: Sequence[Hit], scores: Sequence[float], breakers: Sequence[float]) -> list[Hit]:
    """Hits by score, then breaker, then the retriever's score, then id; each with its new score.

    >>> [hit.id for hit in sorted_hits([Hit("a", 1.0, ""), Hit("b", 2.0, "")], [0.5, 0.5], [0, 0])]
    ['b', 'a']
    """
    if any(math.isnan(score) for score in scores):
        raise ModelError("a reranker's scores are not numbers; the model's weights are damaged")
    order = sorted(range(len(hits)), key=lambda i: (-scores[i], -breakers[i], -hits[i].score, hits[i].id))
    return [replace(hits[i], score=scores[i]) for i in order]
