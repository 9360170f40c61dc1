"""The table of what a repair changed, against labels compared pixel by pixel; and the page to print."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.datasets import build_nnunet_3d, save_png
from tests.e2e.test_audit_classes import write_set
from tests.reviews import decide
from tests.written_audits import ALL, CLASSES, box, four_findings, given_label, lines_of, square, write_audit

import debride
from debride.audit.decided import write_edit
from debride.audit.repair import Destination, repair
from debride.audit.repair.decisions import parse_acceptance
from debride.audit.shown.changes_page import changes_page
from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_header
from debride.types import DataError, Dataset


def reviewed_folder(tmp_path: Path) -> tuple[Dataset, Path]:
    """A repair by two readers: a finding accepted by both, one edited by one, with a comment."""
    source, audit = four_findings(tmp_path)
    given = given_label(source, "case002")
    decide(audit, [("ada", "case002", 1, "accept"), ("ben <b>", "case002", 1, "accept")])
    painted = given.copy()
    painted[square(18, 2, rows=2, shape=(32, 32))] = 0
    hash = write_edit(audit, "case002", given, painted)
    decide(audit, [("Doe, Cem", "case002", 2, "edited")], label=hash, comment="=too large", round=2)
    repair(source, audit, tmp_path / "out", parse_acceptance((), CLASSES, decisions=audit / "review.db"))
    return source, tmp_path / "out"


def test_a_row_for_each_changed_case_and_class(tmp_path: Path) -> None:
    source, out = reviewed_folder(tmp_path)
    before, after = given_label(source, "case002"), given_label(open_dataset(out), "case002")
    rows = {row["class"]: row for row in debride.list_changes(out, jobs=1).rows()}
    assert set(rows) == {"a", "b"}
    line = lines_of(out)["case002", 1]
    for id, name in ((1, "a"), (2, "b")):
        sizes = [0, 0, 0, 0]
        for was, now in zip(before.ravel().tolist(), after.ravel().tolist(), strict=True):
            sizes[0] += was == id
            sizes[1] += now == id
            sizes[2] += (was == id) != (now == id)
            sizes[3] += was == now == id
        row = rows[name]
        assert [row["before"], row["after"], row["changed"]] == sizes[:3]
        assert row["dice"] == pytest.approx(2 * sizes[3] / (sizes[0] + sizes[1]))
        assert (row["unit"], row["case"]) == ("px", "case002")
        assert (row["hash_before"], row["hash_after"]) == (line["before"], line["after"])
    assert rows["a"]["who"] == "ada; ben <b>; Doe, Cem" and rows["a"]["why"] == "missing, extra (edited)"
    assert rows["b"]["who"] == "Doe, Cem" and rows["b"]["why"] == "extra (edited)"
    assert (rows["b"]["rounds"], rows["b"]["comments"]) == ("2", "=too large")
    assert re.match(r"\d{4}-\d\d-\d\dT", rows["b"]["when"])


def test_the_table_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = reviewed_folder(tmp_path)
    assert main(["changes", str(out), "--out", str(tmp_path / "signed"), "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert "1 labels changed, decided by ada, ben <b>, Doe, Cem" in said and "case002, b: 32 to 24 px, Dice 0.857" in said
    with (tmp_path / "signed" / "changes.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["class"], row["before"], row["comments"]) for row in table] == [
        ("a", "32", "'=too large"),
        ("b", "32", "'=too large"),
    ]
    html = (tmp_path / "signed" / "changes.html").read_text()
    assert "ben &lt;b&gt;" in html and "ben <b>" not in html and "Signature" in html
    assert "<script" not in html and "http" not in html.replace("http-equiv", "")
    assert main(["changes", str(out), "--out", str(tmp_path / "signed")]) == 2


def test_volumes_are_in_ml_and_a_rule_is_named(tmp_path: Path) -> None:
    source = open_dataset(build_nnunet_3d(tmp_path / "source"))
    case = next(case for case in source.of("train") if case.label)
    assert case.label is not None
    given = given_label(source, case.id)
    where = box(given.shape, (0, 2), (0, 3), (0, 3))
    audit = write_audit(tmp_path / "audit", source, {case.id: [(where, 1, {"kind": "missing"})]})
    repair(source, audit, tmp_path / "out", ALL)
    (row,) = debride.list_changes(tmp_path / "out", jobs=1).rows()
    spacing = read_header(case.label).geometry.spacing
    assert spacing is not None
    after = np.where(where, 1, given)
    for side, label in (("before", given), ("after", after)):
        assert row[side] == pytest.approx((label == 1).sum() * spacing[0] * spacing[1] * spacing[2] / 1000)
    assert (row["unit"], row["who"], row["rounds"], row["when"], row["comments"]) == ("ml", "rule", "", "", "")


def test_classes_of_images(tmp_path: Path) -> None:
    _, predictions = write_set(tmp_path / "data", 60)
    audit = debride.audit_dataset(tmp_path / "data", tmp_path / "audit", predictions=predictions, jobs=1, pictures=0)
    finding = next(finding for finding in audit.findings if finding.case != "c5")
    decide(tmp_path / "audit", [("ada", finding.case, 1, "accept")], comment="seen")
    out = debride.repair_dataset(tmp_path / "data", audit, tmp_path / "out", decisions=tmp_path / "audit" / "review.db")
    changes = debride.list_changes(out, out=tmp_path / "signed", jobs=1)
    (row,) = changes.rows()
    assert (row["case"], row["before"], row["after"]) == (finding.case, finding.given, finding.proposed)
    assert (row["who"], row["why"], row["comments"]) == ("ada", "relabel", "seen")
    assert row["hash_before"] and row["hash_before"] != row["hash_after"]
    assert finding.case in changes.page.read_text() and f"{finding.case}: {finding.given} to" in str(changes.said())
    (tmp_path / "out" / "labels.csv").write_text((tmp_path / "out" / "labels.csv").read_text() + "\n")
    with pytest.raises(DataError, match="has changed since the repair"):
        debride.list_changes(out, jobs=1)


def test_what_is_no_repaired_set_and_what_changed_since(tmp_path: Path) -> None:
    _, out = reviewed_folder(tmp_path)
    with pytest.raises(DataError, match=r"has no repairs\.jsonl"):
        debride.list_changes(tmp_path / "source", out=tmp_path / "none", jobs=1)
    assert not (tmp_path / "none").exists()
    shutil.copytree(out, tmp_path / "copy")
    save_png(tmp_path / "copy" / "masks" / "case002.png", np.zeros((32, 32), np.uint8))
    with pytest.raises(DataError, match="has changed since the repair"):
        debride.list_changes(tmp_path / "copy", jobs=1)
    next((out / "repairs" / "given").iterdir()).write_bytes(b"")
    with pytest.raises(DataError, match="is not the label that was given"):
        debride.list_changes(out, jobs=1)


def test_what_has_no_label_any_more_is_listed(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    decide(audit, [("ada", "case002", 1, "accept")])  # where background is given
    accept = parse_acceptance((), CLASSES, decisions=audit / "review.db")
    repair(source, audit, tmp_path / "out", accept, Destination(to="ignore"))
    before, after = given_label(source, "case002"), given_label(open_dataset(tmp_path / "out"), "case002")
    changes = debride.list_changes(tmp_path / "out", jobs=1)
    (row,) = changes.rows()
    assert (row["class"], row["before"], row["after"], row["changed"]) == ("(no label)", 0, 16, int((before != after).sum()))
    assert (row["who"], row["why"], row["dice"], changes.cases) == ("ada", "missing", 0, 1)


def test_no_label_changed_by_weights(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    repair(source, audit, tmp_path / "out", ALL, Destination(to="weights"))
    changes = debride.list_changes(tmp_path / "out", out=tmp_path / "signed", jobs=1)
    assert list(changes.said()) == ["no label changed"] and "No label was changed" in changes.page.read_text()


def test_a_long_table_is_cut_on_the_page() -> None:
    row = {"case": "c", "class": "a", "unit": "ml", "before": 1.0, "after": 29743.6, "dice": 0.5, "who": "ada"}
    html = changes_page("set", [row] * 5001, {})
    assert html.count('<td class="who">') == 5000 and "the first 5000 of 5001 lines" in html
    assert ">29744<" in html and "e+" not in html
