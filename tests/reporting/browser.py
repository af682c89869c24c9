"""Headless Chromium for tests of pages, and screenshots of a report.

python tests/reporting/browser.py report.html pictures/     # light, dark and phone screenshots
python tests/reporting/browser.py --example pictures/       # the same of the simulated example record
"""

from __future__ import annotations

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


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)


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
    """Whole-page pictures of ``page_file`` in light, dark and phone form."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with launched() as browser:
        for name, width, scheme in (("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(page_file.resolve().as_uri())
            page.screenshot(path=folder / f"report-{name}.png", full_page=True)
            page.set_viewport_size({"width": width, "height": 1080 if width > 640 else 844})
            page.screenshot(path=folder / f"report-{name}-top.png")
            page.close()
            written += [folder / f"report-{name}.png", folder / f"report-{name}-top.png"]
    return written


def main(source: str, folder: str) -> None:
    """Write the pictures and print their paths."""
    target = Path(folder)
    page_file = Path(source)
    if source == "--example":
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from reporting.example_record import make_record
        from steelyard.reporting.html import write_report

        page_file = write_report(make_record(), target / "example.html")
    for path in screenshots(page_file, target):
        print(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
