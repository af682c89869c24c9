"""The index as a set of passages: it equals a dictionary, whatever is added, deleted and merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.word_embedder import WordEmbedder
from steelyard.contracts import Hit
from steelyard.errors import InputError, UsageError
from steelyard.retrieval.index import writer as writer_module
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.filters import AllOf, AnyOf, Condition, Filter, parse
from steelyard.retrieval.index.manifest import FILE, SegmentEntry, read_manifest
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions, Storage
from steelyard.retrieval.index.vectors import Graph, Vectors, exact_search
from steelyard.retrieval.index.writer import open_writer, to_merge

PLAIN = IndexSettings(language="none")
DENSE = IndexSettings(language="none", embedder="words")

IDS = st.sampled_from("abcdefgh")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.lists(st.tuples(IDS, st.sampled_from(["x y", "x z", "y", "x x y z"])), max_size=4)
        ),
        st.tuples(st.just("delete"), st.lists(IDS, max_size=3)),
        st.tuples(st.just("document"), st.sampled_from(["s0", "s1"])),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_it_equals_a_dictionary(tmp_path_factory: Any, steps: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("i") / "i"
    index, expected = DocumentIndex(folder, DENSE, WordEmbedder()), {}
    patched = pytest.MonkeyPatch()
    patched.setattr(writer_module, "MERGE_AT", 3)
    with patched.context():
        for n, (step, what) in enumerate(steps):
            with open_writer(folder, DENSE, WordEmbedder()) as writer:
                if step == "add":
                    hits = [Hit(i, 0.0, text, f"s{n % 2}", n, n + 1, {"n": n}) for i, text in what]
                    writer.add(hits)
                    expected.update((hit.id, hit) for hit in hits)
                elif step == "delete":
                    writer.delete(what)
                    expected = {i: hit for i, hit in expected.items() if i not in what}
                else:
                    writer.delete_document(what)
                    expected = {i: hit for i, hit in expected.items() if hit.source != what}
    patched.undo()
    fresh = DocumentIndex(tmp_path_factory.mktemp("f") / "f", DENSE, WordEmbedder())
    fresh.add(list(expected.values()))
    if not (folder / FILE).exists():
        return
    for options in (SearchOptions("lexical"), SearchOptions("dense")):
        index.options = fresh.options = options
        mine, theirs = index.search(["x y"], 20)[0], fresh.search(["x y"], 20)[0]
        assert {hit.id: hit.score for hit in mine} == pytest.approx(
            {hit.id: hit.score for hit in theirs}, abs=1e-5
        )
    for hit in mine:
        kept = expected[hit.id]
        assert (hit.text, hit.source, hit.start, hit.end, hit.metadata) == (
            kept.text,
            kept.source,
            kept.start,
            kept.end,
            kept.metadata,
        )


def test_metadata_come_back_and_filter(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"page": 1, "lang": "de", "tags": ["a", "b"], "nested": {"x": [1]}, "none": None, "empty": []},
        {"page": 2.5, "lang": "fr", "true": True},
        {"page": "three", "lang": "de", "tags": ["b"]},
        {},
    ]
    index = DocumentIndex(tmp_path / "i", PLAIN)
    index.add([Hit(str(i), 0.0, "word", f"d{i}.txt", metadata=m) for i, m in enumerate(records)])
    kept = {hit.id: hit.metadata for hit in index.search(["word"])[0]}
    assert kept == {str(i): {k: v for k, v in m.items() if v != []} for i, m in enumerate(records)}

    def found(where: Filter) -> set[str]:
        index.where = where
        return {hit.id for hit in index.search(["word"])[0]}

    assert found(parse("lang=de")) == {"0", "2"}
    assert found(parse("lang!=de")) == {"1", "3"}
    assert found(parse("page >= 2")) == {"1"}
    assert found(parse("page<=1")) == {"0"}
    assert found(parse("tags=b")) == {"0", "2"}
    assert found(parse("lang in [fr, es]")) == {"1"}
    assert found(parse("source=d3.txt")) == {"3"}
    assert found(parse("source!=d3.txt")) == {"0", "1", "2"}
    assert found(Condition("missing", "<", 1)) == set()
    assert found(AllOf((parse("lang=de"), parse("page=1")))) == {"0"}
    assert found(AnyOf((parse("lang=fr"), parse("page=1")))) == {"0", "1"}
    assert found(AnyOf(())) == set()
    assert found(AllOf(())) == {"0", "1", "2", "3"}
    for wrong in ("page", "=3", "lang in de", "a=[", ""):
        with pytest.raises(UsageError, match="condition"):
            parse(wrong)


@pytest.mark.parametrize("storage", ["float32", "int8", "binary"])
def test_dense_search_exact_and_approximate(tmp_path: Path, storage: Storage) -> None:
    random = np.random.default_rng(0)
    raw = random.normal(size=(900, 64)).astype(np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    vectors = Vectors.of(raw, storage)
    asked = raw[:20] + 0.05 * random.normal(size=(20, 64)).astype(np.float32)
    near = exact_search(vectors, asked, 10)
    full = asked @ vectors.decoded(slice(None)).T
    for scored, scores in zip(near, full, strict=True):
        assert scored.scores == pytest.approx(np.sort(scores)[::-1][:10], abs=1e-5)
    assert [int(scored.rows[0]) for scored in near] == list(range(20))
    error = {"float32": 1e-6, "int8": 0.02, "binary": 0.9}[storage]
    assert np.abs(vectors.decoded(slice(None)) - raw).max() < error
    allowed = random.random(900) < 0.5
    few = np.zeros(900, dtype=bool)
    few[[3, 500]] = True
    Graph.write(vectors, tmp_path / "g")
    graph = Graph.open(tmp_path / "g", vectors)
    (tmp_path / "g").unlink()
    for mask in (None, allowed, few):
        exact, approximate = exact_search(vectors, asked, 10, mask), graph.search(asked, 10, mask)
        shared = [len(set(a.rows) & set(b.rows)) / len(a.rows) for a, b in zip(exact, approximate, strict=True)]
        assert np.mean(shared) > 0.9
        assert all(mask is None or mask[scored.rows].all() for scored in approximate)


def test_graphs_are_used_from_a_size_on_and_survive_merges(tmp_path: Path) -> None:
    made = IndexSettings(language="none", embedder="words", approximate_from=50)
    index = DocumentIndex(tmp_path / "i", made, WordEmbedder(), SearchOptions("dense"))
    texts = [f"word{i} word{i % 7}" for i in range(120)]
    index.add([Hit(str(i), 0.0, text) for i, text in enumerate(texts)])
    index.add([Hit("last", 0.0, "something else")])
    assert [part.segment.graph is not None for part in index.snapshot().parts] == [True, False]
    assert [hits[0].id for hits in index.search([texts[5], "something else"], 3)] == ["5", "last"]


def test_hybrid_modes_fuse_both_halves(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path / "i", DENSE, WordEmbedder())
    index.add(
        [Hit("both", 0.0, "red wing"), Hit("word", 0.0, "wing " + "filler " * 30), Hit("none", 0.0, "blue sea")]
    )
    for fusion in ("rrf", "weighted"):
        index.options = SearchOptions(fusion=fusion)
        hits = index.search(["red wing"], 3)[0]
        assert hits[0].id == "both"
        assert {hit.id for hit in hits} == {"both", "word", "none"}
    index.options = SearchOptions(fusion="weighted", dense_weight=1.0)
    weighted = index.search(["red wing"], 3)[0]
    index.options = SearchOptions("dense")
    assert [hit.id for hit in weighted] == [hit.id for hit in index.search(["red wing"], 3)[0]]


def test_known_passages_keep_their_vectors(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    index = DocumentIndex(tmp_path / "i", DENSE, embedder)
    index.add([Hit(str(i), 0.0, f"text {i}", "a") for i in range(10)])
    assert embedder.texts == 10
    with open_writer(tmp_path / "i", embedder=embedder) as writer:
        writer.replace("a", "new", [Hit(str(i), 0.0, f"text {i}", "a", i) for i in range(4, 12)])
    assert embedder.texts == 12
    fresh = DocumentIndex(tmp_path / "f", DENSE, WordEmbedder(), SearchOptions("dense"))
    fresh.add([Hit(str(i), 0.0, f"text {i}", "a", i) for i in range(4, 12)])
    index.options = SearchOptions("dense")
    assert index.search(["text 7"], 20) == fresh.search(["text 7"], 20)


def test_segments_are_merged_by_size(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path / "i", PLAIN)
    for i in range(20):
        index.add([Hit(str(i), 0.0, f"word{i} same")])
    assert len(index.snapshot().parts) <= 2 * 3
    assert len(list((tmp_path / "i" / "segments").iterdir())) == len(index.snapshot().parts)
    assert {hit.id for hit in index.search(["same"], 30)[0]} == {str(i) for i in range(20)}
    half_dead = SegmentEntry("a", 10, 1, "t", 4)
    assert to_merge([half_dead]) == {"a"}
    large = [SegmentEntry(str(i), 200_000, 1, alive=200_000) for i in range(9)]
    assert to_merge(large) == set()


def test_deleting_everything_leaves_an_empty_index(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path / "i", DENSE, WordEmbedder())
    index.add([Hit("a", 0.0, "word")])
    index.delete(["a", "unknown"])
    assert index.search(["word"]) == [[]]
    index.add([Hit("b", 0.0, "word")])
    assert [hit.id for hit in index.search(["word"])[0]] == ["b"]


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no index here"):
        DocumentIndex(tmp_path / "none").search(["a"])
    index = DocumentIndex(tmp_path / "i", PLAIN)
    index.add([Hit("a", 0.0, "word")])
    with pytest.raises(UsageError, match="at least one"):
        index.search(["word"], 0)
    index.options = SearchOptions("dense")
    with pytest.raises(UsageError, match="holds no vectors"):
        index.search(["word"])
    with pytest.raises(UsageError, match="made with language 'none', not 'german'"):
        DocumentIndex(tmp_path / "i", IndexSettings(language="german")).add([Hit("b", 0.0, "Wort")])
    with open_writer(tmp_path / "i"), pytest.raises(UsageError, match="another process is writing"):
        index.delete(["a"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"), open_writer(tmp_path / "full"):
        pass
    narrow = DocumentIndex(tmp_path / "d", DENSE, WordEmbedder())
    narrow.add([Hit("a", 0.0, "word")])
    with pytest.raises(UsageError, match="width 16"):
        DocumentIndex(tmp_path / "d", DENSE, WordEmbedder(8)).add([Hit("b", 0.0, "word")])
    with pytest.raises(UsageError, match="width 16, not 8"):
        DocumentIndex(tmp_path / "d", embedder=WordEmbedder(8)).search(["word"])


def test_damage_is_named(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path / "i", PLAIN)
    index.add([Hit("a", 0.0, "word " * 100), Hit("b", 0.0, "word")])
    index.delete(["b"])
    manifest = tmp_path / "i" / FILE
    (segment,) = (tmp_path / "i" / "segments").iterdir()
    (tombstones,) = (tmp_path / "i" / "tombstones").iterdir()
    for file in (segment, tombstones, manifest):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) - 7])
        with pytest.raises(InputError, match="make the index anew"):
            DocumentIndex(tmp_path / "i").search(["word"])
        file.write_bytes(whole)
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match="has format 99"):
        DocumentIndex(tmp_path / "i").search(["word"])


def test_an_exception_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    def fail_after_a_commit() -> None:
        with open_writer(tmp_path / "i", PLAIN) as writer:
            writer.add([Hit("a", 0.0, "word")])
            writer.commit()
            writer.add([Hit("b", 0.0, "word")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_a_commit()
    assert [hit.id for hit in DocumentIndex(tmp_path / "i").search(["word"])[0]] == ["a"]
    assert read_manifest(tmp_path / "i").generation == 1


def test_the_fingerprint_is_that_of_passages_and_settings(tmp_path: Path) -> None:
    one, two = Hit("a", 0.0, "Wings lift.", "s", 0, 11, {"page": 1}), Hit("b", 0.0, "Wheels roll.")
    together, apart = DocumentIndex(tmp_path / "together"), DocumentIndex(tmp_path / "apart")
    together.add([one, two])
    apart.add([two])
    first = apart.fingerprint
    assert first == apart.fingerprint
    apart.add([one])
    assert apart.fingerprint == together.fingerprint != first
    apart.delete(["a"])
    assert apart.fingerprint == first
    assert DocumentIndex(tmp_path / "apart", options=SearchOptions(k1=2.0)).fingerprint != first
