"""Rerankers through a server: the order of a local model where it shows what they need, an error where not."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard.contracts import Hit
from steelyard.errors import CapabilityError
from steelyard.models.endpoint import EndpointModel
from steelyard.retrieval.rerankers.in_context_reranking import in_context_reranking
from steelyard.retrieval.rerankers.pairwise_ranking_prompting import pairwise_ranking_prompting
from steelyard.retrieval.rerankers.upr import upr
from steelyard.serving.server import serving

HITS = [Hit("a", 3.0, "the quick fox"), Hit("b", 2.0, "Paris"), Hit("c", 1.0, "liquor jugs")]


def test_the_same_order_through_a_server(model: Any) -> None:
    with serving(model) as url:
        remote = EndpointModel(url, model.card.name, retries=0)
        for made in (upr, pairwise_ranking_prompting):
            mine, theirs = made(model).run(["lazy dog"], [HITS]), made(remote).run(["lazy dog"], [HITS])
            assert [hit.id for hit in theirs.hits[0]] == [hit.id for hit in mine.hits[0]]
            assert [hit.score for hit in theirs.hits[0]] == pytest.approx(
                [hit.score for hit in mine.hits[0]], abs=1e-4
            )
            assert theirs.cost.requests == mine.cost.requests
            assert theirs.cost.read_tokens == mine.cost.read_tokens
            assert theirs.cost.passes is None  # a server does not show them
        with pytest.raises(CapabilityError, match="in-context-reranking needs the capability 'weights'"):
            in_context_reranking(remote).rerank("lazy dog", HITS)
