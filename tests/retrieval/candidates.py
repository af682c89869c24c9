"""Candidates for rerankers: what BM25 finds for judged queries of Cranfield and CISI, and grades of orders."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retrieval.judged import collection
from steelyard.contracts import Hit, Interval
from steelyard.evaluation.statistics import mean_interval, paired_difference
from steelyard.retrieval.rerankers.template import first_words

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEELYARD_DATA", ROOT.parent / "shared" / "data"))
COLLECTIONS = ("cranfield", "cisi")
SHUFFLES = 50


class BM25:
    """bm25s' Lucene variant over one collection, as a retriever."""

    def __init__(self, passages: Sequence[Hit]) -> None:
        import bm25s
        import Stemmer

        self.passages = list(passages)
        self.stemmer = Stemmer.Stemmer("english")
        self.index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        self.index.index(self.tokens([hit.text for hit in passages]), show_progress=False)

    def tokens(self, texts: Sequence[str]) -> Any:
        import bm25s

        return bm25s.tokenize(list(texts), stopwords="en", stemmer=self.stemmer, show_progress=False)

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        found = self.index.retrieve(self.tokens(queries), k=k, show_progress=False)
        return [
            [replace(self.passages[number], score=score) for number, score in zip(numbers, scores, strict=True)]
            for numbers, scores in zip(found.documents.tolist(), found.scores.tolist(), strict=True)
        ]

    def add(self, documents: Sequence[Hit]) -> None:
        raise NotImplementedError("fixed when it is made")

    def delete(self, ids: Sequence[str]) -> None:
        raise NotImplementedError("fixed when it is made")


def ndcg(grades: Mapping[str, Mapping[str, int]], ids: Mapping[str, Sequence[str]], k: int = 10) -> np.ndarray:
    """nDCG@k of each query of ``ids`` by ir-measures; ``ids`` are best first."""
    import ir_measures

    judged = [ir_measures.Qrel(query, passage, grade) for query in ids for passage, grade in grades[query].items()]
    run = [
        ir_measures.ScoredDoc(query, passage, -float(place))
        for query, each in ids.items()
        for place, passage in enumerate(each)
    ]
    values = {one.query_id: one.value for one in ir_measures.iter_calc([ir_measures.nDCG @ k], judged, run)}
    return np.array([values[query] for query in ids])


def random_orders(
    grades: Mapping[str, Mapping[str, int]], ids: Mapping[str, Sequence[str]], shuffles: int = SHUFFLES
) -> np.ndarray:
    """nDCG@10 of each query in random order, the mean over ``shuffles`` seeded orders."""
    return np.mean(
        [
            ndcg(grades, {query: random.Random(seed).sample(list(each), len(each)) for query, each in ids.items()})
            for seed in range(shuffles)
        ],
        axis=0,
    )


class Compared(NamedTuple):
    """nDCG@10 of each query for several orders of the same candidates, over all collections."""

    values: dict[str, np.ndarray]

    def mean(self, order: str) -> Interval:
        return mean_interval(self.values[order], bounds=(0.0, 1.0))

    def means(self) -> dict[str, Interval]:
        return {f"nDCG@10 {order}": self.mean(order) for order in self.values}

    def gain(self, order: str, over: str) -> Interval:
        return paired_difference(self.values[order], self.values[over])


class Candidates(NamedTuple):
    """Some queries of one collection with hits for each; ``passages`` are all that could have been found."""

    grades: dict[str, dict[str, int]]
    passages: list[Hit]
    queries: dict[str, str]
    hits: list[list[Hit]]

    def ids(self, hits: Sequence[Sequence[Hit]]) -> dict[str, list[str]]:
        return {query: [hit.id for hit in each] for query, each in zip(self.queries, hits, strict=True)}

    def reranked(self, reranker: Any) -> list[list[Hit]]:
        return reranker.rerank_all(list(self.queries.values()), self.hits)


def candidates(name: str, queries: int, k: int, data: Path = DATA) -> Candidates:
    """The first ``queries`` judged queries of a collection with BM25's ``k`` best passages."""
    judged = collection(data / name)
    asked = [query for query in judged.queries if any(judged.grades[query].values())][:queries]
    chosen = {query: judged.queries[query].strip(" .\n") for query in asked}
    passages = [Hit(id, 0.0, text) for id, text in judged.documents.items()]
    return Candidates(judged.grades, passages, chosen, BM25(passages).search(list(chosen.values()), k))


Rerank = Callable[[Candidates], Sequence[Sequence[Hit]]]
QUERIES, WORDS = 5, 40
"""Queries of each collection, and words shown of a passage: minutes on a busy core."""


def facts(k: int, words: int = WORDS) -> dict[str, str]:
    """What evidence says of model and data."""
    return {
        "model": "SmolLM2-135M-Instruct",
        "data": f"Cranfield and CISI, {QUERIES} judged queries each, BM25's {k} best, {words} words shown of each",
        "seeds": f"random orders: 0 to {SHUFFLES - 1}",
    }


def planted(queries: int = 2 * QUERIES, k: int = 10, words: int = WORDS, data: Path = DATA) -> Candidates:
    """Questions of XQuAD, each with its paragraph among others drawn at random; seed 0.

    Only questions whose answer stands among the first ``words`` words, since no more is shown.
    """
    articles = json.loads((data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [(a, p) for a, article in enumerate(articles) for p in article["paragraphs"]]
    draw = random.Random(0)
    asked, grades, hits = {}, {}, []
    for number in draw.sample(range(len(paragraphs)), len(paragraphs)):
        article, paragraph = paragraphs[number]
        shown = first_words(paragraph["context"], words)
        fits = [q for q in paragraph["qas"] if q["answers"][0]["answer_start"] + 20 < len(shown)]
        if not fits or len(asked) == queries:
            continue
        others = [n for n, (other, _) in enumerate(paragraphs) if other != article]
        places = [number, *draw.sample(others, k - 1)]
        draw.shuffle(places)
        asked[fits[0]["id"]] = fits[0]["question"]
        grades[fits[0]["id"]] = {str(number): 1}
        hits.append([Hit(str(n), 0.0, paragraphs[n][1]["context"]) for n in places])
    return Candidates(grades, [], asked, hits)


def compare(orders: Mapping[str, Rerank], *, k: int = 10, given: Sequence[Candidates] = ()) -> Compared:
    """The order given, random order and ``orders`` on the same candidates, BM25's where none are ``given``."""
    values: dict[str, list[np.ndarray]] = {}
    for one in given or [candidates(name, QUERIES, k) for name in COLLECTIONS]:
        grades = one.grades
        values.setdefault("given" if given else "bm25", []).append(ndcg(grades, one.ids(one.hits)))
        values.setdefault("random", []).append(random_orders(grades, one.ids(one.hits)))
        for order, rerank in orders.items():
            values.setdefault(order, []).append(ndcg(grades, one.ids(rerank(one))))
    return Compared({order: np.concatenate(parts) for order, parts in values.items()})
