"""A picture of the page of an audit, to its first findings: ``python docs/pictures/report_page.py AUDIT PICTURE.png``.

The version is left out, so that the picture does not seem old with every release. It needs ``pip install playwright`` and a
Chromium, whose path ``DEBRIDE_CHROMIUM`` has.
"""

from __future__ import annotations

import sys

from browser_pictures import keep_few_colours, opened_report

WIDTH, GAP = 1100, 12


def main(audit: str, picture: str) -> None:
    """Draws the page down to the first line of cards, and keeps few colours so that the file is small."""
    with opened_report(audit, WIDTH) as page:
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
    keep_few_colours(picture, 128)


if __name__ == "__main__":
    main(*sys.argv[1:])
