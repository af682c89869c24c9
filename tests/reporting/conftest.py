"""Fixtures of the report tests: example records and a headless browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reporting.browser import find_chromium, launched
from reporting.example_record import make_eval_record, make_record
from steelyard.reporting.html import write_report


@pytest.fixture
def record() -> dict[str, Any]:
    """Twelve candidates on 120 samples, and one that was refused."""
    return make_record()


@pytest.fixture
def eval_record() -> dict[str, Any]:
    """The winner alone."""
    return make_eval_record()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running headless browser."""
    pytest.importorskip("playwright", reason="the Python package playwright is not installed")
    if find_chromium() is None:
        pytest.skip("no Chromium found: install the system package chromium (make system-deps)")
    with launched() as browser:
        yield browser


class Opened(NamedTuple):
    """A page with what it logged and asked for."""

    page: Any
    log: list[str]
    requests: list[str]


@pytest.fixture
def open_report(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a record's report from disk; at the end nothing may have been logged or requested."""
    opened: list[Opened] = []

    def open_record(record: dict[str, Any], width: int = 1280, **options: Any) -> Any:
        file = write_report(record, tmp_path / f"report-{len(opened)}.html")
        page = chromium.new_page(viewport={"width": width, "height": 900}, **options)
        entry = Opened(page, [], [])
        page.on("console", lambda message: entry.log.append(message.text))
        page.on("pageerror", lambda error: entry.log.append(str(error)))
        page.on("request", lambda request: entry.requests.append(request.url))
        page.goto(file.as_uri())
        opened.append(entry)
        return page

    yield open_record
    for entry in opened:
        assert entry.log == []
        assert len(entry.requests) == 1
        assert entry.requests[0].startswith("file:")
        entry.page.close()
