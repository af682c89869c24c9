"""Pages of every kind in a real browser, and the sample browser's word-by-word differences."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from reporting.browser import HOSTILE, wait_for_count
from reporting.example_pages import PAGES, make_comparison, make_suite

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())
def test_pages_fit_a_phone_and_a_desktop(open_report: Any, make: Callable[[], dict[str, Any]]) -> None:
    page = open_report(make(), width=360, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for kind in ("dots", "reliability"):
        for drawing in page.locator(f".plot.{kind}").all():
            box = drawing.bounding_box()
            assert box is None or box["width"] <= 360
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator("h1").inner_text()


def test_samples_of_a_suite_are_filtered_by_task_and_group(open_report: Any) -> None:
    record = make_suite()
    page = open_report(record)
    assert page.locator("#count").inner_text() == "320 of 320 samples"
    page.select_option("#filters [name=task]", label="part-1")
    assert page.locator("#count").inner_text() == "40 of 320 samples"
    right = sum(sample["answers"]["c01"]["value"] for sample in record["tasks"][0]["samples"])
    page.select_option("#filters [name=outcome]", "right")
    assert page.locator("#count").inner_text() == f"{right:.0f} of 320 samples"
    page.select_option("#filters [name=group]", "law")
    assert all("law" in text for text in page.locator("#list .sample .id").all_inner_texts())
    page.select_option("#filters [name=task]", label="own-text")
    assert page.locator("#filters [name=group]").is_hidden()  # the task has no groups
    assert page.locator("#filters [name=outcome] option").all_inner_texts() == ["all its samples"]
    assert page.locator("#count").inner_text() == "40 of 320 samples"


def test_a_comparison_opens_where_the_two_disagree(open_report: Any) -> None:
    record = make_comparison()
    page = open_report(record)
    counts = record["counts"]
    wanted = {
        "differ": counts["first"] + counts["second"],
        "first": counts["first"],
        "second": counts["second"],
        "neither": counts["neither"],
        "answers": counts["first"] + counts["second"],
    }
    assert page.locator("#filters [name=outcome]").input_value() == "differ"
    for outcome, count in wanted.items():
        page.select_option("#filters [name=outcome]", outcome)
        assert page.locator("#count").inner_text() == f"{count} of 200 samples"


def test_two_outputs_are_compared_word_by_word(open_report: Any) -> None:
    page = open_report(make_comparison())
    page.select_option("#filters [name=outcome]", "first")
    sample = page.locator("#list .sample").first
    sample.locator("> summary").press("Enter")  # a key opens it
    first, second = sample.locator(".outputs pre").all()
    assert first.locator("mark").all_inner_texts() == ["six", "and", " at four"]
    assert second.locator("mark").all_inner_texts() == ["five", "except"]
    assert first.inner_text().endswith("That is all.")
    assert [m.strip() for m in sample.locator("> summary mark").all_inner_texts()] == [
        "six", "and", "at four", "five", "except",
    ]  # fmt: skip


def test_equal_outputs_are_shown_once_and_long_ones_quickly(open_report: Any) -> None:
    record = make_comparison(samples=12)
    words = " ".join(f"w{i}" for i in range(30_000))
    for place, (one, two) in enumerate([("same", "same"), (f"a {words}", f"{words} b"), ("一二三", "一四三")]):
        answers = record["samples"][place]["answers"]
        for side, text in (("first", one), ("second", two)):
            answers[side]["responses"] = [{"kind": "generate", "text": text}]
            answers[side]["prediction"] = text[:9]
    page = open_report(record)
    page.select_option("#filters [name=outcome]", "")
    samples = page.locator("#list .sample")
    samples.nth(0).locator("> summary").click()
    assert samples.nth(0).locator(".outputs pre").all_inner_texts() == ["same"]
    started = time.perf_counter()
    samples.nth(1).locator("> summary").click()
    assert "too long to compare word by word" in samples.nth(1).locator(".outputs").inner_text()
    assert time.perf_counter() - started < 10
    samples.nth(2).locator("> summary").click()
    assert samples.nth(2).locator(".outputs mark").all_inner_texts() == ["二", "四"]


def test_outputs_are_data_and_never_markup(open_report: Any) -> None:
    record = make_comparison(samples=8)
    for sample in record["samples"]:
        for side, extra in (("first", "one"), ("second", "two")):
            sample["answers"][side]["prediction"] = f"{HOSTILE} {extra}"
            sample["answers"][side]["responses"] = [{"kind": "generate", "text": f"{HOSTILE} {extra} <b>"}]
    page = open_report(record)
    page.select_option("#filters [name=outcome]", "answers")
    page.locator("#list .sample > summary").first.click()
    pre = page.locator(".outputs pre").first
    assert pre.text_content() == f"{HOSTILE} one <b>"
    assert pre.locator("mark").all_inner_texts() == ["one"]
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0


def test_comparing_thousands_of_samples_stays_quick(open_report: Any) -> None:
    page = open_report(make_comparison(samples=3000))
    started = time.perf_counter()
    page.select_option("#filters [name=outcome]", "answers")
    page.fill("#filters [name=text]", "q2999")
    wait_for_count(page, "[01] of 3,000")
    assert time.perf_counter() - started < 5  # a page that compares all texts word by word takes far longer
    assert page.locator("#list .sample").count() <= 20
