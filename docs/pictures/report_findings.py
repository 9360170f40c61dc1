"""A picture of the first findings on the page of an audit: ``python docs/pictures/report_findings.py AUDIT PICTURE.png``.

It needs ``pip install playwright`` and a Chromium, whose path ``DEBRIDE_CHROMIUM`` has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FINDINGS, WIDTH, GAP = 2, 1000, 12


def main(audit: str, picture: str) -> None:
    """Draws the cards of the first findings as a browser does, and keeps few colours so that the file is small."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("DEBRIDE_CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(Path(audit, "report.html").resolve().as_uri())
        cards = [page.locator(f"#f{number}") for number in range(FINDINGS)]
        for card in cards:
            card.scroll_into_view_if_needed()
            card.locator("img").first.wait_for()
        page.wait_for_timeout(500)
        first, last = cards[0].bounding_box(), cards[-1].bounding_box()
        assert first and last
        top = page.evaluate("scrollY") + first["y"] - GAP
        height = last["y"] + last["height"] - first["y"] + 2 * GAP
        page.screenshot(path=picture, full_page=True, clip={"x": 0, "y": top, "width": WIDTH, "height": height})
        browser.close()
    with Image.open(picture) as drawn:
        small = drawn.convert("RGB").quantize(255, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
