"""Importance of sources: the planted bad ones are found, left out or played down; others stay."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from passages import Passages
from steelyard.contracts import Hit
from steelyard.errors import UsageError
from steelyard.retrieval.multilinear_extension import Ranking
from steelyard.retrieval.retrieval_data_importance import best_threshold, retrieval_data_importance

HONESTY = {"atlas": 0.9, "journal": 0.85, "diary": 0.8, "rumours": 0.05, "ads": 0.1}


class ShuffledSources(Passages):
    """Ranks all passages by chance, anew for each query; a passage tells the truth or not."""

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        found = []
        for query in queries:
            hits = random.Random(query).sample(
                sorted(self.passages.values(), key=lambda h: h.id), len(self.passages)
            )
            found.append([Hit(h.id, 10.0 - i, h.text, h.source) for i, h in enumerate(hits)][:k])
        return found


def corpus() -> ShuffledSources:
    rng = random.Random(0)
    rows = [
        (f"{s}-{i}", "true" if rng.random() < p else "false", s) for s, p in HONESTY.items() for i in range(10)
    ]
    return ShuffledSources([Hit(name, 0.0, text, source) for name, text, source in rows])


def truth(number: int, hit: Hit) -> float:
    return float(hit.text == "true")


def accuracy(retriever: ShuffledSources, queries: Sequence[str], k: int) -> float:
    return float(np.mean([truth(0, hit) for hits in retriever.search(queries, k) for hit in hits]))


VALIDATION, HELD = [f"validation {i}" for i in range(40)], [f"held {i}" for i in range(60)]


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_pruning_finds_the_planted_sources_and_raises_held_out_utility(epsilon: float) -> None:
    inside = corpus()
    found = retrieval_data_importance(inside, VALIDATION, truth, k=3, depth=15, epsilon=epsilon)
    weights = found.weights  # type: ignore[attr-defined]
    assert weights["rumours"] == weights["ads"] == min(weights.values())
    assert max(weights.values()) > 0.9
    hits = found.search(HELD, 5)
    assert all(len(each) == 5 for each in hits)
    assert {hit.source for each in hits for hit in each} <= {"atlas", "journal", "diary"}
    assert accuracy(found, HELD, 3) > accuracy(inside, HELD, 3) + 0.2  # type: ignore[arg-type]


def test_pruned_results_are_the_inner_ones_without_the_pruned() -> None:
    inside = corpus()
    found = retrieval_data_importance(inside, VALIDATION, truth, k=3, depth=15)
    for query in HELD[:5]:
        kept = [h for h in inside.search([query], 50)[0] if h.source not in ("rumours", "ads")]
        allowed = {name for name, w in found.weights.items() if w >= found.settings.threshold}  # type: ignore[attr-defined]
        assert found.search([query], 30)[0] == [h for h in kept if h.source in allowed][:30]


def test_reweighting_multiplies_scores() -> None:
    inside = corpus()
    found = retrieval_data_importance(inside, VALIDATION, truth, k=3, depth=15, use="reweight")
    weights = found.weights  # type: ignore[attr-defined]
    expected = sorted((-h.score * weights[h.source], h.id) for h in inside.search(["q"], 10)[0] if h.score > 0)
    assert [-h.score for h in found.search(["q"], 3)[0]] == pytest.approx([score for score, _ in expected[:3]])


def test_single_passages_may_have_weights_and_unseen_ones_stay() -> None:
    inside = corpus()
    found = retrieval_data_importance(inside, VALIDATION, truth, k=3, depth=15, unit="passage")
    weights = found.weights  # type: ignore[attr-defined]
    liars = [w for name, w in weights.items() if inside.passages[name].text == "false"]
    honest = [w for name, w in weights.items() if inside.passages[name].text == "true"]
    assert max(liars) < np.median(honest)
    found.add([Hit("new", 0.0, "unknown", "elsewhere")])
    assert "new" in {hit.id for hit in found.search(["q"], 100)[0]}
    found.delete(["new"])
    assert "new" not in {hit.id for hit in found.search(["q"], 100)[0]}


def test_nothing_is_pruned_where_that_does_not_help() -> None:
    rankings = [Ranking(np.array([0, 1, 2]), np.array([1.0, 1.0, 1.0]))]
    assert best_threshold(rankings, np.array([0.2, 0.5, 0.9]), 3) == 0.2
    rankings = [Ranking(np.array([0, 1, 2]), np.array([0.0, 1.0, 1.0]))]
    assert best_threshold(rankings, np.array([0.2, 0.5, 0.9]), 1) == 0.5


def test_the_fingerprint_covers_weights_and_content() -> None:
    prints = {
        retrieval_data_importance(corpus(), VALIDATION[:9], truth, k=2, depth=9, use=use, unit=unit).fingerprint  # type: ignore
        for unit in ("source", "passage")
        for use in ("prune", "reweight")
    }
    assert len(prints) == 4
    inside = corpus()
    found = retrieval_data_importance(inside, VALIDATION, truth, k=2, depth=9)
    first = found.fingerprint  # type: ignore[attr-defined]
    inside.delete(["atlas-0"])
    assert found.fingerprint != first  # type: ignore[attr-defined]


def test_what_cannot_be_learned_is_said() -> None:
    with pytest.raises(UsageError, match="at least k"):
        retrieval_data_importance(corpus(), VALIDATION, truth, k=5, depth=4)
    with pytest.raises(UsageError, match="find nothing"):
        retrieval_data_importance(ShuffledSources(), VALIDATION, truth)
