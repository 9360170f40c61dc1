"""What the scripts beside this one share: a report of an audit open in a browser, and pictures of few colours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright


@contextmanager
def opened_report(audit: str, width: int) -> Iterator[Page]:
    """The report of an audit in a Chromium so many pixels wide."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("DEBRIDE_CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(Path(audit, "report.html").resolve().as_uri())
        yield page
        browser.close()


def keep_few_colours(picture: str, colours: int) -> None:
    """Writes a picture again with so many colours, so that the file is small."""
    with Image.open(picture) as drawn:
        small = drawn.convert("RGB").quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)
