"""The report in a real browser: nothing requested, nothing executed, everything interactive works."""

from __future__ import annotations

import time
from typing import Any

import pytest

from reporting.browser import HOSTILE, wait_for_count
from reporting.example_record import make_record

pytestmark = pytest.mark.browser


def names(page: Any) -> list[str]:
    return list(page.locator("#candidates tbody .name").all_inner_texts())


def test_sorting_by_number_and_name(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record)
    button = page.locator("#candidates thead button", has_text="Latency")
    column = page.locator("#candidates tbody td:nth-child(5)")
    for direction in ("descending", "ascending"):
        button.click()
        values = [v for c in column.all() if (v := c.get_attribute("data-sort")) is not None]
        assert [float(v) for v in values] == sorted(map(float, values), reverse=direction == "descending")
        assert column.last.get_attribute("data-sort") is None  # the unmeasured stay last
        assert page.locator("#candidates th[aria-sort]").get_attribute("aria-sort") == direction
    page.locator("#candidates thead button", has_text="System").click()
    assert names(page) == sorted(names(page))


def test_a_point_selects_its_system_by_click_and_by_key(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record)
    points = page.locator(".cost-latency .wide a.pt")
    dropped = page.locator('.cost-latency .wide a.pt[data-index="7"]')
    dropped.locator(".dot").click(force=True)
    assert "Selected:" in page.locator("#selection").inner_text()
    assert page.locator("#candidates tr.selected").get_attribute("data-index") == "7"
    assert page.locator("#filters [name=first]").input_value() == "7"
    assert "64 samples measured on this system (of 120)" in page.locator("#count").inner_text()
    points.last.focus()
    assert page.locator("#tooltip").is_visible()
    page.keyboard.press("Enter")
    index = points.last.get_attribute("data-index")
    assert page.locator("#candidates tr.selected").get_attribute("data-index") == index
    page.keyboard.press("Escape")
    assert page.locator("#tooltip").is_hidden()


def test_a_tooltip_says_what_the_point_is(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record)
    page.locator(".cost-latency .wide a.s-winner .dot").hover(force=True)
    text = page.locator("#tooltip").inner_text()
    assert "smollm2-135m, int8, plain, 2 shots" in text
    assert "61.7% [52.7, 69.9]" in text
    assert "163 MB" in text


def test_filters_and_paging(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record)
    count = page.locator("#count")
    right = int(record["candidates"][9]["quality"]["value"] * 120 + 0.5)
    page.select_option("#filters [name=outcome]", "wrong")
    assert count.inner_text() == f"{120 - right} of 120 samples"
    page.select_option("#filters [name=outcome]", "right")
    assert count.inner_text() == f"{right} of 120 samples"
    assert page.locator("#list .sample").count() == 20
    first = page.locator("#list .sample .id").first.inner_text()
    page.click("#next")
    assert page.locator("#page").inner_text().startswith("2 /")
    assert page.locator("#list .sample .id").first.inner_text() != first
    page.select_option("#filters [name=group]", "law")
    assert page.locator("#page").inner_text().startswith("1 /")
    assert all("law" in t for t in page.locator("#list .sample .id").all_inner_texts())
    page.select_option("#filters [name=outcome]", "")
    page.fill("#filters [name=text]", "rule 40 LAW")
    wait_for_count(page, "1 of")
    page.fill("#filters [name=text]", "no such words")
    wait_for_count(page, "0 of")
    assert "No sample matches" in page.locator("#list").inner_text()


def test_disagreements_of_two_systems(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record)
    first, second = (page.locator(f"#filters [name={n}] option") for n in ("first", "second"))
    assert (first.nth(0).inner_text(), second.nth(2).inner_text()) == ("int8, plain, 2 shots", "plain, 2 shots")
    page.select_option("#filters [name=second]", "1")
    values = [(s["answers"]["c10"]["value"], s["answers"]["c09"]["value"]) for s in record["samples"]]
    for choice, wanted in {
        "differ": sum(a != b for a, b in values),
        "first": sum(a > b for a, b in values),
        "second": sum(a < b for a, b in values),
        "neither": sum(a == b == 0 for a, b in values),
    }.items():
        page.select_option("#filters [name=outcome]", choice)
        assert page.locator("#count").inner_text() == f"{wanted} of 120 samples"


def test_a_sample_opens_with_its_raw_texts(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record)
    sample = page.locator("#list .sample").first
    sample.locator("> summary").click()
    sample.locator(".raw > summary").click()
    sample.get_by_text("Response 3 of 3").wait_for()
    text = sample.inner_text()
    asked = record["samples"][0]["answers"]["c10"]["requests"][0]["context"]
    assert asked in text
    assert "Answers of 12 systems" in text


def cite(record: dict[str, Any], text: str, citations: list[dict[str, Any]]) -> None:
    """Let the system that is shown first answer the first sample with these citations."""
    answer = record["samples"][0]["answers"]["c10"]
    answer["responses"] = [{"kind": "generate", "text": text, "citations": citations}]


def test_citations_stand_under_their_answer(open_report: Any, record: dict[str, Any]) -> None:
    text = "🕕 It closes at six. On Fridays it closes at four."
    begin, end = text.index("It closes"), text.index(" On Fridays")
    place = {"source": "handbook/hours.md", "answer_start": begin, "answer_end": end, "metadata": {"page": 3}}
    six = {**place, "marker": 1, "start": 1200, "end": 1219, "quote": "We close at six."}
    also = {**place, "marker": 3, "start": 40, "end": 58, "quote": HOSTILE}
    cite(record, text, [six, also])
    page = open_report(record)
    sample = page.locator("#list .sample").first
    assert sample.locator("> summary .cites").inner_text() == "2 citations"
    sample.locator("> summary").click()
    shown = sample.locator(".sources")
    assert shown.locator(".claim").all_inner_texts() == [text[begin:end]]
    assert shown.locator("p").inner_text() == text[:end] + "[1][3]" + text[end:]
    assert shown.locator("cite").first.inner_text() == "handbook/hours.md, characters 1,200–1,219, page 3"
    assert shown.locator("blockquote mark").first.inner_text() == "We close at six."
    assert shown.locator("blockquote mark").last.text_content() == HOSTILE
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_hostile_strings_are_shown_and_never_run(open_report: Any) -> None:
    record = make_record(samples=6)
    record["task"].update(name=HOSTILE, groups=[HOSTILE])
    record["findings"] = record["commands"] = [HOSTILE]
    record["environment"] = {HOSTILE: HOSTILE}
    for candidate in record["candidates"]:
        candidate.update(
            label=f"{candidate['id']}, {HOSTILE}", reason=HOSTILE, groups={HOSTILE: candidate["quality"]}
        )
    for sample in record["samples"]:
        sample.update(id=HOSTILE, group=HOSTILE, prompt=HOSTILE, reference=HOSTILE)
        for answer in sample["answers"].values():
            answer.update(prediction=HOSTILE, requests=[{HOSTILE: HOSTILE}], responses=[{HOSTILE: HOSTILE}])
    page = open_report(record)
    page.locator(".cost-latency .wide a.pt .dot").first.hover(force=True)
    page.locator(".cost-latency .wide a.pt .dot").first.click(force=True)
    sample = page.locator("#list .sample").first
    sample.locator("> summary").click()
    sample.locator(".raw > summary").click()
    sample.locator(".raw pre").first.wait_for()
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert page.locator("#list .prompt").first.text_content() == HOSTILE
    assert page.locator(".code pre").first.text_content() == HOSTILE
    assert page.locator("#filters [name=group] option").last.text_content() == HOSTILE


def test_copy_buttons_copy(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block = page.locator(".code", has_text="model: smollm2-135m\n").last
    block.locator("button").click()
    block.locator("button", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == record["system_file"]


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_scrolls_sideways(open_report: Any, record: dict[str, Any], width: int) -> None:
    page = open_report(record, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    narrow, wide = (page.locator(f".cost-latency .{name}").is_visible() for name in ("narrow", "wide"))
    assert (narrow, wide) == (width <= 640, width > 640)


def test_the_main_content_needs_no_script(open_report: Any, record: dict[str, Any]) -> None:
    page = open_report(record, java_script_enabled=False)
    assert page.locator("h1").inner_text() == "smollm2-135m, int8, plain, 2 shots"
    assert page.locator(".cost-latency .wide svg").is_visible()
    page.click("label[for=cost-memory]")
    assert page.locator(".cost-memory .wide svg").is_visible()
    assert page.locator(".cost-latency .wide svg").is_hidden()
    assert page.locator("#candidates tbody tr").count() == 13
    assert page.locator("#browser").is_hidden()
    assert "needs JavaScript" in page.locator("#samples").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(open_report: Any, record: dict[str, Any], scheme: str) -> None:
    page = open_report(record, color_scheme=scheme)
    ratios = page.evaluate(
        """() => {
          const light = (rgb) => {
            const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number)
              .map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const style = (s) => getComputedStyle(document.querySelector(s));
          const paper = light(style("body").backgroundColor);
          return ["body", ".lead", ".tiles .main .num", "#candidates small", ".findings li", ".badge.s-refused"]
            .map((s) => [s, light(style(s).color)])
            .map(([s, ink]) => [s, (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)]);
        }"""
    )
    assert all(ratio >= 4.5 for _, ratio in ratios), ratios


def test_five_thousand_samples_stay_quick(open_report: Any) -> None:
    page = open_report(make_record(samples=5000, raw=False))
    assert page.locator("#list .sample").count() == 20
    started = time.perf_counter()
    page.fill("#filters [name=text]", "-4999")
    wait_for_count(page, "1 of 5,000")
    assert time.perf_counter() - started < 5  # a page that redraws all samples takes far longer


def test_an_eval_report_opens(open_report: Any, eval_record: dict[str, Any]) -> None:
    page = open_report(eval_record)
    assert page.locator("#count").inner_text() == "120 of 120 samples"
    assert page.locator("a.pt").count() == 0
    page.select_option("#filters [name=outcome]", "wrong")
    assert page.locator("#count").inner_text() == "46 of 120 samples"
