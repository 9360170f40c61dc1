"""A picture of the page of an audit, to its first findings: ``python docs/pictures/report_page.py AUDIT PICTURE.png``.

The version is left out, so that the picture does not seem old with every release. It needs ``pip install playwright`` and a
Chromium, whose path ``DEBRIDE_CHROMIUM`` has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, GAP = 1100, 12


def main(audit: str, picture: str) -> None:
    """Draws the page down to the first line of cards, and keeps few colours so that the file is small."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("DEBRIDE_CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(Path(audit, "report.html").resolve().as_uri())
        page.locator("header .soft").evaluate("said => { said.textContent = said.textContent.split(';')[0]; }")
        page.evaluate("document.querySelector('.ranking').style.maxHeight = '17rem'")
        card = page.locator("#f0")
        card.scroll_into_view_if_needed()
        card.locator("img").first.wait_for()
        page.wait_for_timeout(500)
        place = card.bounding_box()
        assert place
        height = page.evaluate("scrollY") + place["y"] + place["height"] + GAP
        page.screenshot(path=picture, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()
    with Image.open(picture) as drawn:
        small = drawn.convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
