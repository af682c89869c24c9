"""Every registered retriever keeps its contract: passages go in, are replaced, go out, and are found in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.rows import registered, rows
from retrieval.word_embedder import WordEmbedder
from steelyard import parts
from steelyard.contracts import Hit, Retriever
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions

ROWS = rows("retriever")
PASSAGES = [
    Hit("wing", 0.0, "the red wing lifts the plane", "a.md", 10, 38, {"page": 1}),
    Hit("sea", 0.0, "the blue sea is calm today", "b.md", 0, 26, {"page": 2}),
    Hit("wheel", 0.0, "wheels roll on the runway", "b.md", 30, 55),
]


def test_every_retriever_has_a_row() -> None:
    assert set(ROWS) == registered("retriever")


@pytest.fixture(params=sorted(ROWS))
def retriever(request: pytest.FixtureRequest, tmp_path: Path) -> Retriever:
    """The part over a small index with vectors, given whatever it takes by position."""
    embedder = WordEmbedder()
    made = DocumentIndex(tmp_path / "i", IndexSettings(embedder="words"), embedder)
    made.add(PASSAGES)
    offered: dict[str, Any] = {
        "index": tmp_path / "i",
        "embedder": embedder,
        "retriever": DocumentIndex(tmp_path / "i", embedder=embedder, options=SearchOptions("lexical")),
        "model": ScriptedModel(lambda prompt: 'It says "so".'),
        "queries": ["red wing", "calm sea"],
        "contribution": lambda number, hit: 1.0,
    }
    function = parts.load(request.param)
    given = [offered[name] for name in parts.inputs_of(function)]
    found: Retriever = function(*given, **parts.validate(request.param, ROWS[request.param]))
    return found


def test_results_are_whole_passages_best_first(retriever: Retriever) -> None:
    results = retriever.search(["red wing", "calm sea"], k=2)
    assert [hits[0].id for hits in results] == ["wing", "sea"]
    for hits in results:
        assert len(hits) <= 2
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len({hit.id for hit in hits}) == len(hits)
    best = results[0][0]
    assert (best.text, best.source, best.start, best.end, best.metadata) == (
        PASSAGES[0].text,
        "a.md",
        10,
        38,
        {"page": 1},
    )


def test_results_do_not_depend_on_other_queries(retriever: Retriever) -> None:
    queries = ["red wing", "calm sea", "wheels", "unknown"]
    together = retriever.search(queries, k=3)
    for query, hits in zip(queries, together, strict=True):
        alone = retriever.search([query], k=3)[0]
        assert [hit.id for hit in alone] == [hit.id for hit in hits]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-6)
    assert retriever.search([]) == []


def test_passages_are_replaced_and_forgotten(retriever: Retriever) -> None:
    retriever.add([Hit("sea", 0.0, "a green engine hums"), Hit("new", 0.0, "a red engine hums")])
    assert retriever.search(["green engine hums"], k=1)[0][0].text == "a green engine hums"
    found = [hit for hit in retriever.search(["calm sea"], k=10)[0] if hit.id == "sea"]
    assert all(hit.text == "a green engine hums" for hit in found)
    retriever.delete(["sea", "unknown"])
    assert "sea" not in {hit.id for hit in retriever.search(["green engine hums sea"], k=10)[0]}


def test_documentation_names_its_source() -> None:
    for name in ROWS:
        text = parts.load(name).__doc__ or ""
        assert all(word in text for word in ("Source:", "Relations:", "Example"))
