"""What is done while something else is still under way: nothing painted, written or decided is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser
from tests.review_pages import CHROMIUM, Shown, chromium, classes, pictures, review_page, volumes

from debride.audit.decided import Decision, ReviewDb
from debride.audit.decided.edits import read_edit
from debride.review.server import way_to

pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def decisions(audit: Path) -> list[Decision]:
    with ReviewDb(audit) as db:
        return list(db.decisions())


def stroke(shown: Shown, across: float, down: float) -> None:
    """A stroke that begins at a share of the viewer's sides."""
    box = shown.page.locator("#over").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * across, box["y"] + box["height"] * down
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x + 20, y, steps=3)
    shown.page.mouse.up()


def said(shown: Shown, words: str) -> None:
    shown.until(f"() => document.getElementById('saved').textContent.startsWith('{words}')")


def test_what_is_painted_while_an_edit_is_saved_is_kept(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:

        def slow(route: Any) -> None:
            time.sleep(1)
            route.continue_()

        shown.page.route("**/edit*", slow)
        shown.page.keyboard.press("e")
        stroke(shown, 0.3, 0.25)
        shown.page.keyboard.press("s")
        shown.page.keyboard.press("e")
        stroke(shown, 0.3, 0.8)
        shown.saved()
        shown.page.wait_for_timeout(300)  # what was saved came back
        assert shown.page.locator("#brushes").is_visible()
        shown.page.keyboard.press("s")
        shown.saved()
    one, two = (read_edit(audit, each.case, each.label, (48, 48), len(dataset.classes)) for each in decisions(audit))
    assert two.changed.sum() > one.changed.sum() and two.box != one.box


def test_another_channel_keeps_what_is_painted(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = volumes(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.page.keyboard.press("e")
        shown.paint()
        shown.page.select_option("#channel", index=1)
        shown.until("() => document.getElementById('stage').dataset.shown.endsWith(' 1')")
        shown.page.locator("#save").click()
        said(shown, "Edited")
    (made,) = decisions(audit)
    assert read_edit(audit, made.case, made.label, (12, 32, 36), len(dataset.classes)).changed.any()


def test_an_edit_comes_back_by_undo_and_takes_a_comment(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.page.keyboard.press("e")
        stroke(shown, 0.3, 0.25)
        shown.page.keyboard.press("s")
        said(shown, "Edited")
        shown.page.keyboard.press("c")
        shown.page.keyboard.type("thin wall")
        shown.page.keyboard.press("Enter")
        shown.saved()
        shown.decide("r")
        shown.page.keyboard.press("z")
        said(shown, "Taken back")
    made = decisions(audit)
    assert [each.decision for each in made] == ["edited", "edited", "reject", "edited"]
    assert [each.comment for each in made] == ["", "thin wall", "thin wall", "thin wall"]
    assert len({each.label for each in made if each.label}) == 1


def test_a_server_that_was_started_again_drops_nothing(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.page.route("**/decision", lambda route: route.fulfill(status=404, body="404", content_type="text/plain"))
        shown.page.keyboard.press("a")
        shown.until("() => !document.getElementById('banner').hidden")
        assert "started again at another address" in shown.text("banner") and "1 decision is not saved" in shown.text("banner")
        shown.page.unroute("**/decision")
        shown.page.locator("#again").click()
        shown.saved()
    assert [each.decision for each in decisions(audit)] == ["accept"]


def test_a_comment_on_a_finding_goes_with_its_label_as_a_whole(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.page.keyboard.press("c")
        shown.page.keyboard.type("all is right")
        shown.page.keyboard.press("Enter")
        shown.page.keyboard.press("v")
        shown.page.keyboard.press("j")
        said(shown, "Verified")
    (made,) = decisions(audit)
    assert (made.number, made.decision, made.comment) == (0, "verified", "all is right")


def test_no_other_image_is_in_view_where_one_cannot_be_shown(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = volumes(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.page.keyboard.press("d")
        shown.until("() => document.getElementById('solid').checkVisibility({ visibilityProperty: true })")
        shown.page.route("**/layer/image*", lambda route: route.fulfill(status=409, json={"problem": "is damaged"}))
        for key in ("w", "j"):
            shown.page.keyboard.press(key)
            shown.until("() => document.getElementById('warning').textContent.includes('is damaged')")
            assert all(shown.page.locator(f"#{name}").is_hidden() for name in ("planes", "picture", "solid"))
        shown.page.unroute("**/layer/image*")
        shown.page.keyboard.press("w")
        shown.until("() => !document.getElementById('planes').hidden && document.getElementById('busy').hidden")


def test_the_file_that_opens_a_review_leads_to_it(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown, way_to(shown.page.url.partition("#")[0], audit) as way:
        page = browser.new_page()
        page.goto(way.as_uri())
        page.wait_for_url("http://127.0.0.1:*/**")
        page.locator("body[data-ready=yes]").wait_for(timeout=20_000)
        page.close()


def test_no_key_decides_before_the_picture_of_a_class_is_there(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = classes(tmp_path, many=4)
    with review_page(browser, audit, dataset) as shown:
        before = shown.place
        late: list[Any] = []

        def hold(route: Any) -> None:
            late.append(route)

        shown.page.route("**/picture.png?late", hold)
        shown.page.evaluate("() => { document.getElementById('thumb').src += '?late'; }")
        shown.page.keyboard.press("a")
        assert "not there yet" in shown.text("saved") and shown.place == before
        while not late:
            shown.page.wait_for_timeout(20)
        late[0].continue_()
        shown.until("() => document.getElementById('thumb').complete")
        shown.decide("a")
        shown.saved()
    assert [each.decision for each in decisions(audit)] == ["accept"]
