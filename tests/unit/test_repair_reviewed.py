"""Repairs by the database of a review: who decided what, what stays, what was painted, and which labels are verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.audited_regions import write_region_audit
from tests.audits import contents
from tests.datasets import build_nnunet_2d, save_json, save_png
from tests.region_sets import build_regions_2d
from tests.reviews import decide
from tests.written_audits import (
    ALL,
    CLASSES,
    box,
    four_findings,
    given_label,
    label_files,
    lines_of,
    square,
    two_findings,
    write_audit,
)

from debride.api.repairing import repair_dataset
from debride.api.signing_off import list_changes
from debride.audit.after_review import covered, read_after_review
from debride.audit.decided import write_edit
from debride.audit.decided.reviewed import read_review
from debride.audit.repair import Destination, repair, reverse
from debride.audit.repair.decisions import parse_acceptance
from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_values
from debride.types import IGNORE, DataError


def by(database: Path, words: tuple[str, ...] = (), **others: Any) -> Any:
    return parse_acceptance(words, CLASSES, decisions=database, **others)


def test_what_readers_agree_on_is_done_and_the_rest_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, audit = four_findings(tmp_path)
    rows = [("ada", "case002", 1, "accept"), ("ben", "case002", 1, "accept"), ("ada", "case002", 2, "reject")]
    rows += [("ada", "case002", 3, "accept"), ("ben", "case002", 3, "reject"), ("ben", "case002", 4, "unsure")]
    database = decide(audit, rows, comment="seen")
    repair(source, audit, tmp_path / "out", by(database, ("all",)))
    lines = lines_of(tmp_path / "out")
    label, expected = given_label(open_dataset(tmp_path / "out"), "case002"), given_label(source, "case002").copy()
    expected[26:30, 26:30] = 1
    np.testing.assert_array_equal(label, expected)
    told = {number: (line["status"], line["why"]) for (_, number), line in lines.items()}
    assert told == {
        1: ("applied", ""),
        2: ("declined", "rejected by ada"),
        3: ("declined", "readers disagree: accept (ada), reject (ben)"),
        4: ("declined", "ben is unsure"),
    }
    first = lines["case002", 1]
    assert (first["decision"], first["readers"], first["rounds"]) == ("accept", ["ada", "ben"], [1])
    assert first["comment"] == "ada: seen; ben: seen" and first["time"].startswith("20") and "edit" not in first
    assert (
        main(["repair", str(tmp_path / "source"), str(audit), "--out", str(tmp_path / "two"), "--decisions", str(database)])
        == 0
    )
    said = capsys.readouterr().out
    assert "2 stay as given, as readers disagree or are unsure: case002 3, case002 4" in said
    assert contents(tmp_path / "two") == contents(tmp_path / "out")  # the rule had nothing to take
    reverse(tmp_path / "out", tmp_path / "back")
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)


def test_a_rule_takes_what_is_undecided_and_a_verified_label_rejects_it(tmp_path: Path) -> None:
    source, audit = two_findings(tmp_path)
    database = decide(audit, [("ada", "p00_s0", 1, "accept")])
    repair(source, audit, tmp_path / "rule", by(database, ("all",)))
    assert {key: line["status"] for key, line in lines_of(tmp_path / "rule").items()} == {
        ("p00_s0", 1): "applied",
        ("p00_s0", 2): "applied",
        ("p01_s1", 1): "applied",
    }
    assert not (tmp_path / "rule" / "trusted.txt").exists()
    decide(audit, [("ada", "p00_s0", 0, "verified"), ("ben", "p01_s1", 0, "unsure"), ("ben", "p02_s0", 0, "verified")])
    summary = repair(source, audit, tmp_path / "verified", by(database, ("all",)))
    lines = lines_of(tmp_path / "verified")
    assert {key: (line["status"], line["why"]) for key, line in lines.items()} == {
        ("p00_s0", 1): ("applied", ""),
        ("p00_s0", 2): ("declined", "the label as a whole was verified by ada"),
        ("p01_s1", 1): ("declined", "ben is unsure of the label as a whole"),
        ("p00_s0", 0): ("verified", ""),
        ("p01_s1", 0): ("declined", "ben is unsure of the label as a whole"),
        ("p02_s0", 0): ("verified", ""),
    }
    assert (summary["stays"], summary["verified"], summary["applied"]) == (["p01_s1"], 2, 1)
    assert (tmp_path / "verified" / "trusted.txt").read_text() == "p00_s0\np02_s0\n"
    opened = open_dataset(tmp_path / "verified", trusted=tmp_path / "verified" / "trusted.txt")
    assert {case.id for case in opened.cases if case.trusted} == {"p00_s0", "p02_s0"}
    reverse(tmp_path / "verified", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tmp_path / "source")


def test_a_later_repair_keeps_the_list_of_verified_labels_true(tmp_path: Path) -> None:
    source, audit = two_findings(tmp_path)
    database = decide(audit, [("ada", "p00_s0", 0, "verified"), ("ada", "p02_s0", 0, "verified")])
    repair(source, audit, tmp_path / "one", by(database))
    one = open_dataset(tmp_path / "one")
    where = box((32, 32), (0, 3), (0, 4))
    again = write_audit(tmp_path / "again", one, {"p00_s0": [(where, 1, {"kind": "missing"})]})
    repair(one, again, tmp_path / "two", ALL)
    assert (tmp_path / "two" / "trusted.txt").read_text() == "p02_s0\n"
    reverse(tmp_path / "two", tmp_path / "back")
    assert (tmp_path / "back" / "trusted.txt").read_text() == (tmp_path / "one" / "trusted.txt").read_text()
    assert contents(tmp_path / "back") == contents(tmp_path / "one")


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        ({"ben": "unsure"}, []),
        ({"ada": "accept", "ben": "reject"}, []),
        ({"ada": "reject"}, ["p00_s0"]),
        ({"ada": "accept"}, []),
    ],
)
def test_a_verified_label_that_readers_doubt_later_leaves_the_list(
    tmp_path: Path, words: dict[str, str], listed: list[str]
) -> None:
    source, audit = two_findings(tmp_path)
    repair(source, audit, tmp_path / "one", by(decide(audit, [("ada", "p00_s0", 0, "verified")])))
    one = open_dataset(tmp_path / "one", trusted=tmp_path / "one" / "trusted.txt")  # which holds back what is accepted
    again = write_audit(tmp_path / "again", one, {"p00_s0": [(box((32, 32), (0, 3), (0, 4)), 1, {"kind": "missing"})]})
    database = decide(again, [(reader, "p00_s0", 1, word) for reader, word in words.items()])
    repair(one, again, tmp_path / "two", by(database))
    assert (tmp_path / "two" / "trusted.txt").read_text().split() == listed


def edited(
    audit: Path, case: str, number: int, seen: Any, places: Any, value: int, reader: str = "ada", region: str = ""
) -> str:
    painted = seen.copy()
    painted[places] = value
    hash = write_edit(audit, case, seen, painted)
    decide(audit, [(reader, case, number, "edited")], label=hash, region=region)
    return hash


def test_what_is_painted_takes_the_place_of_findings(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    given = given_label(source, "case002")
    database = decide(audit, [("ada", "case002", 4, "accept")])
    hash = edited(audit, "case002", 1, given, square(24, 26, shape=(32, 32)), 2)
    summary = repair(source, audit, tmp_path / "out", by(database))
    expected = given.copy()
    expected[12, 12:16] = 1
    for row in range(24, 28):
        for column in range(26, 30):
            expected[row, column] = 2
    expected[square(12, 12, rows=1, shape=(32, 32))] = np.load(audit / "proposals" / "case002.npz")["proposed"][12, 12]
    np.testing.assert_array_equal(given_label(open_dataset(tmp_path / "out"), "case002"), expected)
    line = lines_of(tmp_path / "out")["case002", 1]
    assert (line["kind"], line["finding"], line["edit"], line["status"], line["voxels"]) == (
        "edited",
        "missing",
        hash,
        "applied",
        16,
    )
    assert summary["kinds"]["edited"] == 1

    whole = edited(audit, "case002", 0, given, square(2, 2, rows=2, shape=(32, 32)), 0, "ben")
    repair(source, audit, tmp_path / "whole", by(database))
    np.testing.assert_array_equal(
        given_label(open_dataset(tmp_path / "whole"), "case002"), np.where(square(2, 2, rows=2, shape=(32, 32)), 0, given)
    )
    lines = lines_of(tmp_path / "whole")
    assert lines["case002", 0]["edit"] == whole and lines["case002", 0]["status"] == "applied"
    assert {lines["case002", number]["why"] for number in (1, 2, 3, 4)} == {"the label as a whole was edited by ben"}
    assert (tmp_path / "whole" / "trusted.txt").read_text() == "case002\n"
    assert reverse(tmp_path / "whole", tmp_path / "back") == {"cases": 1}
    assert label_files(open_dataset(tmp_path / "back")) == label_files(source)
    edited(audit, "case002", 0, given, square(2, 2, rows=1, shape=(32, 32)), 0, "cem")
    summary = repair(source, audit, tmp_path / "conflict", by(database))
    assert label_files(open_dataset(tmp_path / "conflict")) == label_files(source)
    assert (summary["stays"], summary["applied"], (tmp_path / "conflict" / "trusted.txt").exists()) == (["case002"], 0, False)


@pytest.mark.parametrize(
    ("rare", "removal", "why"), [(0, False, ""), (9, False, "an object of a would be lost by an edit"), (9, True, "")]
)
def test_a_reader_may_remove_an_object_but_none_of_a_rare_class(tmp_path: Path, rare: int, removal: bool, why: str) -> None:
    source, audit = four_findings(tmp_path)
    given = given_label(source, "case002")
    edited(audit, "case002", 2, given, square(2, 2, shape=(32, 32)), 0)
    repair(source, audit, tmp_path / "out", by(audit / "review.db", rare=rare, allow_removal=removal))
    line = lines_of(tmp_path / "out")["case002", 2]
    assert (line["status"] == "guarded") == bool(why) and line["why"].startswith(why)
    assert (given_label(open_dataset(tmp_path / "out"), "case002")[2, 2] == 0) == (not why)


def test_a_reader_may_move_a_rare_object_but_not_empty_a_class(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    given = given_label(source, "case002")
    moved = np.where(given == 2, 0, given)
    edited(audit, "case002", 2, given, ..., moved)  # type: ignore[arg-type]
    repair(source, audit, tmp_path / "out", by(audit / "review.db", rare=0))
    assert lines_of(tmp_path / "out")["case002", 2]["why"].startswith("the class b would vanish from the case")
    moved[8:12, 26:30], moved[20:24, 20:24] = 2, 2
    edited(audit, "case002", 2, given, ..., moved)  # type: ignore[arg-type]
    repair(source, audit, tmp_path / "moved", by(audit / "review.db", rare=9))
    assert lines_of(tmp_path / "moved")["case002", 2]["status"] == "applied"


def test_edits_to_ignore_and_to_weights(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    given = given_label(source, "case002")
    where = square(24, 26, shape=(32, 32))
    edited(audit, "case002", 1, given, where, 2)
    decide(audit, [("ada", "case002", 0, "verified")])
    repair(source, audit, tmp_path / "ignore", by(audit / "review.db"), Destination(to="ignore"))
    np.testing.assert_array_equal(given_label(open_dataset(tmp_path / "ignore"), "case002"), np.where(where, IGNORE, given))
    for weight, value in ((None, 0), (0.4, 102)):
        out = tmp_path / f"weights-{weight}"
        repair(source, audit, out, by(audit / "review.db"), Destination(to="weights", weight=weight))
        np.testing.assert_array_equal(read_values(out / "weights" / "case002.png")[0], np.where(where, value, 255))
        assert label_files(open_dataset(out)) == label_files(source)
        assert not (out / "trusted.txt").exists()  # its label is as it was


def test_edits_of_regions_are_of_the_integer_label(tmp_path: Path) -> None:
    dataset = open_dataset(build_regions_2d(tmp_path / "source"))
    case = next(case.id for case in dataset.cases if case.label)
    given = given_label(dataset, case)
    region = dataset.regions[0].name
    where, other = box(given.shape, (0, 4), (0, 4)), box(given.shape, (6, 9), (0, 4))
    found = {region: {case: [(where, 1, {"kind": "missing"}), (other, 1, {"kind": "missing"})]}}
    audit = write_region_audit(tmp_path / "audit", dataset, found)
    painted = box(given.shape, (0, 2), (0, 6))
    decide(audit, [("ada", case, 2, "accept")], region=region)
    edited(audit, case, 1, given, painted, 3, region=region)
    repair_dataset(tmp_path / "source", audit, tmp_path / "out", decisions=audit / "review.db", allow_removal=True)
    expected = np.where(painted, 3, np.where(other & (given == 0), dataset.regions[0].paints, given))
    np.testing.assert_array_equal(given_label(open_dataset(tmp_path / "out"), case), expected)
    again = read_after_review(audit, open_dataset(tmp_path / "out"))
    assert (again.trusted, again.many) == ({case}, 2)
    (row,) = again.decided[case][region]
    np.testing.assert_array_equal(covered([row], case, given.shape), where | other | painted & (given != 3))
    with pytest.raises(DataError, match="does not lie in"):
        repair_dataset(tmp_path / "source", audit / "heart", tmp_path / "one", decisions=audit / "review.db")


def test_a_review_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    source, audit = two_findings(tmp_path)
    database = decide(audit, [("ada", "p00_s0", 7, "accept")])
    with pytest.raises(DataError, match="decides on finding 7 of 'p00_s0', which the audit does not have"):
        repair(source, audit, tmp_path / "out", by(database))
    (tmp_path / "copy.db").write_bytes(database.read_bytes())
    with pytest.raises(DataError, match="does not lie in"):
        repair(source, audit, tmp_path / "out", by(tmp_path / "copy.db"))
    database.unlink()
    with pytest.raises(DataError, match="nobody has reviewed this audit"):
        repair(source, audit, tmp_path / "out", by(database))
    decide(audit, [("ada", "p00_s0", 0, "verified")])
    save_png(tmp_path / "source" / "labelsTr" / "p00_s0.png", np.ones((32, 32), np.uint8))
    with pytest.raises(DataError, match="has a label changed since the audit"):
        repair(source, audit, tmp_path / "out", by(database))


def test_flagged_cases_that_are_settled_stay_in_the_folds(tmp_path: Path) -> None:
    build_nnunet_2d(tmp_path / "source", classes=3)
    save_json(tmp_path / "source" / "splits_final.json", [{"train": ["p00_s0", "p00_s1"], "val": ["p01_s0", "p01_s1"]}])
    source = open_dataset(tmp_path / "source")
    audit = write_audit(tmp_path / "audit", source, {}, flagged=["p00_s0", "p01_s1"])
    database = decide(audit, [("ada", "p01_s1", 0, "verified")])
    summary = repair(source, audit, tmp_path / "out", by(database), Destination(leave_out="flagged"))
    assert summary["left_out"] == ["p00_s0"]


def test_a_flagged_case_whose_repair_was_held_back_leaves_the_folds(tmp_path: Path) -> None:
    build_nnunet_2d(tmp_path / "source", classes=3)
    save_json(tmp_path / "source" / "splits_final.json", [{"train": ["p00_s0", "p00_s1"], "val": ["p01_s0", "p01_s1"]}])
    source = open_dataset(tmp_path / "source")
    everything = given_label(source, "p00_s0") > 0
    found = {"p00_s0": [(everything, 0, {"kind": "extra"})]}
    audit = write_audit(tmp_path / "audit", source, found, flagged=["p00_s0"])
    database = decide(audit, [("ada", "p00_s0", 1, "accept")])
    for removal in (False, True):
        accept, out = by(database, allow_removal=removal), tmp_path / f"out-{removal}"
        summary = repair(source, audit, out, accept, Destination(leave_out="flagged"))
        assert (summary["guarded"], summary["left_out"]) == ((0, []) if removal else (1, ["p00_s0"]))


def test_a_label_that_somebody_is_unsure_of_is_not_settled(tmp_path: Path) -> None:
    _, audit = four_findings(tmp_path)
    decide(audit, [("ada", "case002", number, "reject") for number in (1, 2, 3)])
    findings = [("", "case002", number) for number in (1, 2, 3)]
    assert read_review(audit).settled(findings) == {"case002"}
    decide(audit, [("ben", "case002", 0, "unsure")])
    assert read_review(audit).settled(findings) == frozenset()


def test_a_table_of_several_readers_is_read_like_the_database(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    table = tmp_path / "decisions.csv"
    rows = [
        "case,number,decision,reader,comment,time",
        "case002,1,accept,ada,seen,2026-03-01T12:00:00",
        "case002,1,accept,ben,,",
    ]
    rows += ["case002,3,accept,ada,,", "case002,3,reject,ben,,", "case002,2,accept,,,"]
    table.write_text("\n".join(rows) + "\n")
    summary = repair(source, audit, tmp_path / "out", by(table, rare=0))
    lines = lines_of(tmp_path / "out")
    assert summary["stays"] == ["case002 3"]
    assert lines["case002", 1]["readers"] == ["ada", "ben"] and lines["case002", 1]["comment"] == "ada: seen"
    assert lines["case002", 1]["time"] == "2026-03-01T12:00:00.000+00:00" and lines["case002", 3]["time"] == ""
    assert lines["case002", 3]["why"] == "readers disagree: accept (ada), reject (ben)"
    assert lines["case002", 2]["reason"].endswith("accepted by decisions.csv:6")
    (changes,) = [row for row in list_changes(tmp_path / "out", jobs=1).rows() if row["class"] == "b"]
    assert changes["who"] == "decisions.csv"
