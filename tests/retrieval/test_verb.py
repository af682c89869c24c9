"""The verbs index and search, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import steelyard
from retrieval.word_embedder import WordEmbedder
from steelyard.cli.main import app
from steelyard.errors import SteelyardError, UsageError
from steelyard.retrieval.chunking import ChunkSize
from steelyard.retrieval.index.filters import parse
from steelyard.retrieval.index.settings import IndexSettings, SearchOptions
from steelyard.retrieval.verb import Reading

WORDS = IndexSettings()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "wings.md").write_text("# Wings\n\nThey lift.\n\n## Drag\n\nIt slows.")
    (folder / "sea.txt").write_text("The sea is blue.")
    (folder / "rows.csv").write_text("text,year\nAn old engine runs,1950\nA new engine hums,2020\n")
    return folder


def test_index_follows_its_documents(docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "i"
    done = steelyard.index(docs, out, WORDS)
    assert (done.added, done.updated, done.unchanged, done.removed, done.passages) == (3, 0, 0, 0, 5)
    hit = steelyard.search("drag", index=out)[0]
    assert (hit.source, hit.text, hit.metadata["section"]) == ("wings.md", "## Drag\n\nIt slows.", "Wings > Drag")
    assert (docs / "wings.md").read_text()[hit.start : hit.end] == hit.text
    assert [h.metadata["year"] for h in steelyard.search("engine", index=out, where=parse("line>2"))] == ["2020"]
    (docs / "sea.txt").write_text("The sea is grey.")
    (docs / "wings.md").unlink()
    done = steelyard.index(docs, out, WORDS)
    assert (done.added, done.updated, done.unchanged, done.removed, done.passages) == (0, 1, 1, 1, 3)
    assert steelyard.search("blue", index=out) == steelyard.search("drag", index=out) == []
    (docs / "sea.txt").unlink()
    done = steelyard.index(docs, out, WORDS, reading=Reading(forget_missing=False))
    assert (done.removed, len(steelyard.search("grey", index=out))) == (0, 1)


def test_a_file_that_breaks_keeps_its_earlier_version(docs: Path, tmp_path: Path) -> None:
    steelyard.index(docs, tmp_path / "i", WORDS)
    (docs / "sea.txt").write_bytes(b"\0\0")
    done = steelyard.index(docs, tmp_path / "i", WORDS)
    assert [tuple(skip) for skip in done.skipped] == [
        ("sea.txt", "holds NUL bytes, so it is no text; its earlier version stays")
    ]
    assert [hit.source for hit in steelyard.search("sea", index=tmp_path / "i")] == ["sea.txt"]


def test_vectors_are_made_by_the_embedder_given(docs: Path, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    settings = IndexSettings(embedder="words", storage="int8")
    steelyard.index(docs, tmp_path / "i", settings, embedder=embedder)
    assert embedder.texts == 5
    (docs / "more.txt").write_text("One more.")
    steelyard.index(docs, tmp_path / "i", settings, embedder=embedder)
    assert embedder.texts == 6


def test_wrong_use_is_refused(docs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lies within the documents"):
        steelyard.index(docs, docs / "index", WORDS)
    steelyard.index(docs, tmp_path / "i", WORDS)
    for file in docs.iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="holds no documents"):
        steelyard.index(docs, tmp_path / "i", WORDS)
    assert steelyard.search("sea", index=tmp_path / "i")
    with pytest.raises(UsageError, match="budget must be positive"):
        steelyard.index(_with(docs, "a.txt"), tmp_path / "j", WORDS, reading=Reading(size=ChunkSize(0, 0)))


def _with(folder: Path, name: str) -> Path:
    (folder / name).write_text("text")
    return folder


def test_the_command_line_indexes_and_searches(docs: Path, tmp_path: Path) -> None:
    (docs / "odd.xyz").write_text("?")
    run = CliRunner().invoke(app, ["index", str(docs), "--out", "i", "--embedder", "none"])
    assert run.exit_code == 0, run.output
    assert "skipped: odd.xyz has a format that is not read (.xyz)" in run.output
    assert "3 added, 0 updated, 0 unchanged, 0 removed; 5 passages in i" in run.output
    run = CliRunner().invoke(app, ["index", str(docs), "--out", "i", "--embedder", "none", "--json"])
    assert json.loads(run.stdout)["unchanged"] == 3
    run = CliRunner().invoke(app, ["search", "it slows", "--index", "i", "-k", "1"])
    assert "1. " in run.output
    assert "wings.md:21-39, Wings > Drag" in run.output
    run = CliRunner().invoke(app, ["search", '"new engine"', "--index", "i", "--where", "year=2020", "--json"])
    assert json.loads(run.stdout) == []  # columns of a CSV are strings
    run = CliRunner().invoke(app, ["search", '"new engine"', "--index", "i", "--where", "year='2020'", "--json"])
    assert [hit["source"] for hit in json.loads(run.stdout)] == ["rows.csv"]
    for wrong in (["--mode", "x"], ["--mode", "dense"], ["--where", "nonsense"], ["--index", "none"]):
        failed = CliRunner().invoke(app, ["search", "sea", "--index", "i", *wrong])
        assert isinstance(failed.exception, SteelyardError)


class TokenizingEmbedder(WordEmbedder):
    """One token a character, and at most 32 of them."""

    class pooling:
        max_length = 32

    def tokenizer(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] * len(text) for text in texts]}


def test_chunks_are_counted_by_the_embedder_and_fit_it(docs: Path, tmp_path: Path) -> None:
    settings = IndexSettings(embedder="characters")
    embedder = TokenizingEmbedder()
    with pytest.raises(UsageError, match="the embedder reads 30 at most"):
        steelyard.index(docs, tmp_path / "i", settings, embedder=embedder)
    steelyard.index(docs, tmp_path / "i", settings, embedder=embedder, reading=Reading(size=ChunkSize(12, 0)))
    hits = steelyard.search("sea blue", index=tmp_path / "i", options=SearchOptions("lexical"))
    assert sorted(hit.text for hit in hits) == ["The sea is", "blue."]
