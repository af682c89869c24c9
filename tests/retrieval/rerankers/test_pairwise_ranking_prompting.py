from __future__ import annotations

import itertools
import logging
import math
import re
from typing import Any

import pytest

from retrieval.rerankers.token_by_token import logprob
from steelyard.contracts import Hit
from steelyard.errors import CapabilityError, ModelError
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.rerankers.pairs import Comparison, label_shares, read_label, share
from steelyard.retrieval.rerankers.pairwise_ranking_prompting import (
    LABELS,
    TEMPLATE,
    pairwise_ranking_prompting,
)
from steelyard.retrieval.rerankers.template import Template

HITS = [Hit(f"d{n}", 1.0 / n, f"worth {n * 7 % 11}") for n in range(1, 9)]
IDEAL = sorted((hit.id for hit in HITS), key=lambda i: -(int(i[1:]) * 7 % 11))


def oracle(context: str, label: str) -> float:
    """Likes the label of the passage that is worth more."""
    first, second = (int(n) for n in re.findall(r"worth (\d+)", context))
    return -0.1 if (label.strip() == "Passage A") == (first > second) else -2.0


def says(context: str) -> str:
    first, second = (int(n) for n in re.findall(r"worth (\d+)", context))
    return " Passage A" if first > second else " Passage B."


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_shares_equal_likelihoods_token_by_token(model: Any) -> None:
    comparison = Comparison("of France", "Paris is the capital", "the lazy dog")
    value = label_shares(model, Template(TEMPLATE), LABELS, [comparison], "score", "prp").values[0]
    context = TEMPLATE.format(query="of France", first="Paris is the capital", second="the lazy dog")
    a, b = (logprob(model, context, f" {label}")[0] for label in LABELS)
    assert value == pytest.approx(math.exp(a) / (math.exp(a) + math.exp(b)), abs=1e-4)


def test_the_order_equals_one_made_of_explicit_comparisons(model: Any) -> None:
    hits = [Hit("a", 3.0, "the quick fox"), Hit("b", 2.0, "Paris"), Hit("c", 1.0, "liquor jugs")]

    def prefers_first(one: Hit, other: Hit) -> bool:
        context = TEMPLATE.format(query="dog", first=one.text, second=other.text)
        a, b = (logprob(model, context, f" {label}")[0] for label in LABELS)
        return a > b

    wins = dict.fromkeys("abc", 0.0)
    for one, other in itertools.combinations(hits, 2):
        straight, turned = prefers_first(one, other), prefers_first(other, one)
        gain = 0.5 if straight == turned else float(straight)
        wins[one.id] += gain
        wins[other.id] += 1 - gain
    result = pairwise_ranking_prompting(model, method="score").rerank("dog", hits)
    assert {hit.id: hit.score for hit in result} == wins


@pytest.mark.parametrize(("aggregation", "passes"), [("all-pairs", 1), ("heapsort", 1), ("sliding", 7)])
@pytest.mark.parametrize("scripted", [ScriptedModel(scores=oracle), ScriptedModel(says)])
def test_an_oracle_gives_the_ideal_order(aggregation: Any, passes: int, scripted: ScriptedModel) -> None:
    result = pairwise_ranking_prompting(scripted, aggregation=aggregation, passes=passes).run(["q"], [HITS])
    assert ids(result.hits[0]) == IDEAL
    assert result.cost.ties == result.cost.unread == 0


def test_calls() -> None:
    n, scripted = len(HITS), ScriptedModel(says)
    assert pairwise_ranking_prompting(scripted).run(["q"], [HITS]).cost.requests == n * (n - 1)
    assert scripted.calls == [("generate", n * (n - 1))]
    three = pairwise_ranking_prompting(scripted, aggregation="sliding", passes=3).run(["q"], [HITS])
    assert three.cost.requests <= 2 * (7 + 6 + 5)
    assert ids(three.hits[0])[:3] == IDEAL[:3]
    heap = pairwise_ranking_prompting(scripted, aggregation="heapsort").run(["q"], [HITS])
    assert heap.cost.requests < 2 * 2 * n * math.log2(n)


def test_two_likelihoods_for_each_question() -> None:
    cost = pairwise_ranking_prompting(ScriptedModel(scores=oracle)).run(["q"], [HITS]).cost
    assert cost.requests == 2 * len(HITS) * (len(HITS) - 1)


def test_a_model_that_likes_a_place_decides_nothing() -> None:
    biased = ScriptedModel(scores=lambda context, label: -1.0 if label.endswith("A") else -2.0)
    result = pairwise_ranking_prompting(biased).run(["q"], [HITS[::-1]])
    assert ids(result.hits[0]) == ids(HITS)  # ties go to the retriever's score, not to the order that came in
    assert result.cost.ties == 28


def test_unreadable_answers_are_errors_or_counted(caplog: pytest.LogCaptureFixture) -> None:
    mumbling = ScriptedModel(lambda _: "both have their merits")
    with pytest.raises(ModelError, match="none of the model's answers for the query 'q' could be read"):
        pairwise_ranking_prompting(mumbling).rerank("q", HITS)
    with caplog.at_level(logging.WARNING):
        result = pairwise_ranking_prompting(mumbling, unread="keep").run(["q"], [HITS])
    assert result.cost.unread == result.cost.requests == 56
    assert "56 of 56 answers could not be read" in caplog.text
    half = ScriptedModel(lambda text: says(text) if "worth 7" in text else "?")
    assert 0 < pairwise_ranking_prompting(half).run(["q"], [HITS]).cost.unread < 56


def test_scoring_that_a_model_lacks_is_an_error() -> None:
    with pytest.raises(CapabilityError, match="needs the capability 'score', which scripted lacks"):
        pairwise_ranking_prompting(ScriptedModel(says), method="score").rerank("q", HITS)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" Passage A", 0),
        ("passage b", 1),
        ("B", 1),
        ("(A)", 0),
        ("**B.**", 1),
        ("Passage A or Passage B", None),
        ("", None),
        ("a passage", None),
        ("A good question", None),
        ("Passage Alpha", None),
    ],
)
def test_labels_are_read(text: str, number: int | None) -> None:
    assert read_label(text, LABELS) == number


def test_shares_are_antisymmetric() -> None:
    for a, b in [(-1.0, -2.0), (-1e-9, -700.0), (-3.3, -3.3000001), (0.0, -1e5)]:
        assert share(a, b) + share(b, a) == 1.0
        assert share(a, b) > 0.5
