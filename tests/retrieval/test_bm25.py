"""Words: analysis, phrases, and scores equal to bm25s' Lucene variant and to the formula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.judged import collection, ndcg
from steelyard.contracts import Hit
from steelyard.errors import UsageError
from steelyard.retrieval.index.analysis import Analyzer
from steelyard.retrieval.index.bm25 import WeightedTerm, best_rows, norms
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.impacts import impact_list
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions


def passages(texts: list[str]) -> list[Hit]:
    return [Hit(str(i), 0.0, text) for i, text in enumerate(texts)]


def zipfian(count: int, seed: int, words: int = 400) -> list[str]:
    random = np.random.default_rng(seed)
    drawn = random.zipf(1.3, size=(count, 60)) % words
    lengths = random.integers(1, 60, size=count)
    return [" ".join(f"w{n}" for n in row[:length]) for row, length in zip(drawn, lengths, strict=True)]


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (2.0, 1.0)])
def test_scores_equal_bm25s_over_several_segments(tmp_path: Path, k1: float, b: float) -> None:
    import bm25s

    texts, queries = zipfian(600, seed=1), zipfian(40, seed=2)
    index = DocumentIndex(tmp_path / "i", IndexSettings(language="none"), options=SearchOptions(k1=k1, b=b))
    for start in range(0, 600, 200):
        index.add([Hit(str(i), 0.0, texts[i]) for i in range(start, start + 200)])
    assert len(index.snapshot().parts) == 3
    analyzer = Analyzer("none")
    theirs = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64")
    theirs.index([analyzer.terms(text) for text in texts], show_progress=False)
    for query, hits in zip(queries, index.search(queries, k=25), strict=True):
        expected = theirs.get_scores(analyzer.terms(query))
        assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1][:25], abs=1e-6)
        assert [hit.score for hit in hits] == pytest.approx([expected[int(hit.id)] for hit in hits], abs=1e-6)


def test_deleted_passages_leave_no_trace_in_the_scores(tmp_path: Path) -> None:
    texts, queries = zipfian(200, seed=3), zipfian(10, seed=4)
    changed = DocumentIndex(tmp_path / "changed", IndexSettings(language="none"))
    changed.add(passages(texts))
    changed.delete([str(i) for i in range(0, 200, 3)])
    fresh = DocumentIndex(tmp_path / "fresh", IndexSettings(language="none"))
    fresh.add([hit for i, hit in enumerate(passages(texts)) if i % 3])
    for ours, theirs in zip(changed.search(queries, 20), fresh.search(queries, 20), strict=True):
        assert [(hit.id, hit.score) for hit in ours] == [(hit.id, pytest.approx(hit.score)) for hit in theirs]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_pruning_never_changes_the_best(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([1, 7, 60, 5000]))
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    norm = norms(random.integers(1, 50, size=size), 20.0, 1.2, 0.75)
    allowed = random.random(size) < 0.7 if data.draw(st.booleans()) else None
    terms, full = [], np.zeros(size)
    for _ in range(data.draw(st.integers(1, 6))):
        rows = np.flatnonzero(random.random(size) < random.random()).astype(np.int32)
        if not len(rows):
            continue
        counts, weight = random.integers(1, 6, size=len(rows)), float(random.random() * 5)
        full[rows] += weight * counts / (counts + norm[rows])
        terms.append(WeightedTerm(impact_list(rows, counts, norm), weight))
    if not terms:
        return
    if allowed is not None:
        full[~allowed] = 0.0
    k = data.draw(st.integers(1, 10))
    found = best_rows(terms, norm, k, 0.0, allowed)
    expected = np.sort(full[full > 0])[::-1][:k]
    assert found.scores == pytest.approx(expected)
    assert full[found.rows] == pytest.approx(found.scores)


def test_a_score_by_hand(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path / "i", IndexSettings(language="none"))
    index.add(passages(["lift lift drag", "drag", "wing"]))
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    average = 5 / 3
    expected = 2 * idf * 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 3 / average))
    assert index.search(["lift lift"])[0][0].score == pytest.approx(expected)


WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), st.lists(st.sampled_from("abcd"), min_size=1, max_size=4))
def test_phrases_are_words_in_a_row(tmp_path_factory: Any, texts: list[list[str]], phrase: list[str]) -> None:
    index = DocumentIndex(tmp_path_factory.mktemp("i") / "i", IndexSettings(language="none"))
    half = len(texts) // 2
    everything = passages([" ".join(words) for words in texts])
    index.add(everything[:half])
    index.add(everything[half:])
    found = {hit.id for hit in index.search([f'"{" ".join(phrase)}"'], k=20)[0]}
    wanted = f" {' '.join(phrase)} "
    assert found == {hit.id for hit in everything if wanted in f" {hit.text} "}


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("english", "The Runner's RUNNING shoes", ["the", "runner", "run", "shoe"]),
        ("none", "Don’t pay 1,000.50 to e-mail", ["don't", "pay", "1,000.50", "to", "e", "mail"]),
        ("german", "Häuser an Straßen", ["haus", "an", "strass"]),
        ("de", "Häuser", ["haus"]),
        ("none", "東京都庁 へ go", ["東京", "京都", "都庁", "へ", "go"]),
        ("none", "हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("none", "ﬁne ＡＢＣ", ["fine", "abc"]),
        ("none", "", []),
        ("none", "?! —", []),
    ],
)
def test_analysis(language: str, text: str, terms: list[str]) -> None:
    assert Analyzer(language).terms(text) == terms


def test_unknown_languages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'english'"):
        Analyzer("englisch").terms("word")
    with pytest.raises(UsageError, match="no stemmer"):
        DocumentIndex(tmp_path / "i", IndexSettings(language="klingon")).add(passages(["a"]))


def test_queries_without_known_words_find_nothing(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path / "i")
    index.add(passages(["a wing"]))
    assert index.search(["", "?", "unknown", '""', '"wing a"']) == [[], [], [], [], []]
    assert DocumentIndex(tmp_path / "i").search([]) == []


@pytest.mark.parametrize("name", ["cranfield", "cisi"])
def test_judged_collections_equal_bm25s(data: Path, tmp_path: Path, name: str) -> None:
    import bm25s

    documents, queries, grades = collection(data / name)
    index = DocumentIndex(tmp_path / "i", options=SearchOptions(phrases=False))
    index.add([Hit(key, 0.0, text) for key, text in documents.items()])
    analyzer, place = Analyzer("english"), {key: i for i, key in enumerate(documents)}
    theirs = bm25s.BM25(k1=1.2, b=0.75, method="lucene", dtype="float64")
    theirs.index([analyzer.terms(text) for text in documents.values()], show_progress=False)
    mine, other = [], []
    for (key, query), hits in zip(queries.items(), index.search(list(queries.values())), strict=True):
        expected = theirs.get_scores(analyzer.terms(query))
        assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1][:10], abs=1e-6)
        assert [hit.score for hit in hits] == pytest.approx([expected[place[hit.id]] for hit in hits], abs=1e-6)
        best = np.argsort(-expected, kind="stable")[:10]
        mine.append(ndcg([hit.id for hit in hits], grades[key]))
        other.append(ndcg([list(documents)[i] for i in best], grades[key]))
    assert np.mean(mine) == pytest.approx(np.mean(other), abs=1e-6)
    assert np.mean(mine) > 0.3  # a shuffled order is below 0.02
