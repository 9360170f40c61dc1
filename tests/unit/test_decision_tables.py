"""Tables of decisions: what is read, what is refused by line, and the way out of one review into another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.review_folders import classes_audit, decided, masks_audit, regions_audit

from debride.audit.decided import EDITS, ReviewDb, standing_of, write_edit
from debride.audit.decided.decision_tables import read_decision_table, write_decision_table
from debride.audit.findings import read_regions
from debride.review.decision_files import export_decisions, import_decisions
from debride.types import DataError

KNOWN = {("", "x", 0), ("", "x", 1), ("", "x", 2), ("", "case2", 0), ("", "case2", 1)}


def read(path: Path, **others: Any) -> list[Any]:
    return [told.decision for told in read_decision_table(path, KNOWN, **others)]


def test_a_table_of_three_columns(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("case,number,decision\nx,1,Accept\nx,1,accept\nx,0,verified\n")
    first, second, whole = read(path, reader="ann", round=2)
    assert first == second == decided("ann", "x", 1, "accept", round=2)
    assert whole == decided("ann", "x", 0, "verified", round=2)


def test_a_table_of_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(
        "case,number,decision,reader,round,comment,label,adjudicates,time\n"
        "x,1,edited,ann,2,'=torn,abc,1,2026-03-01T12:00:00+02:00\n"
        "x,1,reject,,,,,,2026-02-01T12:00:00\n"
    )
    early, late = read(path, reader="ben")
    assert early == decided("ben", "x", 1, "reject", time="2026-02-01T12:00:00.000+00:00")
    assert late == decided(
        *("ann", "x", 1, "edited"),
        **{"round": 2, "comment": "=torn", "label": "abc", "adjudicates": True, "time": "2026-03-01T10:00:00.000+00:00"},
    )


def test_the_order_of_lines_is_that_of_decisions_where_a_time_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"case": "x", "number": 1, "decision": word, "reader": "ann"} for word in ("accept", "reject")]
    path.write_text("".join(json.dumps(row) + "\n" for row in [{**rows[0], "time": "2026-02-01"}, rows[1]]))
    assert standing_of(read(path))["", "x", 1].state == "reject"


def test_readers_that_contradict_are_a_conflict(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("case,number,decision,reader\nx,1,accept,ann\nx,1,reject,ben\n")
    standing = standing_of(read(path))["", "x", 1]
    assert standing.state == "conflict" and standing.readers == ("ann", "ben")


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        ("", "x,3,accept", "Its findings are 1, 2"),
        ("", "case1,1,accept", "Did you mean case2"),
        ("", "y,0,verified", "the case 'y'"),
        ("", "x,one,accept", "'one'"),
        ("", "x,१,accept", "names the finding"),
        ("", "x,1,maybe", "decision 'maybe'"),
        ("", "x,1,verified", "means nothing of a finding"),
        ("", "x,0,accept", "means nothing of a label as a whole"),
        ("", "x,1,edited", "says edited, and not how"),
        (",label", "x,1,accept,abc", "has a label of its own"),
        (",round", "x,1,accept,0", "the round '0'"),
        (",round", "x,1,accept,first", "the round 'first'"),
        (",adjudicates", "x,1,accept,maybe", "'maybe' for adjudicates"),
        (",time", "x,1,accept,yesterday", "the time 'yesterday'"),
        (",region", "x,1,accept,core", "the audit is of classes"),
        ("", "x,1,accept\nx,1,reject", "contradicts an earlier line"),
        (",label", "x,1,edited,abc\nx,1,edited,abd", "contradicts an earlier line"),
    ],
)
def test_what_is_refused(tmp_path: Path, columns: str, cells: str, message: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"case,number,decision{columns}\n{cells}\n")
    with pytest.raises(DataError, match=message) as raised:
        read(path)
    assert raised.value.where == f"{path}:{2 + cells.count(chr(10))}"


def test_names_in_lines_of_json_have_no_spaces_around_them(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = ({"case": "x", "number": 1, "decision": "accept", "reader": name} for name in (" ann\t", "  "))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [each.reader for each in read(path, reader="ben")] == ["ann", "ben"]


def test_lines_of_json_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    for text, message in (
        ('["x"]', "not an object"),
        ('{"case": "x", "number": 1, "decision": "accept", "comment": 3}', "comment 3"),
    ):
        path.write_text(f"{text}\n")
        with pytest.raises(DataError, match=message):
            read(path)


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    made = [
        decided("ann", "x", 1, "edited", label="abc", comment='=1, "so"\nand more', time="2026-02-01T12:00:00.000+00:00"),
        decided("ben, jr", "x", 0, "verified", round=3, adjudicates=True, time="2026-02-02T12:00:00.000+00:00"),
    ]
    assert write_decision_table(tmp_path / name, made, by_region=False) == 2
    assert read(tmp_path / name) == made


def test_regions_stand_in_a_column(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    made = [decided("ann", "x", 1, "accept", region="core"), decided("ann", "x", 0, "verified")]
    write_decision_table(path, made, by_region=True)
    assert path.read_text().startswith("region,case,number,decision,reader,")
    told = read_decision_table(path, {("core", "x", 1), ("rim", "x", 1), ("", "x", 0)}, ["core", "rim"])
    assert [each.decision.key for each in told] == [("core", "x", 1), ("", "x", 0)]
    path.write_text("case,number,decision\nx,1,accept\n")
    with pytest.raises(DataError, match="does not say which region"):
        read_decision_table(path, {("core", "x", 1)}, ["core", "rim"])
    path.write_text("region,case,number,decision\ncore,x,0,verified\n")
    with pytest.raises(DataError, match="is of all regions"):
        read_decision_table(path, {("", "x", 0)}, ["core", "rim"])


def test_the_way_into_another_review_and_back(tmp_path: Path) -> None:
    audit = masks_audit(tmp_path)
    shutil.copytree(audit, tmp_path / "copy")
    with ReviewDb(audit) as db:
        for at, decision in enumerate(
            (
                decided("ann", "p00_s0", 1, "accept"),
                decided("ben", "p00_s0", 1, "reject", comment="no"),
                decided("ann", "p00_s0", 2, "accept"),
                decided("ann", "p00_s0", 2, "withdrawn"),
                decided("eve", "p00_s0", 1, "accept", adjudicates=True),
                decided("ben", "p02_s0", 0, "verified"),
            )
        ):
            db.append(decision, str(at))
        states = {key: standing.state for key, standing in db.standing().items()}
    path = tmp_path / "decisions.csv"
    assert export_decisions(audit, path) == 4
    assert import_decisions(audit, path, "zoe") == 0
    assert import_decisions(tmp_path / "copy", path, "zoe") == 4
    assert import_decisions(tmp_path / "copy", path, "zoe") == 0
    with ReviewDb(tmp_path / "copy", may_write=False) as db:
        assert {key: standing.state for key, standing in db.standing().items()} == states
    assert (tmp_path / "copy" / "trusted.txt").read_text() == "p02_s0\n"
    export_decisions(tmp_path / "copy", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


def test_a_file_without_readers_is_added_once_for_each_reader(tmp_path: Path) -> None:
    audit, path = masks_audit(tmp_path), tmp_path / "d.csv"
    path.write_text("case,number,decision\np00_s0,1,accept\np00_s0,2,reject\n")
    assert [import_decisions(audit, path, reader) for reader in ("ann", "ann", "ben")] == [2, 0, 2]
    path.write_text("case,number,decision\np00_s0,1,reject\n")
    assert import_decisions(audit, path, "ann") == 1
    with ReviewDb(audit) as db:
        assert db.standing()["", "p00_s0", 1].state == "conflict"
    assert [import_decisions(audit, path, "ann", adjudicates=True) for _ in range(2)] == [1, 0]
    with ReviewDb(audit) as db:
        assert db.standing()["", "p00_s0", 1].state == "reject"


def test_a_file_with_a_mistake_adds_nothing(tmp_path: Path) -> None:
    audit, path = masks_audit(tmp_path), tmp_path / "d.csv"
    path.write_text("case,number,decision\np00_s0,1,accept\np00_s0,9,accept\n")
    with pytest.raises(DataError, match="Its findings are 1, 2"):
        import_decisions(audit, path, "ann")
    with ReviewDb(audit) as db:
        assert list(db.decisions()) == []


def test_edited_labels_must_be_here(tmp_path: Path) -> None:
    audit, path = masks_audit(tmp_path / "masks"), tmp_path / "d.csv"
    seen = np.zeros((8, 8), np.uint8)
    hash = write_edit(audit, "p00_s0", seen, np.eye(8, dtype=np.uint8))
    (audit / EDITS / f"{hash[::-1]}.npz").touch()
    for case, label, message in (
        ("p00_s0", "abc", "no edit named"),
        ("p00_s0", f"../edits/{hash}", "no edit named"),
        ("p00_s0", "0" * 32, "does not exist"),
        ("p00_s0", hash[::-1], "no .npz file"),
        ("p01_s1", hash, "is not what was painted in p01_s1"),
    ):
        path.write_text(f"case,number,decision,label\n{case},1,edited,{label}\n")
        with pytest.raises(DataError, match=message) as raised:
            import_decisions(audit, path, "ann")
        assert raised.value.where == f"{path}:2"
    path.write_text(f"case,number,decision,label\np00_s0,1,edited,{hash}\n")
    assert import_decisions(audit, path, "ann") == 1
    classes = classes_audit(tmp_path / "classes")
    path.write_text("case,number,decision,label\na,1,edited,cow\n")
    with pytest.raises(DataError, match="Give one of cat, dog, hen"):
        import_decisions(classes, path, "ann")
    for line, word in (("a,1,edited,dog", "accept"), ("a,1,edited,cat", "reject"), ("b,0,edited,cat", "verified")):
        path.write_text(f"case,number,decision,label\n{line}\n")
        with pytest.raises(DataError, match=f"Write {word} in place"):
            import_decisions(classes, path, "ann")
    path.write_text("case,number,decision,label\na,1,edited,hen\nb,0,edited,dog\n")
    assert import_decisions(classes, path, "ann") == 2


def test_a_review_by_regions_goes_out_with_them(tmp_path: Path) -> None:
    audit = regions_audit(tmp_path)
    with ReviewDb(audit) as db:
        region = next(iter(json.loads((audit / "regions.json").read_text())["regions"]))["name"]
        db.append(decided("ann", "p00_s0", 1, "accept", region=region), "1")
    assert export_decisions(audit, tmp_path / "d.csv") == 1
    assert (tmp_path / "d.csv").read_text().splitlines()[1].startswith(f"{region},p00_s0,1,accept,ann,1,")
    assert import_decisions(audit, tmp_path / "d.csv", "ann") == 0
    with pytest.raises(DataError, match=r"is the audit of the region .* alone"):
        import_decisions(audit / read_regions(audit)[0].folder, tmp_path / "d.csv", "ann")
