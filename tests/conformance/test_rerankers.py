"""Every registered reranker keeps its contract: the same hits out as in, in an order that says why."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from conformance.rows import registered, rows
from steelyard import parts
from steelyard.contracts import Hit, ModelCard
from steelyard.errors import CapabilityError, UsageError
from steelyard.models.loading import load_model
from steelyard.models.scripted import ScriptedModel
from tiny import tiny_llama

ROWS = rows("reranker")
TEXTS = [
    "The quick brown fox jumps.",
    "Paris is the capital of France.",
    "Five dozen liquor jugs.",
    "An old man of the sea.",
    "Is {query} a lazy dog?",
]
HITS = [Hit(f"d{n}", 9.0 - n, text, "book.txt", 10 * n, 10 * n + 9, {"n": n}) for n, text in enumerate(TEXTS)]
QUERIES = ["capital of France", "lazy dog"]


@pytest.fixture(params=sorted(ROWS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(str(tiny_llama(tmp_path_factory.mktemp("tiny"), layers=2, max_position_embeddings=4096)))


class Mute(ScriptedModel):
    """A model that only embeds."""

    @property
    def card(self) -> ModelCard:
        return replace(super().card, capabilities=frozenset({"embed"}))


def made(name: str, model: Any) -> Any:
    function = parts.load(name)
    return function(model, **parts.validate(function, ROWS[name].get("settings", {})))


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def same_but_for_the_score(hit: Hit) -> bool:
    return any(hit == Hit(o.id, hit.score, o.text, o.source, o.start, o.end, o.metadata) for o in HITS)


def test_every_reranker_has_a_row() -> None:
    assert set(ROWS) == registered("reranker")


def test_the_same_hits_come_out_best_first(name: str, model: Any) -> None:
    result = made(name, model).rerank(QUERIES[0], HITS)
    assert sorted(ids(result)) == sorted(ids(HITS))
    assert all(same_but_for_the_score(hit) for hit in result)
    assert [hit.score for hit in result] == sorted((hit.score for hit in result), reverse=True)


def test_the_order_that_comes_in_decides_nothing(name: str, model: Any) -> None:
    if ROWS[name].get("by_order"):
        pytest.skip("the method goes by the order that comes in")
    reranker = made(name, model)
    turned = random.Random(1).sample(HITS, len(HITS))
    assert ids(turned) != ids(HITS)
    assert ids(reranker.rerank(QUERIES[0], turned)) == ids(reranker.rerank(QUERIES[0], HITS))


def test_many_at_once_equal_one_at_a_time(name: str, model: Any) -> None:
    reranker = made(name, model)
    lists = [HITS, HITS[::-1][:3]]
    together = reranker.rerank_all(QUERIES, lists)
    for query, hits, result in zip(QUERIES, lists, together, strict=True):
        alone = reranker.rerank(query, hits)
        assert ids(result) == ids(alone)
        assert [hit.score for hit in result] == pytest.approx([hit.score for hit in alone], abs=1e-4)


def test_nothing_and_a_single_hit(name: str, model: Any) -> None:
    reranker = made(name, model)
    assert reranker.rerank_all([], []) == []
    assert reranker.rerank(QUERIES[0], []) == []
    assert ids(reranker.rerank(QUERIES[0], HITS[2:3])) == ["d2"]


def test_twice_the_same(name: str, model: Any) -> None:
    assert made(name, model).run(QUERIES, [HITS, HITS]) == made(name, model).run(QUERIES, [HITS, HITS])


def test_the_cost_is_stated(name: str, model: Any) -> None:
    reranker = made(name, model)
    one, two = reranker.run(QUERIES[:1], [HITS]).cost, reranker.run(QUERIES, [HITS, HITS]).cost
    assert one.requests > 0
    assert one.read_tokens > 0
    assert two.requests == 2 * one.requests
    assert reranker.run(QUERIES[:1], [[]]).cost.requests == 0


def test_long_passages_are_cut_and_counted(name: str, model: Any) -> None:
    function = parts.load(name)
    reranker = function(model, **parts.validate(function, {**ROWS[name].get("settings", {}), "passage_words": 2}))
    result = reranker.run(QUERIES[:1], [HITS])
    assert result.cost.shortened == len(HITS)
    assert all(same_but_for_the_score(hit) for hit in result.hits[0])


def test_wrong_use_is_refused(name: str, model: Any) -> None:
    reranker = made(name, model)
    with pytest.raises(UsageError, match="is empty"):
        reranker.rerank(" ", HITS)
    with pytest.raises(UsageError, match="give one for each"):
        reranker.rerank_all(QUERIES, [HITS])


def test_a_model_that_cannot_is_refused_by_name(name: str) -> None:
    with pytest.raises(CapabilityError, match=f"{name} needs the capability .* which mute lacks"):
        made(name, Mute({}, name="mute")).rerank(QUERIES[0], HITS)


def test_it_is_documented(name: str) -> None:
    text = parts.load(name).__doc__ or ""
    for section in ("Source:", "Relations:", "Example"):
        assert section in text, f"the docstring of {name} has no {section!r}"
