from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from steelyard.contracts import Hit
from steelyard.errors import InputError, UsageError
from steelyard.evaluation.benchmarks.search.judged_queries import read_judged
from steelyard.evaluation.benchmarks.search.retrieval_metrics import (
    RerankedSearch,
    query_values,
    retrieval_metrics,
)
from steelyard.evaluation.recorded_comparison import compare_recorded
from steelyard.evaluation.significance import permutation_test
from steelyard.evaluation.verb import evaluate_any
from steelyard.retrieval.index.settings import IndexSettings
from steelyard.retrieval.verb import index

FIXTURES = Path(__file__).parents[1] / "fixtures" / "search"


class Found:
    """A retriever whose hits are given."""

    def __init__(self, hits: dict[str, list[Hit]]) -> None:
        self.hits = hits

    def add(self, documents: object) -> None: ...
    def delete(self, ids: object) -> None: ...

    def search(self, queries: list[str], k: int = 10) -> list[list[Hit]]:
        return [self.hits.get(query, [])[:k] for query in queries]


def test_values_by_hand() -> None:
    grades = {"q": {"a": 2, "b": 1, "c": 0, "d": 1}, "none": {"a": 1}}
    values = query_values(grades, {"q": ["c", "b", "x", "a"]}, k=3, depth=4)
    best = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert values["q"] == pytest.approx(
        {"ndcg@3": (1 / math.log2(3)) / best, "mrr": 1 / 2, "recall@3": 1 / 3, "success@3": 1.0, "recall@4": 2 / 3}
    )
    assert set(values["none"].values()) == {0.0}


def test_a_document_counts_at_its_best_passage_and_order_decides_ties() -> None:
    hits = [Hit("p1", 1.0, "", metadata={"_id": "d3"}), Hit("p2", 1.0, "", metadata={"_id": "d3"})]
    hits += [Hit("p3", 1.0, "", metadata={"_id": "d1"})]
    found = retrieval_metrics([Found({"wings in a slipstream": hits})], data=str(FIXTURES), k=2)
    own = {item.id: item for item in found.items}
    assert own["1"].prediction == "d3 d1"
    assert own["1"].values["ndcg@2"] == pytest.approx((1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3)))
    assert own["2"].values["mrr"] == 0.0
    assert found.notes[0] == "1 queries have no relevant document and were left out."


def test_retrievers_are_compared_in_pairs_with_correction(tmp_path: Path) -> None:
    grades = {f"q{i}": f"text {i}" for i in range(8)}
    (tmp_path / "queries.jsonl").write_text(
        "\n".join(f'{{"_id": "{name}", "text": "{text}"}}' for name, text in grades.items())
    )
    (tmp_path / "qrels.txt").write_text("\n".join(f"{name} 0 good 1" for name in grades))
    good, bad = Hit("good", 1.0, ""), Hit("bad", 1.0, "")
    first = Found({text: [good, bad] for text in grades.values()})
    second = Found({text: [bad, good] for text in grades.values()})
    third = Found({text: [bad, good] for text in grades.values()})
    found = retrieval_metrics([first, second, third], data=str(tmp_path))
    rows = found.tables[1].rows
    assert rows[0][:2] == ("retriever 1", "retriever 2")
    p = permutation_test([1 - 1 / math.log2(3)] * 8)
    assert [row[3] for row in rows] == pytest.approx([3 * p, 3 * p, 1.0], rel=1e-3)
    assert "retriever 1 ranks better than retriever 2" in found.notes[0]
    assert found.notes[-1].startswith("No difference between retriever 2 and retriever 3 is shown")


def test_trec_and_beir_say_the_same(tmp_path: Path) -> None:
    trec, table = tmp_path / "qrels.txt", tmp_path / "queries.tsv"
    trec.write_text("1 0 d1 2\n1 0 d3 1\n2\t0\td2\t1\n2 0 d1 0\n")
    table.write_text("1\twings in a slipstream\n2\theat in slabs\n3\ttides\n")
    assert read_judged(None, str(table), str(trec)) == read_judged(str(FIXTURES), "", "")


@pytest.mark.parametrize(
    ("qrels", "problem"),
    [
        ("query-id\tcorpus-id\tscore\n1\td1\tyes", r"qrels:2: a judgement has query-id"),
        ("1 0 d1", "a judgement has query, iteration"),
        ("9 0 d1 1", "judges query '9', which"),
        ("1 0 d1 0", "no query has a relevant document"),
        ("1 0 d1 1\n1 0 d1 1", "judged twice"),
    ],
)
def test_damaged_judgements_are_refused(tmp_path: Path, qrels: str, problem: str) -> None:
    (tmp_path / "qrels").write_text(qrels)
    with pytest.raises(InputError, match=problem):
        read_judged(None, str(FIXTURES / "queries.jsonl"), str(tmp_path / "qrels"))


def test_documents_that_cannot_be_told_are_an_error() -> None:
    stray = Found({"wings in a slipstream": [Hit("x", 1.0, "", source="y")]})
    with pytest.raises(InputError, match="say what names documents as document=FIELD"):
        retrieval_metrics([stray], data=str(FIXTURES))
    with pytest.raises(UsageError, match="data=FOLDER"):
        retrieval_metrics([stray])
    with pytest.raises(UsageError, match="depth=5 passages are fewer"):
        retrieval_metrics([stray], data=str(FIXTURES), depth=5)


@pytest.fixture
def search_index(tmp_path: Path) -> Callable[[str], str]:
    def made(name: str) -> str:
        index(FIXTURES / "corpus.jsonl", tmp_path / name, IndexSettings())
        return str(tmp_path / name)

    return made


def test_two_runs_can_be_compared(search_index: Callable[[str], str]) -> None:
    folder = search_index("cran.index")
    task = f"retrieval-metrics:data={FIXTURES},k=2"
    one = evaluate_any(folder, f"{task},retrievers=[lexical]")
    two = evaluate_any(folder, f'{task},retrievers=["lexical:k1=0", lexical]')
    assert one.measurement.values["success@2"].value == 1.0  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="measured several; say which"):
        compare_recorded(one.run_id, two.run_id)
    record = compare_recorded(one.run_id, f"{two.run_id}:lexical:k1=0", metric="mrr", samples=True)
    assert record["n"] == 2
    assert record["task"]["name"] == "retrieval-metrics"
    assert record["samples"][0]["prompt"] == "wings in a slipstream"
    with pytest.raises(UsageError, match="did not measure 'lexicl'; did you mean 'lexical'"):
        compare_recorded(one.run_id, f"{two.run_id}:lexicl")


def test_models_are_not_searched(tiny_folder: Path) -> None:
    from steelyard.models.loading import load_model

    with pytest.raises(UsageError, match="measures index folders and system files, not models"):
        evaluate_any(load_model(str(tiny_folder)), f"retrieval-metrics:data={FIXTURES}")
    with pytest.raises(UsageError, match="takes more than an index"):
        retrieval_metrics(["x.index"], data=str(FIXTURES), retrievers=["lamer"])


class Backwards:
    """Puts hits into the opposite order."""

    def rerank(self, query: str, hits: list[Hit]) -> list[Hit]:
        return hits[::-1]


def test_a_reranker_orders_the_first_candidates() -> None:
    hits = [Hit(name, 0.0, "") for name in "abcd"]
    search = RerankedSearch(Found({"q": hits, "one": hits[:1]}), Backwards(), 3)
    found = search.search(["q", "one", "none"], 4)
    assert [[hit.id for hit in each] for each in found] == [["c", "b", "a", "d"], ["a"], []]
    assert [hit.id for hit in search.search(["q"], 1)[0]] == ["c"]


def test_a_system_file_is_measured_by_what_it_retrieves(
    search_index: Callable[[str], str], tmp_path: Path, tiny_folder: Path
) -> None:
    folder = search_index("own.index")
    (tmp_path / "system.yaml").write_text(
        f"model: {tiny_folder}\nground: {{index: {folder}, retriever: lexical, k: 1}}\nprompt: {{style: plain}}\n"
    )
    system = retrieval_metrics([tmp_path / "system.yaml"], data=str(FIXTURES), k=2)
    alone = retrieval_metrics([folder], data=str(FIXTURES), k=2, retrievers=["lexical"])
    assert system.values == alone.values
    (tmp_path / "bare.yaml").write_text(f"model: {tiny_folder}\n")
    with pytest.raises(UsageError, match="has no documents to search"):
        retrieval_metrics([tmp_path / "bare.yaml"], data=str(FIXTURES))
