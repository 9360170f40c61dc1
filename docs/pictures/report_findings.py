"""A picture of the first findings on the page of an audit: ``python docs/pictures/report_findings.py AUDIT PICTURE.png``.

It needs ``pip install playwright`` and a Chromium, whose path ``DEBRIDE_CHROMIUM`` has.
"""

from __future__ import annotations

import sys

from browser_pictures import keep_few_colours, opened_report

FINDINGS, WIDTH, GAP = 2, 1000, 12


def main(audit: str, picture: str) -> None:
    """Draws the cards of the first findings as a browser does, and keeps few colours so that the file is small."""
    with opened_report(audit, WIDTH) as page:
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
    keep_few_colours(picture, 255)


if __name__ == "__main__":
    main(*sys.argv[1:])
