"""``steelyard compress``: what costs too much is shown and not saved."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from steelyard.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["steelyard", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_a_loss_over_the_limit_is_shown_and_not_saved(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["--with", "sleb:blocks=[1,2]", "--with", "int8"]
    asked = ["compress", tiny_folder, *parts, "--quick", "0", "--out", "small"]
    assert run(monkeypatch, *asked, "--max-loss", "0", "--report", "page.html") == 1
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if line.startswith("error: ")] == [
        line for line in said.err.splitlines() if "not saved: bits per byte" in line
    ]
    assert "bits per byte" in said.out
    assert "It was not saved." in said.out
    assert "measured on: the six texts of the quick suite" in said.out
    assert not Path("small").exists()
    assert "Not saved: it costs too much" in Path("page.html").read_text()
    assert run(monkeypatch, *asked, "--max-loss", "0", "--force", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["folder"] == "small"
    assert Path("small/metric_card.json").is_file()
    assert [part["name"] for part in record["parts"]] == ["sleb", "int8"]
    assert record["commands"][0].endswith("--quick 0 --max-loss 0.0 --force --out small")


def test_parts_are_given_in_one_way(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "compress", tiny_folder, "int8", "--with", "int8") == 2
    assert "not both" in capsys.readouterr().err
    assert run(monkeypatch, "compress", tiny_folder) == 2
    assert "at least one part" in capsys.readouterr().err
