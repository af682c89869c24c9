"""Headless Chromium for tests of pages, and screenshots of a report.

python tests/reporting/browser.py report.html pictures/     # light, dark and phone screenshots
python tests/reporting/browser.py --example pictures/       # the same of every kind of simulated record
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--force-color-profile=srgb",
]


HOSTILE = "</script><script>window.hit=1</script><!--<img src=x onerror='window.hit=1'>\u2028\u2029{{7*7}}"
"""A text that would do harm if it were ever taken for markup, script or template."""


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)


def wait_for_count(page: Any, text: str) -> None:
    """Wait until the sample browser says that it shows so many samples."""
    page.locator("#count", has_text=re.compile(f"^{text}")).wait_for(timeout=10_000)


@contextmanager
def launched() -> Iterator[Any]:
    """A running headless browser (playwright's), with a profile of its own that vanishes with it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def screenshots(page_file: Path, folder: Path) -> list[Path]:
    """Whole-page pictures of ``page_file`` in light and dark, on a desktop and on a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with launched() as browser:
        for width, device in ((1280, "desktop"), (390, "phone")):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page.goto(page_file.resolve().as_uri())
                written.append(folder / f"{page_file.stem}-{device}-{scheme}.png")
                page.screenshot(path=written[-1], full_page=True)
                page.close()
    return written


def main(source: str, folder: str) -> None:
    """Write the pictures and print their paths."""
    target = Path(folder)
    files = [Path(source)]
    if source == "--example":
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from reporting.example_pages import PAGES
        from steelyard.reporting.html import write_report

        files = [write_report(make(), target / f"{kind}.html") for kind, make in PAGES.items()]
    for file in files:
        for path in screenshots(file, target):
            print(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
