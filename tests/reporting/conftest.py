"""Fixtures of the report tests: example records and a headless browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reporting.browser import find_chromium, launched
from reporting.example_record import make_eval_record, make_record


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
