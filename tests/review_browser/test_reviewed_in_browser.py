"""Reviews in a browser: decided by keyboard, edited with the brush, closed and opened again; what goes wrong is told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser
from tests.review_folders import regions_audit
from tests.review_pages import CHROMIUM, SEEN, Reader, Shown, chromium, classes, pictures, real_volumes, review_page, volumes

from debride.audit.decided import Decision, ReviewDb
from debride.audit.decided.edits import read_edit
from debride.data.open import open_dataset
from debride.types import Dataset

pytestmark = [pytest.mark.system, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

Made = tuple[Dataset, Path]

SETS: dict[str, Callable[[Path], Made | None]] = {
    "volumes": volumes,
    "atrium": real_volumes,
    "pictures": pictures,
    "classes": classes,
}

AXE = os.environ.get("DEBRIDE_AXE")
"""The file axe.min.js of axe-core."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(params=SETS)
def made(request: Any, tmp_path: Path) -> Made:
    found = SETS[request.param](tmp_path)
    if found is None:
        pytest.skip("the volumes are not in DEBRIDE_DATA")
    return found


def latest(audit: Path) -> list[Decision]:
    with ReviewDb(audit) as db:
        return list(db.latest())


def test_thirty_findings_are_decided_one_is_edited_and_all_is_there_again(browser: Browser, made: Made) -> None:
    dataset, audit = made
    with review_page(browser, audit, dataset) as shown:
        kind = "relabel" if dataset.task == "classification" else "missing"
        shown.choose("kind", kind)
        shown.until(f"() => [...document.querySelectorAll('#items .kind')].every(each => each.textContent === '{kind}')")
        shown.choose("kind", "")
        shown.until("() => document.querySelectorAll('#items button').length >= 30")
        keys = "aarau" * 6
        for key in keys:
            shown.decide(key)
        shown.saved()
        assert "30 of" in shown.text("done")
        edited = shown.place
        if shown.masks:
            shown.page.keyboard.press("e")
            shown.paint()
            shown.page.keyboard.press("s")
            shown.until("() => document.getElementById('saved').textContent.startsWith('Edited')")
        else:
            shown.decide("3")
        shown.saved()
        before = shown.states()
        assert not shown.complaints and not shown.foreign
    decided = latest(audit)
    words = {"a": "accept", "r": "reject", "u": "unsure"}
    assert [each.decision for each in decided[:30]] == [words[key] for key in keys] and len(decided) == 31
    if dataset.task != "classification":
        assert decided[30].decision == "edited"
        case = next(case for case in dataset.cases if case.id == decided[30].case)
        shape = tuple(np.load(audit / "proposals" / f"{case.id}.npz")["proposed"].shape)
        edit = read_edit(audit, case.id, decided[30].label, shape, len(dataset.classes))
        assert edit.changed.any() and edit.label[edit.changed].max() == 1
    with review_page(browser, audit, dataset) as again:
        assert again.states() == before and "31 of" in again.text("done")
        if again.masks:
            again.page.locator(f"#items button[data-place='{edited}']").click()
            again.until("() => [...document.querySelectorAll('#layers input')].some(box => box.name === 'mine')")


def test_what_is_not_acknowledged_is_not_shown_as_saved_and_sent_again_once(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        posted: list[str] = []

        def lose(route: Any) -> None:
            """The first answers are lost on the way back; the server heard each."""
            posted.append(route.request.post_data)
            if len(posted) < 3:
                route.fetch()
                route.abort()
            else:
                route.continue_()

        shown.page.route("**/decision", lose)
        shown.page.keyboard.press("a")
        shown.until("() => !document.getElementById('banner').hidden")
        assert "1 decision is not saved yet" in shown.text("banner") and "… not saved yet" in shown.states()
        shown.saved()
        shown.until("() => document.getElementById('banner').hidden")
        assert len(posted) == 3 and len(set(posted)) == 1
        assert shown.states()[0] == "✓ accepted"
    with ReviewDb(audit) as db:
        assert [each.decision for each in db.decisions()] == ["accept"]


def test_shares_say_what_they_mean(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.until(
            "() => document.querySelectorAll('#items .sure').length > 0 && document.querySelectorAll('#facts dt').length > 0"
        )
        assert "how sure it is" in str(shown.page.locator("#items .sure").first.get_attribute("title"))
        severity = shown.page.locator("#facts dt", has_text="severity").first
        assert "how much of the object" in str(severity.get_attribute("title"))


def test_undo_takes_back_strokes_and_then_decisions(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.decide("a")
        shown.saved()
        shown.page.keyboard.press("z")
        shown.until("() => document.getElementById('saved').textContent.startsWith('Taken back')")
        assert not latest(audit)
        shown.until("() => document.body.dataset.place === '1'")
        shown.until("() => document.getElementById('busy').hidden")
        shown.page.keyboard.press("e")
        shown.paint()
        shown.page.keyboard.press("a")
        assert "Save the edit" in shown.text("saved")
        shown.page.keyboard.press("z")
        shown.page.keyboard.press("s")
        assert "Nothing is painted" in shown.text("saved")
        shown.page.keyboard.press("Escape")
        assert shown.page.locator("#brushes").is_hidden()
    assert not latest(audit)


def test_a_comment_goes_with_its_decision(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.page.keyboard.press("c")
        shown.page.keyboard.type("a <b>thin</b> wall")
        shown.page.keyboard.press("Enter")
        shown.decide("r")
        shown.saved()
    (decision,) = latest(audit)
    assert (decision.decision, decision.comment) == ("reject", "a <b>thin</b> wall")


def test_names_with_html_are_text(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    evil = "<img src=x onerror=document.body.dataset.hit=1>"
    with ReviewDb(audit) as db:
        for at, case in enumerate(case.id for case in dataset.cases if case.label):
            db.append(Decision(reader=evil, case=case, number=1, decision="accept", comment=evil), f"{at}")
    with review_page(browser, audit, dataset, Reader(evil + "2")) as shown:
        assert evil in shown.text("who") and evil in shown.text("others")
        assert shown.page.evaluate("() => document.body.dataset.hit ?? ''") == ""
        assert shown.page.locator("#room img").count() == 1  # the thumbnail alone
        assert not shown.complaints


def two_readers(audit: Path, dataset: Dataset) -> None:
    with ReviewDb(audit) as db:
        for at, case in enumerate([case.id for case in dataset.cases if case.label][:8]):
            db.append(Decision(reader="Ben", case=case, number=1, decision="accept", comment="clear"), f"ben {at}")
            word: Any = "reject" if at < 3 else "accept"
            db.append(Decision(reader="Cleo", case=case, number=1, decision=word, comment="as given"), f"cleo {at}")


def test_conflicts_are_decided_with_both_readers_in_view(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    two_readers(audit, dataset)
    with review_page(browser, audit, dataset, Reader("Ada", adjudicates=True)) as shown:
        assert shown.states() == ["⚡ in conflict"] * 3
        others = shown.text("others")
        assert all(word in others for word in ("Ben", "accepted", "clear", "Cleo", "rejected", "as given"))
        shown.until("() => !document.getElementById('agreement').hidden")
        assert "kappa" in shown.text("agreement") and "Ben and Cleo" in shown.text("agreement")
        for _ in range(2):
            shown.decide("a")
        shown.page.keyboard.press("r")
        shown.saved()
    with ReviewDb(audit) as db:
        assert all(standing.state != "conflict" for standing in db.standing().values())


def test_a_blind_reader_sees_nothing_of_others(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = pictures(tmp_path)
    two_readers(audit, dataset)
    with review_page(browser, audit, dataset, Reader("Ada", blind=True)) as shown:
        assert set(shown.states()) == {""}
        body = shown.page.locator("body").inner_text()
        assert not any(word in body for word in ("Ben", "Cleo", "conflict", "kappa"))


@pytest.mark.skipif(not AXE, reason="axe-core is not named by DEBRIDE_AXE")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_axe_finds_nothing_serious(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    for name in ("volumes", "pictures", "classes"):
        dataset, audit = SETS[name](tmp_path / name) or pytest.fail(name)
        with review_page(browser, audit, dataset, width=width, scheme=scheme) as shown:
            shown.decide("a")
            shown.saved()
            found = serious(shown)
            if shown.masks:
                shown.page.keyboard.press("e")
                found += serious(shown)
            shown.page.keyboard.press("Escape")
            shown.page.keyboard.press("?")
            assert not found + serious(shown)


def serious(shown: Shown) -> list[tuple[str, str]]:
    shown.page.evaluate(Path(AXE or "").read_text(encoding="utf-8"))
    told = shown.page.evaluate("() => axe.run()")
    return [(each["id"], each["nodes"][0]["html"]) for each in told["violations"] if each["impact"] in ("serious", "critical")]


def test_the_focus_stays_where_it_is_and_the_address_keeps_filters_and_place(browser: Browser, tmp_path: Path) -> None:
    dataset, audit = classes(tmp_path)
    with review_page(browser, audit, dataset) as shown:
        shown.page.focus("#decide [data-key=a]")
        before = shown.place
        shown.page.keyboard.press("Enter")
        shown.until(f"() => document.body.dataset.place !== '{before}'")
        shown.saved()
        assert shown.page.evaluate("() => document.activeElement.dataset.key") == "a"
        assert max(Counter(shown.asked).values()) <= 2  # a picture once in the grid and once beside it
        shown.choose("kind", "relabel")
        shown.until("() => location.hash.includes('kind=relabel')")
        place = shown.place
        shown.page.reload()
        shown.until("() => document.body.dataset.ready === 'yes'")
        assert shown.place == place and shown.page.input_value("#filters [name=kind]") == "relabel"


def test_a_label_as_a_whole_is_verified_from_a_finding_and_edited_as_a_case(browser: Browser, tmp_path: Path) -> None:
    audit = regions_audit(tmp_path)
    with review_page(browser, audit, open_dataset(tmp_path / "source")) as shown:
        shown.decide("v")
        shown.saved()
        shown.choose("view", "cases")
        shown.until("() => document.querySelectorAll('#items .whole').length === 8")
        assert shown.states()[:2] == ["✓✓ verified", ""]
        second = shown.page.locator("#items button").nth(1)
        second.click()
        shown.until(f"() => document.body.dataset.place === '{second.get_attribute('data-place')}'")
        shown.until(SEEN)
        shown.page.keyboard.press("e")
        shown.paint()
        shown.page.keyboard.press("s")
        shown.saved()
        assert shown.states()[:2] == ["✓✓ verified", "✎ edited"]
    assert [(each.number, each.region, each.decision) for each in latest(audit)] == [(0, "", "verified"), (0, "", "edited")]
