"""The index in PostgreSQL finds what the embedded one finds, with the same scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import steelyard
from retrieval.word_embedder import WordEmbedder
from steelyard.cli.main import app
from steelyard.contracts import Hit
from steelyard.errors import InputError, StoreError, UsageError
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.filters import AllOf, AnyOf, Condition, Filter
from steelyard.retrieval.index.searching import SearchableIndex
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions
from steelyard.retrieval.opening import open_index
from steelyard.retrieval.served.place import ServedPlace
from steelyard.retrieval.served.served_index import ServedIndex
from steelyard.retrieval.served.served_writer import LONGEST_TERM, open_served_writer

SETTINGS = IndexSettings(language="none", embedder="words")
WORDS = IndexSettings(language="none")
OPTIONS = [
    SearchOptions("lexical"),
    SearchOptions("lexical", k1=0.0, b=1.0),
    SearchOptions("lexical", phrases=False),
    SearchOptions("dense"),
    SearchOptions("hybrid", depth=20),
    SearchOptions("hybrid", depth=20, fusion="weighted", dense_weight=0.3),
]
FILTERS: list[Filter | None] = [
    None,
    Condition("n", ">=", 20),
    Condition("n", "in", [1, 2, 3, 5, 8, 13]),
    Condition("tags", "=", "b"),
    Condition("tags", "!=", "b"),
    Condition("half", "<", 7.5),
    Condition("name", ">", "P1"),
    Condition("absent", "=", None),
    Condition("absent", "!=", 1),
    Condition("source", "in", ["s0", "s1"]),
    AnyOf((Condition("n", "=", 4), AllOf((Condition("source", "!=", "s0"), Condition("tags", "=", "a"))))),
    AnyOf(()),
]


def passages(count: int, seed: int) -> list[Hit]:
    random = np.random.default_rng(seed)
    found = []
    for i in range(count):
        drawn = random.zipf(1.4, size=random.integers(3, 25)) % 40
        metadata = {"n": i, "half": i / 2, "tags": [["a"], ["a", "b"], ["c"]][i % 3], "name": f"p{i}"}
        text = " ".join(f"w{n}" for n in drawn)
        found.append(Hit(f"p{i}", 0.0, text, f"s{i % 4}", i, i + 5, metadata if i % 7 else {}))
    return found


def same(mine: list[Hit], theirs: list[Hit]) -> bool:
    """Equal scores in order, and equal passages wherever scores differ from their neighbours'."""
    assert [hit.score for hit in mine] == pytest.approx([hit.score for hit in theirs], abs=1e-6)
    scores = {hit.id: (hit.score, hit.text, hit.source, hit.start, hit.end, hit.metadata) for hit in theirs}
    cut = theirs[-1].score + 1e-6 if theirs else 0.0
    for hit in mine:
        if hit.score > cut:
            assert scores[hit.id] == (
                pytest.approx(hit.score, abs=1e-6),
                hit.text,
                hit.source,
                hit.start,
                hit.end,
                hit.metadata,
            )
    return bool(mine)


@pytest.fixture
def pair(url: str, tmp_path: Path) -> list[SearchableIndex]:
    """A served and an embedded index, changed in the same ways."""
    both: list[SearchableIndex] = [
        ServedIndex(url, SETTINGS, WordEmbedder()),
        DocumentIndex(tmp_path / "i", SETTINGS, WordEmbedder()),
    ]
    for index in both:
        index.add(passages(40, seed=0))
        index.add(passages(20, seed=1))
        index.delete([f"p{i}" for i in range(0, 40, 5)] + ["unknown"])
    return both


def test_it_finds_what_the_embedded_index_finds(pair: list[SearchableIndex]) -> None:
    queries = ["w1 w2 w2 w30", 'w3 "w1 w1" w7', '"w1" w5', "w39", "unknown", "", '"w1 w2 w1"']
    found = 0
    for where in FILTERS:
        for options in OPTIONS if where is None else OPTIONS[:1] + OPTIONS[3:5]:
            for index in pair:
                index.options, index.where = options, where
            mine, theirs = (index.search(queries, k=7) for index in pair)
            found += sum(same(a, b) for a, b in zip(mine, theirs, strict=True))
    assert found > 100
    assert pair[0].fingerprint == pair[1].fingerprint


def test_documents_come_and_go_as_a_whole(url: str) -> None:
    place, embedder = ServedPlace(url), WordEmbedder()
    with open_served_writer(place, SETTINGS, embedder) as writer:
        writer.replace("a.md", "1", [Hit("a1", 0.0, "red wing", "a.md"), Hit("a2", 0.0, "blue sea", "a.md")])
        writer.replace("b.md", "2", [])
    index = ServedIndex(url, embedder=embedder)
    with index.reading() as before, open_served_writer(place, SETTINGS, embedder) as writer:
        assert writer.documents() == {"a.md": "1", "b.md": "2"}
        writer.replace("a.md", "3", [Hit("a1", 0.0, "red wing", "a.md"), Hit("a3", 0.0, "x" * 5000, "a.md")])
        writer.delete_document("b.md")
        writer.commit()
        assert writer.documents() == {"a.md": "3"}
        assert writer.passages == 2
        assert [hit.id for hit in before.living()] == ["a1", "a2"]  # what was there when reading began
    assert embedder.texts == 3  # "red wing" kept its vector
    index.options = SearchOptions("lexical")
    assert [[hit.id for hit in hits] for hits in index.search(["blue", "x" * 5000, "x" * LONGEST_TERM])] == [
        [],
        ["a3"],
        [],
    ]


def test_nothing_of_a_commit_that_fails_is_seen(url: str) -> None:
    index = ServedIndex(url, WORDS)
    index.add([Hit("a", 0.0, "red wing")])
    for broken in ("NUL \0", "half \ud800"):
        with pytest.raises(StoreError):
            index.add([Hit("b", 0.0, "red sea"), Hit("c", 0.0, broken)])
    assert [hit.id for hit in index.search(["red"])[0]] == ["a"]


def test_many_vectors_get_a_graph(url: str) -> None:
    settings = IndexSettings(language="none", embedder="words", approximate_from=50)
    index = ServedIndex(url, settings, WordEmbedder(), SearchOptions("dense"))
    index.add([Hit(str(i), 0.0, f"w{i} w{i % 7}") for i in range(80)])
    with ServedPlace(url).transaction() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(
            "EXPLAIN SELECT 1 FROM passages"
            " ORDER BY embedding <#> (SELECT embedding FROM passages LIMIT 1) LIMIT 3"
        )
        assert "passages_graph" in str(plan.all())
    index.where = Condition("absent", "!=", 1)
    assert [hits[0].id for hits in index.search(["w3 w3", "w41 w6"], k=2)] == ["3", "41"]


def test_wrong_use_is_refused_in_one_line_without_the_password(url: str) -> None:
    index = ServedIndex(url, WORDS)
    with pytest.raises(InputError, match="no index here; make one") as caught:
        index.search(["red"])
    assert "tester" not in str(caught.value)
    index.add([Hit("a", 0.0, "red wing")])
    with pytest.raises(UsageError, match="was made with language 'none', not 'english'"):
        ServedIndex(url, IndexSettings()).add([])
    with pytest.raises(UsageError, match="holds no vectors for dense search"):
        ServedIndex(url, options=SearchOptions("dense")).search(["red"])
    with pytest.raises(UsageError, match="as float32, not int8"):
        ServedIndex(url, IndexSettings(storage="int8")).add([])
    with pytest.raises(UsageError, match="is named by lower-case letters"):
        ServedIndex(url.replace("?index=", "?index=A;")).search(["red"])
    with pytest.raises(StoreError, match="cannot be reached") as refused:
        ServedIndex("postgresql://me:hunter2@127.0.0.1:1/db").search(["red"])
    assert "hunter2" not in str(refused.value)
    for url in ("mysql://me:hunter2@host/db", "sqlite:///file.db"):
        with pytest.raises(UsageError, match="an index cannot live in") as caught_here:
            open_index(url).search(["red"])
        assert "hunter2" not in str(caught_here.value)


def test_verbs_take_a_url(url: str, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "wings.md").write_text("# Wings\n\nThey lift the plane.")
    (docs / "sea.txt").write_text("The sea is blue.")
    for expected in ("2 added, 0 updated, 0 unchanged", "0 added, 0 updated, 2 unchanged"):
        run = CliRunner().invoke(app, ["index", str(docs), "--out", url, "--embedder", "none"])
        assert run.exit_code == 0, run.output
        assert expected in run.output
        assert "tester" not in run.output
    (docs / "sea.txt").unlink()
    assert steelyard.index(docs, url, IndexSettings()).removed == 1
    run = CliRunner().invoke(app, ["search", "lifting", "--index", url, "--json"])
    assert [hit["source"] for hit in json.loads(run.stdout)] == ["wings.md"]
    assert steelyard.search("blue", index=url) == []
