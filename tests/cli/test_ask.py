"""``steelyard ask``: an answer with its citations, from documents that are indexed on first use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import steelyard
from steelyard.cli import ask as verb
from steelyard.cli.main import main
from steelyard.contracts import LanguageModel
from steelyard.errors import UsageError
from steelyard.models.scripted import ScriptedModel
from steelyard.systems.ask import section_of

STORE = "# Store\n\nThe store is opened by two keepers. It is [red]dry[/red].\n"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "store.md").write_text(STORE)
    return folder


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> LanguageModel:
        return ScriptedModel(lambda prompt: "It is [red]dry[/red] [1].\x1b[2J" if "dry" in prompt else "In May.")

    monkeypatch.setattr("steelyard.systems.ask.load", load)


def run(*words: str) -> None:
    sys.argv = ["steelyard", "ask", *words]
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0


def test_an_answer_is_printed_with_its_citations(
    docs: Path, scripted: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    run("Is the store dry?", "--docs", str(docs), "--retriever", "lexical")
    shown = capsys.readouterr().out
    assert "It is [red]dry[/red] [1].�[2J\n" in shown
    assert "[1] store.md:45-66, Store\n    “It is [red]dry[/red].”" in shown
    assert STORE[45:66] == "It is [red]dry[/red]."


def test_json_says_all_of_it(
    docs: Path, scripted: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    run("Is the store dry?", "--docs", str(docs), "--retriever", "lexical", "--json", "-k", "1")
    record = json.loads(capsys.readouterr().out)
    citation = record["citations"][0]
    assert STORE[citation["start"] : citation["end"]] == citation["quote"] == "It is [red]dry[/red]."
    assert record["passages"][0]["marker"] == citation["marker"] == 1
    assert not record["refused"]
    run("When does the moon rise?", "--docs", str(docs), "--retriever", "lexical", "--json")
    refused = json.loads(capsys.readouterr().out)
    assert refused["refused"]
    assert refused["answer"] == "Not in the documents."
    assert refused["citations"] == []


def test_a_real_command_answers_from_a_system_file(docs: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """End to end in a process of its own: system file, index on first use, a model with weights."""
    file = tmp_path / "best.yaml"
    file.write_text(
        f"model: {tiny_folder}\nprompt: {{style: plain}}\n"
        "ground: {docs: handbook, embedder: none, threshold: 0}\n"
    )
    words = ["ask", "who opens the store?", str(file), "--json", "--max-tokens", "8"]
    done = subprocess.run(
        [sys.executable, "-c", "from steelyard.cli.main import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert [passage["source"] for passage in record["passages"]] == ["store.md"]
    assert record["usage"]["completion_tokens"] > 0
    assert list((tmp_path / ".steelyard" / "indexes").iterdir())


def test_the_function_tells_what_is_written(docs: Path) -> None:
    told: list[str] = []
    model = ScriptedModel(lambda _: "By two keepers, or by nobody at all in winter or spring")
    answer = steelyard.ask("Who opens it?", model, docs=docs, retriever="lexical", tell=told.append)
    assert "".join(told) == "By two keepers, or by nobody at all in winter or spring"
    assert answer.refused
    assert answer.support == 0.0
    kept = steelyard.ask("Who opens the store?", model, docs=docs, retriever="lexical", threshold=0)
    assert kept.generation.text == "".join(told)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "ask needs documents"),
        ({"docs": "a", "index": "b"}, "name either an index or docs"),
        ({"docs": "a", "retreiver": "x"}, "did you mean 'retriever'"),
        ({"docs": "a", "k": 0}, "ask: k: .*greater than 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        section_of(settings)


def test_settings_change_a_system_s_own() -> None:
    known = section_of({"docs": "a", "k": 2, "threshold": 0.0})
    assert section_of({"k": 3}, known).docs == "a"
    assert section_of({"k": 3}, known).threshold == 0.0
    moved = section_of({"index": "b"}, known)
    assert (moved.index, moved.docs, moved.k) == ("b", None, 2)
    assert section_of({"docs": "a", "retriever": "lexical"}).embedder == "none"
    assert section_of({"docs": "a"}).threshold == 0.3


def test_no_question_is_refused() -> None:
    with pytest.raises(UsageError, match="the question is empty"):
        steelyard.ask("  ", docs="a")
    assert verb.printable("a\x07b") == "a�b"
