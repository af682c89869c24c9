from __future__ import annotations

import math
import random
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.candidates import ndcg
from retrieval.rerankers.token_by_token import logprob
from steelyard.contracts import Hit
from steelyard.errors import CapabilityError
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.rerankers.instupr import POINTWISE, RATINGS, expected_rating, instupr, preference


def test_ratings_are_the_explicit_expectation(model: Any) -> None:
    hits = [Hit("a", 2.0, "The quick fox"), Hit("b", 1.0, "Paris")]
    found = {hit.id: hit.score for hit in instupr(model, pairwise=0).rerank("dogs", hits)}
    for hit in hits:
        context = POINTWISE.format(passage=hit.text, query="dogs")
        chances = [math.exp(logprob(model, context, f" {rating}")[0]) for rating in RATINGS]
        expected = sum(k * p for k, p in enumerate(chances, start=1)) / sum(chances)
        assert found[hit.id] == pytest.approx(expected, abs=1e-4)


@given(st.floats(0, 1), st.floats(0, 1))
def test_preferences_are_exactly_antisymmetric(straight: float, turned: float) -> None:
    assert preference(straight, turned) + preference(turned, straight) == 1.0
    assert preference(straight, turned) == pytest.approx((straight + 1 - turned) / 2)


def test_soft_ratings_break_ties_that_hard_ones_leave() -> None:
    sure, unsure = [-9.0, -9.0, -9.0, -9.0, -0.1], [-9.0, -9.0, -1.0, -1.1, -0.9]
    assert expected_rating(sure) > expected_rating(unsure)
    assert expected_rating([-1e4, -2e4, -1e4, -1e4, -1e4]) == pytest.approx(3.25)

    def rates(context: str, rating: str) -> float:
        return (sure if "sure" in context.split("Passage:")[1] else unsure)[int(rating) - 1]

    hits = [Hit("unsure", 2.0, "doubt"), Hit("sure", 1.0, "sure")]
    rater = ScriptedModel(scores=rates)
    assert [hit.id for hit in instupr(rater, pairwise=0, soft=False).rerank("q", hits)] == ["unsure", "sure"]
    assert [hit.id for hit in instupr(rater, pairwise=0).rerank("q", hits)] == ["sure", "unsure"]


def noise(*key: Any) -> float:
    return random.Random(repr(key)).gauss(0.0, 1.0)


def noisy_rater(context: str, label: str) -> float:
    """Sees a passage's worth (0 to 1) through noise: more of it for a rating than for a comparison."""
    worth = [float(number) for number in re.findall(r"worth (\S+)", context)]
    query = context.split("Query:")[1][:6]
    if len(worth) == 1:
        seen = 1 + 4 * worth[0] + 1.2 * noise(query, worth[0])
        return -((int(label) - seen) ** 2) / 2
    gap = 8 * (worth[0] - worth[1]) + noise(query, *worth) + 0.3
    return -math.log1p(math.exp(-gap if label.strip() == "A" else gap))


def test_soft_beats_hard_and_pairs_beat_ratings_under_known_noise() -> None:
    rater, queries = ScriptedModel(scores=noisy_rater), [f"q{n}" for n in range(40)]
    lists, grades = [], {}
    for query in queries:
        worth = random.Random(query).sample(range(100), 12)
        lists.append([Hit(f"d{n}", 0.0, f"worth {n / 100}") for n in worth])
        grades[query] = {f"d{n}": n // 25 for n in worth}

    def quality(**settings: Any) -> float:
        hits = instupr(rater, **settings).rerank_all(queries, lists)
        ids = {query: [hit.id for hit in each] for query, each in zip(queries, hits, strict=True)}
        return float(np.mean(ndcg(grades, ids)))

    hard, soft, pairs = quality(pairwise=0, soft=False), quality(pairwise=0), quality(pairwise=12)
    assert hard < soft < pairs


def test_only_the_best_are_compared_and_stay_in_front() -> None:
    hits = [Hit(f"d{n}", 0.0, f"worth {n / 10}") for n in range(6)]

    def scores(context: str, label: str) -> float:
        worth = [float(number) for number in re.findall(r"worth (\S+)", context)]
        if len(worth) == 1:
            return -abs(int(label) - (1 + 4 * worth[0]))
        return 0.0 if (label.strip() == "A") == (worth[0] < worth[1]) else -3.0  # comparisons say the contrary

    result = instupr(ScriptedModel(scores=scores), pairwise=3).run(["q"], [hits])
    assert [hit.id for hit in result.hits[0]] == ["d3", "d4", "d5", "d2", "d1", "d0"]
    assert all(5 <= hit.score <= 6 for hit in result.hits[0][:3])
    assert all(1 <= hit.score <= 5 for hit in result.hits[0][3:])
    assert result.cost.requests == 6 * 5 + 3 * 2 * 2


def test_a_model_without_scores_is_refused() -> None:
    with pytest.raises(CapabilityError, match="instupr needs the capability 'score'"):
        instupr(ScriptedModel({})).rerank("q", [Hit("a", 1.0, "text")])
