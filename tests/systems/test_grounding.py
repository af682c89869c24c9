"""Ground sections put into effect: indexes found or made, parts with what they need, fingerprints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steelyard.contracts import Hit
from steelyard.errors import InputError, UsageError
from steelyard.models.scripted import ScriptedModel
from steelyard.retrieval.index.document_index import DocumentIndex
from steelyard.systems.ground_section import GroundSection
from steelyard.systems.grounded import GroundedModel
from steelyard.systems.grounding import ground, index_of
from steelyard.systems.loading import load

MODEL = ScriptedModel(lambda _: "two keepers", scores=lambda context, text: -float(len(context)))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "store.md").write_text("# Store\n\nThe store is opened by two keepers.\n\n# Hall\n\nIt is dry.")
    return folder


def section(**values: Any) -> GroundSection:
    return GroundSection(**{"retriever": "lexical", "embedder": "none", **values})


def test_documents_are_indexed_in_the_project_and_kept_up_to_date(docs: Path, tmp_path: Path) -> None:
    asked = section(docs="handbook")
    index = index_of(asked, tmp_path)
    assert index.parent == tmp_path / ".steelyard" / "indexes"
    assert index_of(asked, tmp_path) == index
    assert index_of(section(docs="handbook", chunk=50), tmp_path) != index
    before = ground(MODEL, asked, tmp_path).card.fingerprint
    (docs / "more.md").write_text("Rules are kept.")
    after = ground(MODEL, asked, tmp_path)
    assert after.card.fingerprint != before
    assert after.hits(["rules"])[0][0].source == "more.md"


def test_documents_around_the_project_are_indexed_elsewhere(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(docs)
    assert index_of(section(docs=".")).is_relative_to(tmp_path / "cache" / "indexes")


def test_quotation_marks_are_no_phrases_unless_asked_for(tmp_path: Path) -> None:
    DocumentIndex(tmp_path / "i").add([Hit("a", 0.0, "The store is opened by two keepers.")])
    for retriever, found in (("lexical", 1), ("auto", 1), ("lexical:phrases=true", 0)):
        model = ground(MODEL, section(index="i", retriever=retriever), tmp_path)
        assert len(model.hits(['who opens "two stores"'])[0]) == found


def test_a_reranker_asks_the_system_s_own_model(docs: Path, tmp_path: Path) -> None:
    plain = ground(MODEL, section(docs="handbook", chunk=10), tmp_path)
    model = ground(MODEL, section(docs="handbook", chunk=10, reranker="upr"), tmp_path)
    calls = len(MODEL.calls)
    assert len(model.hits(["the store opened dry"])[0]) == 2
    assert MODEL.calls[calls:] == [("score", 2)]
    assert model.card.fingerprint != plain.card.fingerprint
    other = ground(ScriptedModel(name="other", scores=lambda c, t: -1.0), section(docs="handbook"), tmp_path)
    assert other.card.fingerprint != plain.card.fingerprint


def test_a_retriever_around_another_gets_the_lexical_one(docs: Path, tmp_path: Path) -> None:
    model = ground(MODEL, section(docs="handbook", retriever="lamer:answers=1"), tmp_path)
    assert model.hits(["who?"])[0][0].source == "store.md"  # found by what the model wrote
    assert model.card.fingerprint


def test_what_cannot_be_made_is_said(docs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'retrieval-data-importance' needs queries"):
        ground(MODEL, section(docs="handbook", retriever="retrieval-data-importance"), tmp_path)
    with pytest.raises(InputError, match="no such file or folder of documents"):
        ground(MODEL, section(docs="missing"), tmp_path)
    with pytest.raises(InputError, match="no index here"):
        ground(MODEL, section(index="missing"), tmp_path).generate(["x"])


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    index = DocumentIndex(tmp_path / "i")
    index.add([Hit("a", 0.0, "x")])
    index.delete(["a"])
    model = ground(MODEL, section(index="i", threshold=0.2), tmp_path)
    assert model.generate(["who?"])[0].text == "Not in the documents."


def test_a_system_file_brings_its_documents(docs: Path, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tiny_folder, target_is_directory=True)
    file = tmp_path / "best.yaml"
    file.write_text("model: ./model\nprompt: {style: plain}\nground: {docs: handbook, embedder: none, k: 1}\n")
    system: Any = load(file)
    assert isinstance(system.model, GroundedModel)
    assert system.card.name == "best"
    assert system.model.hits(["store"])[0][0].source == "store.md"
    file.write_text("model: ./model\nground: {docs: handbook, embedder: none}\n")
    assert isinstance(load(file), GroundedModel)
