from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from steelyard.contracts import Hit
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.retrievers.lamer import interleaved, lamer

PASSAGES = [
    Hit("bridge", 0.0, "The bridge over the strait was opened in the spring"),
    Hit("steel", 0.0, "Rivets and girders of steel carry the deck between two towers"),
    Hit("towers", 0.0, "Two towers of granite stand in the water"),
    Hit("bread", 0.0, "Bread is baked of flour, water and salt"),
    Hit("sea", 0.0, "The sea in spring is cold"),
]


class Words:
    """Searches by the summed inverse document frequency of shared words, times their count in the query."""

    def __init__(self, passages: Sequence[Hit]) -> None:
        self.passages = {hit.id: hit for hit in passages}

    def add(self, documents: Sequence[Hit]) -> None:
        self.passages |= {hit.id: hit for hit in documents}

    def delete(self, ids: Sequence[str]) -> None:
        self.passages = {id: hit for id, hit in self.passages.items() if id not in ids}

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        texts = {id: set(hit.text.lower().split()) for id, hit in self.passages.items()}
        held = Counter(word for text in texts.values() for word in text)
        found = []
        for query in queries:
            asked = Counter(query.lower().split())
            scores = {
                id: sum(n * math.log(1 + len(texts) / held[word]) for word, n in asked.items() if word in text)
                for id, text in texts.items()
            }
            best = sorted(scores, key=lambda id: (-scores[id], id))[:k]
            found.append([replace(self.passages[id], score=scores[id]) for id in best])
        return found


QUERIES = ["what holds the bridge up", "spring"]


def ids(found: list[list[Hit]]) -> list[list[str]]:
    return [[hit.id for hit in each] for each in found]


def test_query_and_answers_take_turns() -> None:
    model = ScriptedModel(lambda prompt: " Steel girders. " if "bridge up" in prompt else "cold sea")
    expansion = lamer(Words(PASSAGES), model, answers=3).expand(QUERIES)
    q = QUERIES[0]
    assert expansion.queries[0] == f"{q} Steel girders. {q} Steel girders. {q} Steel girders."
    assert expansion.queries[1] == "spring cold sea spring cold sea spring cold sea"
    assert expansion.answers[1] == ["cold sea"] * 3
    assert expansion.cost.requests == 6
    assert model.calls == [("generate", 6)]


def test_quotation_marks_in_answers_ask_for_no_phrase() -> None:
    model = ScriptedModel(lambda _: 'They call it "the span" or “le pont”.')
    assert lamer(Words(PASSAGES), model, answers=1).expand(["spring"]).queries == [
        "spring They call it  the span  or  le pont ."
    ]


def test_the_model_is_shown_what_the_query_finds() -> None:
    prompts: list[str] = []
    model = ScriptedModel(lambda prompt: prompts.append(prompt) or "x")
    longer = lamer(Words(PASSAGES), model, candidates=2, answers=1)
    replace(longer, passage_words=4).expand(QUERIES[:1])
    best = Words(PASSAGES).search(QUERIES[:1], 2)[0]
    for number, hit in enumerate(best, start=1):
        assert f"{number}. {' '.join(hit.text.split()[:4])}\n" in prompts[0]
    assert "Bread" not in prompts[0]


def test_without_candidates_nothing_is_searched_before_the_answers() -> None:
    prompts: list[str] = []
    model = ScriptedModel(lambda prompt: prompts.append(prompt) or "x")
    lamer(Words(PASSAGES), model, candidates=0, answers=1).expand(QUERIES)
    assert not any("below" in prompt or "1." in prompt for prompt in prompts)


def test_empty_answers_give_the_retrievers_own_ranking(caplog: pytest.LogCaptureFixture) -> None:
    silent = lamer(Words(PASSAGES), ScriptedModel(lambda _: "  \n"))
    with caplog.at_level(logging.WARNING):
        found = silent.search(QUERIES, 5)
    assert found == Words(PASSAGES).search(QUERIES, 5)
    assert "nothing was written for 2 of 2 queries" in caplog.text
    assert silent.expand(QUERIES).cost.unread == 10


def test_answers_like_the_gold_passage_raise_recall() -> None:
    model = ScriptedModel(lambda prompt: "rivets and girders of steel between towers")
    plain = ids(Words(PASSAGES).search(QUERIES[:1], 1))
    longer = ids(lamer(Words(PASSAGES), model, answers=2).search(QUERIES[:1], 1))
    assert plain == [["bridge"]]
    assert longer == [["steel"]]


def test_documents_go_through() -> None:
    retriever = lamer(Words(PASSAGES), ScriptedModel(lambda _: "tunnel"), answers=1)
    retriever.add([Hit("tunnel", 0.0, "A tunnel under the strait")])
    assert ids(retriever.search(["tunnel"], 1)) == [["tunnel"]]
    retriever.delete(["tunnel"])
    assert "tunnel" not in ids(retriever.search(["tunnel"], 9))[0]
    assert retriever.search([]) == []


def test_wrong_use_is_refused() -> None:
    class Mute(ScriptedModel):
        @property
        def card(self):  # type: ignore[no-untyped-def]
            return replace(super().card, capabilities=frozenset({"embed"}))

    with pytest.raises(CapabilityError, match="lamer needs the capability 'generate'"):
        lamer(Words(PASSAGES), Mute({})).search(QUERIES)
    with pytest.raises(UsageError, match="query 1 is empty"):
        lamer(Words(PASSAGES), ScriptedModel({})).search(["a", " "])
    assert interleaved("q", []) == "q"
