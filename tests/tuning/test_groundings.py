"""Grounding as a dimension of a tune: what is weighed, what is shared, what is handed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import steelyard
from steelyard.contracts import Hit
from steelyard.errors import InputError, UsageError
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.systems.ground_section import GroundSection
from steelyard.systems.system_file import read_system
from steelyard.tuning.candidates import grid
from steelyard.tuning.groundings import Groundings, grounding, grounding_label, grounding_text, groundings

DOCS = Path("handbook")


def test_documents_bring_none_lexical_and_hybrid() -> None:
    assert groundings(None, None, None) == [None]
    found = groundings(None, DOCS, None)
    assert [section and next(iter(section.retriever)) for section in found] == [None, "lexical", "hybrid"]
    assert {section.embedder for section in found if section} == {"minilm"}  # all search the same chunks
    (alone,) = groundings(["lexical"], DOCS, None)
    assert alone is not None
    assert alone.embedder == "none"


def test_an_index_without_vectors_brings_no_hybrid(tmp_path: Path) -> None:
    DocumentIndex(tmp_path / "i").add([Hit("a", 0.0, "x")])
    found = groundings(None, None, tmp_path / "i")
    assert [section and next(iter(section.retriever)) for section in found] == [None, "lexical"]


def test_a_grounding_as_typed() -> None:
    found = grounding("hybrid:k=8,chunk=100,depth=50+upr:passage_words=90", {"docs": "handbook"})
    assert found is not None
    assert (found.k, found.chunk, found.docs) == (8, 100, "handbook")
    assert found.retriever == {"hybrid": {"depth": 50}}
    assert found.reranker == {"upr": {"passage_words": 90}}
    assert grounding_label(found) == "hybrid depth=50 + upr passage_words=90 k=8 chunk=100"
    same = grounding(
        {"retriever": "hybrid:depth=50", "reranker": "upr:passage_words=90", "k": 8, "chunk": 100},
        {"docs": "handbook"},
    )
    assert same == found
    assert grounding(grounding_text(same_entry(found)), {"docs": "handbook"}) == found


def same_entry(section: GroundSection) -> dict[str, Any]:
    return {"retriever": section.retriever, "reranker": section.reranker, "k": section.k, "chunk": section.chunk}


@pytest.mark.parametrize(
    ("entries", "docs", "says"),
    [
        (["lexical"], None, "groundings need documents"),
        (["lexcal"], DOCS, "did you mean 'lexical'"),
        (["lexical+upr+upr"], DOCS, "at most one reranker"),
        (["lexical:k=0"], DOCS, "k: .*greater than 0"),
        ([{"docs": "x"}], DOCS, "documents are named once"),
    ],
)
def test_wrong_groundings_are_refused(entries: list[Any], docs: Path | None, says: str) -> None:
    with pytest.raises((UsageError, InputError), match=says):
        groundings(entries, docs, None)
    with pytest.raises(UsageError, match="not both"):
        groundings(None, DOCS, DOCS)


def test_the_grid_weighs_every_grounding() -> None:
    found = grid(["m"], [()], [], groundings(["none", "lexical:k=2", "none"], DOCS, None))
    assert [candidate.label for candidate in found] == ["m, plain", "m, plain, lexical k=2"]


def test_candidates_search_once_but_are_timed_with_their_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DocumentIndex(tmp_path / "i").add([Hit("a", 0.0, "The store is dry."), Hit("b", 0.0, "The store is old.")])
    searched: list[str] = []
    search = DocumentIndex.search
    monkeypatch.setattr(
        DocumentIndex, "search", lambda self, queries, k=10: searched.extend(queries) or search(self, queries, k)
    )
    section = grounding("lexical+upr", {"index": str(tmp_path / "i")})
    assert section is not None
    shared = Groundings()
    models = [ScriptedModel(lambda _: "dry", name=name, scores=lambda c, t: -float(len(c))) for name in "ab"]
    for model in models:
        shared.measured(model, section).generate(["Question: store?\nAnswer:"] * 2)
    assert searched == ["store?"]
    shared.measured(models[0], section).generate(["store?"])
    assert searched == ["store?"]
    assert [model.calls.count(("score", 2)) for model in models] == [1, 1]  # each reranks for itself, once
    timed = shared.timed(models[0], section)
    timed.generate(["store?"])
    timed.generate(["store?"])
    assert searched == ["store?"] * 3
    assert timed.card.fingerprint == shared.measured(models[0], section).card.fingerprint


def test_a_tune_hands_over_a_grounded_system(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "store.md").write_text("The store is opened by two keepers.")
    task = tmp_path / "task.jsonl"
    rows = [
        {"id": str(i), "prompt": f"Who opens store {i}?", "choices": ["two keepers", "nobody"], "answer": i % 2}
        for i in range(6)
    ]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = steelyard.tune(
        task,
        str(tiny_folder),
        out="tuned",
        styles=["plain"],
        shots=[0],
        weights=["none"],
        docs="handbook",
        ground=["lexical:k=1"],
        exhaustive=True,
        timing_samples=2,
    )
    (candidate,) = outcome.record["candidates"]
    assert candidate["label"].endswith("plain, lexical k=1")
    assert candidate["ground"]["retriever"] == "lexical"
    system = read_system(outcome.system_file)
    assert system.ground == GroundSection(docs="../handbook", embedder="none", retriever="lexical", k=1)
    assert "--docs handbook --ground lexical:k=1" in outcome.record["run"]["command"]
    again = steelyard.eval(str(outcome.system_file), task).evaluation
    assert again.reused == 6
