"""A picture of the page of `debride review`: ``python docs/pictures/review_page.py AUDIT READER PICTURE.png [KEY ...]``.

Keys are pressed before the picture is taken: ``j`` for the next finding. It needs ``pip install playwright`` and a Chromium,
whose path ``DEBRIDE_CHROMIUM`` has.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from browser_pictures import keep_few_colours
from playwright.sync_api import sync_playwright

from debride import open_dataset
from debride.review.opened import Reader, open_review
from debride.review.server import serving

WIDTH, HEIGHT = 1200, 700


def main(audit: str, reader: str, picture: str, *keys: str) -> None:
    """Opens the review as this reader, blind to others, and keeps few colours so that the file is small."""
    dataset = open_dataset(json.loads(Path(audit, "audit.json").read_text())["dataset"]["root"])
    arguments = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with serving(open_review(Path(audit), dataset, Reader(reader, blind=True))) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("DEBRIDE_CHROMIUM", "/usr/bin/chromium"), args=arguments
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(address)
        page.wait_for_timeout(6000)
        for key in keys:
            page.keyboard.press(key)
            page.wait_for_timeout(4000)
        page.screenshot(path=picture)
        browser.close()
    keep_few_colours(picture, 255)


if __name__ == "__main__":
    main(*sys.argv[1:])
