"""The worklist: what it holds of each kind of audit, its filters, pages, counts and neighbours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.large_audit import write_large_audit
from tests.review_folders import classes_audit, decided, masks_audit, regions_audit

from debride.audit.decided import ReviewDb
from debride.review.worklist_index import Filters, Worklist, read_filters
from debride.types import DataError


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return masks_audit(tmp_path)


@pytest.fixture
def db(audit: Path) -> Iterator[ReviewDb]:
    with ReviewDb(audit) as opened:
        yield opened


def keys(worklist: Worklist, **filters: Any) -> list[tuple[str, str, int]]:
    return [(item["region"], item["case"], item["number"]) for item in worklist.page(Filters(**filters)).items]


def test_an_audit_of_masks(db: ReviewDb) -> None:
    worklist = Worklist(db, "ann")
    assert keys(worklist) == [("", "p00_s0", 1), ("", "p00_s0", 2), ("", "p01_s1", 1)]
    assert keys(worklist, view="cases") == [("", f"p0{patient}_s{at}", 0) for patient in range(4) for at in range(2)]
    item = worklist.item(3)
    assert item == {
        **{
            "place": 3,
            "region": "",
            "case": "p01_s1",
            "number": 1,
            "kind": "missing",
            "class": "part_1",
            "first": None,
            "whole": 7,
        },
        **{"given": "background", "proposed": "part_1", "confidence": 0.9, "severity": 0.5, "wrong": None, "flagged": True},
        **{"size": "0.5 ml (12 voxels)", "distance": "-2.0 mm long", "change": "background → part_1", "patient": "p01_s1"},
        **{"box": [[0, 3], [0, 4]], "groups": {}, "state": "", "mine": None, "others": []},
    }
    first = worklist.page(Filters(view="cases")).items[3]
    assert (first["case"], first["first"], first["box"], first["flagged"]) == ("p01_s1", 3, None, True)


def test_an_audit_by_regions(tmp_path: Path) -> None:
    audit = regions_audit(tmp_path)
    with ReviewDb(audit) as db:
        worklist = Worklist(db, "ann")
        found = worklist.page(Filters()).items
        one, other = dict.fromkeys(item["region"] for item in found)
        assert [(item["region"], item["case"]) for item in found] == [(one, "p00_s0"), (one, "p00_s1"), (other, "p00_s0")]
        assert [item["class"] for item in found] == [one, one, other]
        assert keys(worklist, region=other) == [(other, "p00_s0", 1)]
        assert keys(worklist, region=other, view="cases") == keys(worklist, view="cases")
        assert [worklist.item(item["whole"])["case"] for item in found] == ["p00_s0", "p00_s1", "p00_s0"]
        cases = worklist.page(Filters(view="cases")).items
        assert [item["first"] for item in cases[:3]] == [1, 2, None]
        assert [item["case"] for item in cases if item["flagged"]] == ["p00_s1"]
        worklist.decide(cases[0]["place"], "verified", sent="1")
        assert keys(worklist, state="undecided") == [(one, "p00_s1", 1)]


def test_an_audit_of_classes(tmp_path: Path) -> None:
    audit = classes_audit(tmp_path / "audit")
    with ReviewDb(audit) as db:
        worklist = Worklist(db, "ann")
        assert keys(worklist) == [("", "a", 1), ("", "c", 1)]
        assert [item["kind"] for item in worklist.page(Filters()).items] == ["relabel", "duplicate"]
        assert keys(worklist, view="cases") == [("", "a", 1), ("", "c", 1), ("", "b", 0)]
        assert keys(worklist, view="cases", site="north") == [("", "c", 1), ("", "b", 0)]
        assert worklist.item(2)["groups"] == {"site": "north"}


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"kind": "missing"}, 3),
        ({"kind": "swap"}, 0),
        ({"class_name": "part_1"}, 2),
        ({"confidence": 0.5}, 2),
        ({"text": "P01"}, 1),
        ({"text": "p_0"}, 0),
        ({"text": "%"}, 0),
        ({"view": "chosen"}, 1),
        ({"view": "cases", "text": "s1"}, 4),
    ],
)
def test_filters(db: ReviewDb, filters: dict[str, Any], numbers: int) -> None:
    worklist = Worklist(db, "ann", chosen=["p02_s0"])
    assert worklist.page(Filters(**filters)).total == len(keys(worklist, **filters)) == numbers


def test_filters_are_read_from_a_query() -> None:
    query = {"view": "cases", "class": "a", "confidence": "0.5", "text": "", "after": "3", "state": "undecided"}
    assert read_filters(query) == Filters(view="cases", class_name="a", confidence=0.5, state="undecided")


@pytest.mark.parametrize(
    ("name", "value"), [("view", "all"), ("state", "new"), ("confidence", "x"), ("confidence", "2"), ("confidence", "nan")]
)
def test_a_filter_that_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(DataError, match=name):
        read_filters({name: value})


def test_chosen_cases_that_the_audit_does_not_have_are_refused(db: ReviewDb) -> None:
    with pytest.raises(DataError, match="names other"):
        Worklist(db, "ann", chosen=["p00_s0", "other"])


def test_what_two_readers_decide(db: ReviewDb) -> None:
    ann, ben, blind = Worklist(db, "ann"), Worklist(db, "ben"), Worklist(db, "eve", blind=True)
    ann.decide(1, "accept", comment="torn", sent="1")
    ben.decide(1, "reject", sent="2")
    ben.decide(2, "unsure", sent="3")
    item = ann.item(1)
    assert item["state"] == "conflict"
    assert item["mine"]["decision"] == "accept" and item["mine"]["comment"] == "torn"
    assert [(other["reader"], other["decision"]) for other in item["others"]] == [("ben", "reject")]
    assert (blind.item(1)["state"], blind.item(1)["others"]) == ("", [])
    assert keys(ann, state="disagreed") == [("", "p00_s0", 1)]
    assert keys(ann, state="unsure") == [("", "p00_s0", 2)] and keys(blind, state="unsure") == []
    with pytest.raises(DataError, match="blind"):
        blind.page(Filters(state="disagreed"))
    assert keys(ann, state="undecided") == [("", "p00_s0", 2), ("", "p01_s1", 1)]
    assert keys(ben, state="decided") == [("", "p00_s0", 1), ("", "p00_s0", 2)]
    counts = ben.counts(Filters(state="undecided"))
    assert {name: counts[name] for name in ("all", "decided", "left", "disagreed")} == {
        **{"all": 3, "decided": 2, "left": 1},
        "disagreed": 1,
    }
    assert {word: count for word, count in counts["by"].items() if count} == {"reject": 1, "unsure": 1}
    assert blind.counts(Filters())["disagreed"] is None


def test_undo_rounds_and_adjudication(db: ReviewDb) -> None:
    ann, again, judge = Worklist(db, "ann"), Worklist(db, "ann", round=2), Worklist(db, "ann", adjudicates=True)
    ann.decide(1, "accept", sent="1")
    ann.decide(2, "accept", sent="2")
    ann.decide(2, "withdrawn", sent="3")
    assert keys(ann, state="decided") == [("", "p00_s0", 1)] and ann.item(2)["state"] == ""
    assert again.item(1)["mine"] is None and keys(again, state="decided") == []
    again.decide(1, "reject", sent="4")
    assert again.item(1)["state"] == "reject" and again.item(1)["mine"]["decision"] == "reject"
    judge.decide(1, "accept", sent="5")
    assert judge.item(1)["state"] == "accept"
    assert [(other["round"], other["decision"]) for other in judge.item(1)["others"]] == [(1, "accept"), (2, "reject")]


def test_undo_in_a_later_round_leaves_the_earlier_one(db: ReviewDb) -> None:
    ann, again = Worklist(db, "ann"), Worklist(db, "ann", round=2)
    ann.decide(1, "reject", sent="1")
    again.decide(1, "accept", sent="2")
    again.decide(1, "withdrawn", sent="3")
    assert (again.item(1)["state"], again.item(1)["mine"]) == ("reject", None)
    assert ann.item(1)["mine"]["decision"] == "reject"
    again.decide(1, "accept", sent="4")
    ann.decide(1, "unsure", sent="5")  # which a later round overrides, whenever it was said
    assert ann.item(1)["state"] == "accept"


def test_pages_and_neighbours(tmp_path: Path) -> None:
    found = write_large_audit(tmp_path / "audit", 40, share=1)
    with ReviewDb(tmp_path / "audit") as db:
        worklist, seen, after = Worklist(db, "ann"), [], 0
        while True:
            page = worklist.page(Filters(confidence=0.1), after, many=7)
            seen += [(item["case"], item["number"]) for item in page.items]
            if page.next is None:
                break
            after = page.next
        sure = [(finding.case, finding.number) for finding in found if finding.confidence >= 0.1]
        assert seen == sure and page.total == len(sure) > 14
        places = [item["place"] for item in worklist.page(Filters(confidence=0.1), many=1000).items]
        worklist.decide(places[4], "reject", sent="1")
        at = worklist.neighbours(places[3], Filters(confidence=0.1))
        assert at == {"previous": places[2], "next": places[4], "next_undecided": places[5]}
        last = worklist.neighbours(places[-1], Filters(confidence=0.1))
        assert last == {"previous": places[-2], "next": None, "next_undecided": places[0]}


def test_a_word_that_does_not_fit_is_refused(db: ReviewDb) -> None:
    worklist = Worklist(db, "ann")
    for place, word, label in ((1, "verified", ""), (4, "accept", ""), (1, "edited", ""), (1, "accept", "x"), (1, "yes", "")):
        with pytest.raises(DataError):
            worklist.decide(place, word, label=label, sent=f"{place}{word}")  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        worklist.decide(99, "accept", sent="1")
    with pytest.raises(KeyError):
        worklist.item(99)
    assert list(db.decisions()) == []


def test_the_time_that_is_left(db: ReviewDb) -> None:
    assert Worklist(db, "ann").counts(Filters())["seconds_left"] is None
    for at, second in enumerate((0, 10, 30, 600, 604, 604.01)):  # gaps of 10, 20, a pause, 4, and a file that was read in
        minutes, seconds = divmod(second, 60)
        time = f"2026-01-01T10:{int(minutes):02d}:{seconds:06.3f}+00:00"
        db.append(decided("ann", "p00_s0", 1, "accept", time=time), str(at))
    assert Worklist(db, "ann").pace() == 10
    assert Worklist(db, "ann").counts(Filters())["seconds_left"] == 20
    assert Worklist(db, "ben").pace() is None


def test_items_follow_every_decision_whoever_adds_it(db: ReviewDb) -> None:
    worklist = Worklist(db, "ann")
    db.append(decided("ben", "p00_s0", 2, "edited", label="x"), "1")
    db.append(decided("ann", "p00_s0", 2, "edited", label="y"), "2")
    assert worklist.item(2)["state"] == "conflict" and worklist.item(2)["mine"]["label"] == "y"


@pytest.mark.parametrize(
    "harm",
    ["UPDATE items_of SET version = 0; DELETE FROM items", "DROP TABLE items", "DROP TRIGGER items_follow", "DROP TABLE own"],
)
def test_items_that_are_missing_or_of_another_version_are_made_anew(db: ReviewDb, harm: str) -> None:
    db.append(decided("ann", "p00_s0", 1, "accept"), "1")
    db.append(decided("ann", "p00_s0", 2, "accept"), "2")
    db.append(decided("ann", "p00_s0", 2, "withdrawn"), "3")
    assert keys(Worklist(db, "ann"), state="decided") == [("", "p00_s0", 1)]
    db.connection.executescript(harm)
    worklist = Worklist(db, "ann")
    assert worklist.page(Filters()).total == 3
    assert worklist.item(1)["state"] == "accept" and keys(worklist, state="decided") == [("", "p00_s0", 1)]
    worklist.decide(3, "reject", sent="4")
    assert worklist.item(3)["state"] == "reject"


def test_a_damaged_audit_leaves_no_items(audit: Path) -> None:
    with (audit / "findings.jsonl").open("a") as file:
        file.write("{}\n")
    with ReviewDb(audit) as db:
        with pytest.raises(DataError, match=r"findings\.jsonl"):
            Worklist(db, "ann")
        assert not db.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'items'").fetchone()


BEGIN = """
import sys
from pathlib import Path
from debride.audit.decided import ReviewDb
from debride.review.worklist_index import Worklist
for at in range(20):
    with ReviewDb(Path(sys.argv[1])) as db:
        Worklist(db, sys.argv[2]).decide(1 + at % 3, "accept", sent=f"{sys.argv[2]}{at}")
"""


def test_processes_that_begin_at_once(audit: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", BEGIN, str(audit), reader]) for reader in ("ann", "ben")]
    assert [process.wait() for process in processes] == [0, 0]
    with ReviewDb(audit) as db:
        assert len(list(db.decisions())) == 40
        assert Worklist(db, "ann").item(1)["state"] == "accept"
