"""Examples by likeness: against cosines computed one by one, BM25, Borda counts, and random draws by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from passages import Bm25Retriever
from steelyard.contracts import Example
from steelyard.errors import UsageError
from steelyard.retrieval.icl_example_retrieval import ExampleChooser, borda, icl_example_retrieval

POOL = [Example(f"source no{i} {'river' if i % 3 else 'mountain'}", f"ziel {i}") for i in range(40)]
QUERIES = ["source no7 river", "a mountain", "something else", ""]


class HashEmbedder:
    """A random unit vector for each text, always the same one."""

    def embed(self, texts: Sequence[str], role: str = "document") -> np.ndarray:
        rows = [
            np.random.default_rng(int(hashlib.md5(text.encode()).hexdigest()[:8], 16)).normal(size=16)
            for text in texts
        ]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32).reshape(len(texts), 16)


def cosine(first: str, second: str) -> float:
    a, b = HashEmbedder().embed([first, second]).astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def chooser(**settings: Any) -> ExampleChooser:
    return icl_example_retrieval(POOL, **settings)


@pytest.mark.parametrize(("side", "share"), [("source", 1.0), ("target", 0.0), ("mix", 0.3)])
def test_neighbours_are_those_of_the_cosine(side: str, share: float) -> None:
    chosen = chooser(embedder=HashEmbedder(), k=6, side=side, alpha=0.3).choose(QUERIES)
    for query, examples in zip(QUERIES, chosen, strict=True):
        likeness = [share * cosine(e.prompt, query) + (1 - share) * cosine(e.answer, query) for e in POOL]
        best = sorted(range(len(POOL)), key=lambda i: -likeness[i])[:6]
        assert examples == [POOL[i] for i in reversed(best)]


def test_words_choose_through_a_retriever_and_the_best_comes_last() -> None:
    chosen = chooser(retriever=Bm25Retriever(), k=3).choose(QUERIES)
    assert chosen[0][-1] == POOL[7]
    assert all("mountain" in example.prompt for example in chosen[1])
    assert chosen[3] == []


def test_both_are_merged_by_borda_count() -> None:
    both = chooser(embedder=HashEmbedder(), retriever=Bm25Retriever(), k=4)
    near = chooser(embedder=HashEmbedder(), k=4).orders(QUERIES)
    worded = chooser(retriever=Bm25Retriever(), k=4).orders(QUERIES)
    assert both.orders(QUERIES) == [borda(lists, 4) for lists in zip(near, worded, strict=True)]
    assert borda([[1, 2], [3, 1]], 2) == [1, 3]  # 1 has 2 + 1 points, 3 has 2, 2 has 1


def test_random_examples_repeat_by_seed_and_differ_by_query() -> None:
    first, again, other = (chooser(k=5, seed=seed).orders(["a", "b"]) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first[0] != first[1]
    assert len(set(first[0])) == 5
    assert len(icl_example_retrieval(POOL[:2], k=5).choose(["a"])[0]) == 2


def test_what_cannot_be_chosen_is_said() -> None:
    with pytest.raises(UsageError, match="no examples"):
        icl_example_retrieval([])
    with pytest.raises(UsageError, match="embedder"):
        chooser(retriever=Bm25Retriever(), side="target")
