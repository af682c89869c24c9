import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reporting.example_record import make_record
from steelyard.errors import InputError
from steelyard.reporting.html import render_html, write_report


class Page(HTMLParser):
    """Elements, text and the contents of style and script elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, str] = {}
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = f"{tag} {dict(attrs).get('type', '')}".strip() if tag in ("style", "script") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[self._inside] = self.blocks.get(self._inside, "") + data
        else:
            self.text += data


def test_the_page_loads_nothing_and_allows_only_its_own_code(record: dict[str, Any]) -> None:
    html = render_html(record)
    page = Page(html)
    for tag, attributes in page.tags:
        assert not {"src", "style"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
        if "href" in attributes:
            assert str(attributes["href"]).startswith("#")
    assert "url(" not in page.blocks["style"]
    assert "@import" not in page.blocks["style"]
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for block, directive in (("style", "style-src"), ("script", "script-src")):
        digest = base64.b64encode(hashlib.sha256(page.blocks[block].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_page_says_what_won_at_which_cost_and_how_sure(record: dict[str, Any]) -> None:
    text = Page(render_html(record)).text
    for finding in record["findings"]:
        assert finding in text
    for piece in (
        "61.7%",
        "[52.7, 69.9]",
        "51.7 ms",
        "of plain, zero-shot",
        "163 MB",
        "No difference to the best is shown",
    ):
        assert piece in text
    assert "Measured 68% of all cells: 984 of 1,440" in re.sub(r"\s+", " ", text)
    assert "The budgeted search and the exhaustive run agree" in text
    assert all(command in text for command in record["commands"])
    assert record["system_file"] in text
    assert "transformers" in text
    assert "Holm" in text
    assert "McNemar" in text


def test_every_candidate_has_a_row_and_every_measured_one_a_point(record: dict[str, Any]) -> None:
    html = render_html(record)
    assert len(re.findall(r'<tr id="system-\d+"', html)) == 13
    drawn = html.split('class="narrow"')[0]
    assert len(re.findall(r'<a class="pt ', drawn)) == 12
    assert "Needs 1.07 GB of memory" in html


def test_an_eval_report(eval_record: dict[str, Any]) -> None:
    page = Page(render_html(eval_record))
    assert "61.7%" in page.text
    assert "history" in page.text
    assert not any("pt " in str(a.get("class", "")) for t, a in page.tags if t == "a")
    assert "How the search went" not in page.text


def test_disagreement_with_the_exhaustive_run_is_said(record: dict[str, Any]) -> None:
    record["exhaustive"].update(agree=False, exhaustive_winner="c09")
    assert "the exhaustive run disagree" in Page(render_html(record)).text


def test_no_winner_and_little_measured(record: dict[str, Any]) -> None:
    for candidate in record["candidates"]:
        candidate.update(
            status="refused", quality=None, latency=None, memory_bytes=None, parameters=None, operations=None,
            metrics={}, groups={}, against_leader=None, reason="",
        )  # fmt: skip
    record.update(
        winner=None, frontier=[], samples=[], budget=None, exhaustive=None, findings=[], environment=None
    )
    text = Page(render_html(record)).text
    assert "No system was chosen" in text
    assert "not measured" in text


def test_lower_is_better_metrics(record: dict[str, Any]) -> None:
    record["task"].update(metric="bits_per_byte", higher_is_better=False)
    text = Page(render_html(record)).text
    assert "Bits per byte (lower is better)" in text
    assert "0.617 [0.527, 0.699]" in re.sub(r"\s+", " ", text)


def test_hostile_strings_stay_text() -> None:
    bad = "</script><script>boom()</script><!--<img src=x onerror=boom()> \u2028 {{ 7*7 }} \ud800"
    record = make_record(samples=4)
    record["task"].update(name=bad, groups=[bad])
    record["findings"] = record["commands"] = [bad]
    record["environment"] = {bad: bad}
    record["system_file"] = bad
    for candidate in record["candidates"]:
        candidate.update(label=f"{candidate['id']}, {bad}", reason=bad, groups={bad: candidate["quality"]})
    for sample in record["samples"]:
        sample.update(id=bad, group=bad, prompt=bad, reference=bad)
        for answer in sample["answers"].values():
            answer.update(prediction=bad, requests=[{bad: bad}], responses=[{bad: bad}])
    html = render_html(record)
    html.encode("utf-8")
    page = Page(html)
    assert [t for t, _ in page.tags].count("script") == 2
    assert not any(t == "img" for t, _ in page.tags)
    assert "49" not in page.text.split("Reproduce")[-1].split("best.yaml")[0]


def test_records_of_another_kind_or_format_are_refused(record: dict[str, Any]) -> None:
    for change, words in (
        ({"kind": "serve"}, "kind"),
        ({"format": 2}, "format 2"),
        ({"candidates": []}, "no cand"),
    ):
        with pytest.raises(InputError, match=words):
            render_html({**record, **change})


def test_rendering_is_repeatable(record: dict[str, Any]) -> None:
    assert render_html(record) == render_html(record)


def test_write_replaces_the_file_and_leaves_nothing_else(record: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.html"
    assert write_report(record, target) == target
    target.write_text("old")
    write_report(record, target)
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_a_failed_write_keeps_the_old_file(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"report\.html: .*No space left on device"):
        write_report(record, target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_named(record: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another place"):
        write_report(record, tmp_path / "file" / "report.html")
