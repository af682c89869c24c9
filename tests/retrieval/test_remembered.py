"""What was searched or reranked once is not searched or reranked again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from passages import CORPUS, Bm25Retriever
from steelyard.contracts import Hit
from steelyard.retrieval.remembered import RememberedReranker, RememberedRetriever


def test_a_query_is_searched_once_for_each_number_of_hits_and_content() -> None:
    inside = Bm25Retriever(CORPUS)
    memory: Any = OrderedDict()
    retriever = RememberedRetriever(inside, memory=memory)
    assert retriever.fingerprint == inside.fingerprint
    first = retriever.search(["fox", "france", "fox"], 1)
    assert inside.queries == ["fox", "france"]
    assert [[hit.id for hit in hits] for hits in first] == [["fox"], ["france"], ["fox"]]
    assert RememberedRetriever(inside, memory=memory).search(["france"], 1)[0] == first[1]
    assert inside.queries == ["fox", "france"]
    retriever.search(["fox"], 2)
    retriever.add([Hit("new", 0.0, "A fox, and a fox.")])
    assert retriever.search(["fox"], 1)[0][0].id == "new"
    assert inside.queries == ["fox", "france", "fox", "fox"]


def test_little_room_forgets_but_never_loses_an_answer() -> None:
    inside = Bm25Retriever(CORPUS)
    retriever = RememberedRetriever(inside, room=1)
    retriever.search(["fox"], 1)
    found = retriever.search(["france", "fox", "jugs"], 1)
    assert [hits[0].id for hits in found] == ["france", "fox", "jugs"]
    assert len(retriever.memory) == 1
    assert inside.queries == ["fox", "france", "jugs"]
    every = RememberedRetriever(inside, room=0)
    every.search(["fox"], 1)
    every.search(["fox"], 1)
    assert inside.queries[-2:] == ["fox", "fox"]


class Reversed:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        self.asked.append(query)
        return list(hits)[::-1]


def test_the_same_hits_are_reranked_once() -> None:
    inside = Reversed()
    reranker = RememberedReranker(inside, "reversed")
    assert reranker.rerank("q", CORPUS) == CORPUS[::-1]
    assert reranker.rerank_all(["q", "q", "r"], [CORPUS, CORPUS[:2], CORPUS]) == [
        CORPUS[::-1],
        CORPUS[1::-1],
        CORPUS[::-1],
    ]
    assert inside.asked == ["q", "q", "r"]
    assert reranker.fingerprint == "reversed"
