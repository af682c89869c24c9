"""Every kind of record as a page and in a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from reporting.browser import HOSTILE
from reporting.example_compression import make_compression
from reporting.example_pages import (
    PAGES,
    make_comparison,
    make_eval,
    make_measure,
    make_ranking,
    make_suite,
)
from reporting.test_html import Page
from steelyard.errors import InputError
from steelyard.reporting.html import render_html
from steelyard.reporting.kinds import KINDS
from steelyard.reporting.terminal import show_record

KIND = pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())
Make = Callable[[], dict[str, Any]]


def text_of(record: dict[str, Any]) -> str:
    return re.sub(r"\s+", " ", Page(render_html(record)).text)


def printed(record: dict[str, Any], **options: Any) -> str:
    stream = io.StringIO()
    show_record(record, Console(file=stream, **options))
    return stream.getvalue()


def hostile(value: Any, key: str = "") -> Any:
    """The record with every text replaced but for those that say what the record is."""
    kept = ("kind", "status", "id", "metric", "label", "first", "second", "score_name", "columns", "groups", "low")
    if isinstance(value, dict):
        return {k: hostile(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(v, key) for v in value]
    named = key in kept or (key == "name" and value.startswith("smollm2")) if isinstance(value, str) else True
    return value if named else HOSTILE


def test_every_kind_has_an_example() -> None:
    assert set(PAGES) == set(KINDS)


@KIND
def test_a_page_loads_nothing_and_allows_only_its_own_code(make: Make) -> None:
    page = Page(render_html(make()))
    for tag, attributes in page.tags:
        assert not {"src", "style"} & set(attributes), tag
        assert str(attributes.get("href", "#")).startswith("#")
    anchors = {a["id"] for _, a in page.tags if a.get("id")}
    links = {str(a["href"])[1:] for t, a in page.tags if t == "a" and a.get("href")}
    assert links <= anchors
    identifiers = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(identifiers) == len(set(identifiers))


@KIND
def test_texts_of_a_record_are_never_markup(make: Make) -> None:
    page = Page(render_html(hostile(make())))
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(tag == "img" for tag, _ in page.tags)
    assert "49" not in page.text.split("Reproduce")[-1].split("Method")[0]


@KIND
def test_a_record_without_content_is_refused(make: Make) -> None:
    record = make()
    field = KINDS[record["kind"]].content
    for show in (render_html, show_record):
        with pytest.raises(InputError, match=f"it holds no {field}"):
            show({**record, field: None})


@KIND
def test_a_pipe_gets_plain_lines(make: Make) -> None:
    text = printed(make(), width=30)
    assert "\x1b" not in text
    assert "None" not in text
    assert printed(make(), width=110, force_terminal=True, color_system="standard") != text


@pytest.mark.parametrize("make", [make_eval, make_suite, make_comparison, make_ranking])
def test_the_task_says_where_it_comes_from_and_how_it_is_put(make: Make) -> None:
    text = text_of(make())
    for fact in ("HandbookQA", "Questions about a Handbook (2024)", "CC BY 4.0", "form of choices"):
        assert fact in text


def test_an_eval_shows_calibration_groups_and_what_was_left_out() -> None:
    record = make_eval()
    text = text_of(record)
    ece = record["candidates"][0]["calibration"]["ece"]
    assert f"Expected calibration error {100 * ece['value']:.1f} points" in text
    assert "n 600, 8 bins in use" in text
    assert "this one does not" in text
    assert "handbook.jsonl:12: broken JSON; mend it" in text
    assert "plain, 2 shots, seed 7" in text
    html = render_html(record)
    assert html.count('class="plot dots"') == 2
    assert html.count('class="plot reliability"') == 1
    shown = printed(record)
    assert "1 damaged row left out, first handbook.jsonl:12" in shown
    assert "Expected calibration error" in shown


def test_what_is_calibrated_is_not_called_miscalibrated() -> None:
    record = make_eval()
    record["candidates"][0]["calibration"]["chance"] = 0.5
    assert "no miscalibration is shown" in text_of(record)


def test_a_suite_shows_every_task_with_n_and_interval() -> None:
    record = make_suite()
    text, shown = text_of(record), printed(record)
    for task in record["tasks"]:
        assert task["name"] in text
        assert task["name"] in shown
    assert "1.23 [1.10, 1.40]" in text
    assert "1 of 8 tasks is measured in another unit and not drawn" in text
    assert "48.7% [45.0, 52.0], n 280" in text
    assert "not measured, or not defined here" in text  # a missing cell says so
    assert "1 damaged row left out" in text
    assert "damaged rows left out: part-1 (1)" in shown
    assert "One task is measured in bits per byte." in shown


def test_a_comparison_shows_difference_test_pairs_and_what_could_be_seen() -> None:
    record = make_comparison()
    text, shown = text_of(record), printed(record)
    counts = record["counts"]
    assert sum(counts.values()) == record["n"] == 200
    for place in (text, shown):
        assert "exact McNemar test" in place
        assert "200 samples show a true difference of 12.8 points or more with 80% probability" in place
    assert "A difference is shown" in text
    assert "+15.0 [+5.9, +23.8] points" in shown
    assert f"only the first {counts['first']}, only the second {counts['second']}" in shown
    assert "+30.0 [+10.8, +46.4]" in text
    assert "p (Holm)" in shown


def test_a_comparison_of_equals_claims_nothing() -> None:
    record = make_comparison()
    record.update(
        different=False, detectable=None, sd=None, groups=[], counts=None, verdict="No difference is shown."
    )
    text = text_of(record)
    assert "A difference is shown" not in text
    assert "The two never differ on these 200 samples" in text


def test_a_measure_shows_values_tables_and_notes() -> None:
    text, shown = text_of(make_measure()), printed(make_measure())
    for piece in ("layer 0", "20.0%", "[10.0, 30.0]", "By document", "3.25", "No trend is shown."):
        assert piece in text
        assert piece in shown
    assert "per_document" in text


def test_details_too_long_for_a_page_are_left_out_and_said_so() -> None:
    record = make_measure()
    record["measurement"]["details"] = {"all": ["word"] * 60_000}
    text = text_of(record)
    assert "The details are too long for a page" in text
    assert len(text) < 50_000


def test_a_leaderboard_claims_only_what_its_tests_show() -> None:
    record = make_ranking()
    text, shown = text_of(record), printed(record)
    assert text.count("not shown") == 10
    assert "not shown" in shown
    best = record["ranking"]["rows"][0]
    assert f"{100 * best['score']:.1f}%" in text
    assert "Agreement with people: smollm2-135m" in text
    assert "62.0% [50.0, 72.0]" in text
    first = record["ranking"]["details"]["comparisons"][0]
    first.update(different=True, p_holm=0.0001)
    again = text_of(record)
    assert again.count("not shown") == 9
    assert "p < 0.001" in re.sub("\u00a0", " ", again)


def test_wins_are_put_into_the_order_of_the_ranking() -> None:
    from steelyard.reporting import views
    from steelyard.reporting.leaderboard_views import as_candidates, ranked_views, win_matrix

    record = make_ranking()
    candidates = ranked_views(record, views.measure_for(as_candidates(record)))
    assert [c.label for c in candidates] == [row["name"] for row in record["ranking"]["rows"]]
    rows = win_matrix(record, candidates)
    answers = {c["id"]: [s["answers"][c["id"]]["value"] for s in record["samples"]] for c in record["candidates"]}
    for i, one in enumerate(candidates):
        for j, other in enumerate(candidates):
            pairs = zip(answers[one.id], answers[other.id], strict=True)
            share = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / 150
            assert rows[i].cells[j].sort == (None if i == j else pytest.approx(share))


def test_scores_without_intervals_say_so() -> None:
    record = make_ranking()
    for row in record["ranking"]["rows"]:
        row["interval"] = None
    assert "no interval" in text_of(record)
    assert "∞" not in text_of(record)


def test_a_compression_shows_its_card_what_was_lost_and_what_became_of_it() -> None:
    record = make_compression()
    text, shown = text_of(record), printed(record)
    for place in (text, shown):
        assert "compression ratio 3.17" in place
        assert "124,000,000" in place
        assert "is not shown to be at most 2.0%" in place
        assert "arithmetic" in place
        assert "documents/ (1 texts, 24,000 characters; fingerprint 9c1f9c1f)" in place
    assert "Saved over its limit, as asked" in text
    assert "sleb(blocks=[10, 12])" in text
    record["folder"] = None
    assert "Not saved: it costs too much" in text_of(record)
    unchecked = {**record, "tasks": [], "limit": {}, "held_out": None}
    assert "Compressed, and not saved" in text_of(unchecked)
