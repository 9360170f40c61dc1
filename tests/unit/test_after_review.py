"""Audits since a reviewed one: what is trusted, what is not found again, and what is not looked at again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.audited_regions import ERRORS, heart_set
from tests.audits import about, picture_set
from tests.datasets import save_png
from tests.e2e.test_audit_classes import write_set
from tests.reviews import decide
from tests.written_audits import CLASSES, four_findings, given_label, write_audit

import debride
from debride.audit import one_case
from debride.audit.after_review import covered, read_after_review, without_decided
from debride.audit.decided import write_edit
from debride.audit.findings import Finding, read_record
from debride.audit.repair import parse_acceptance, repair
from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_values
from debride.types import DataError

QUICK: dict[str, Any] = {"planted": 4, "pictures": 1, "jobs": 1, "least": 0.01}


N = 24


class Round:
    """Pictures, a fourth of them with an error, an audit of them, and what becomes of it."""

    def __init__(self, root: Path) -> None:
        self.root, self.audit = root, root / "audit"
        self.findings = read_record(self.audit).findings
        self.looked: list[str] = []

    def again(self, data: Path, name: str, **more: Any) -> Any:
        how = {"since": self.root / "audit", "review": True, **more}
        return debride.audit_dataset(data, self.root / name, predictions=self.root / "probability", **QUICK, **how)

    def decide(self, words: list[str], reader: str = "ada") -> None:
        decide(self.audit, [(reader, f.case, f.number, word) for f, word in zip(self.findings, words, strict=False) if word])

    def repair(self, name: str, **more: Any) -> Path:
        debride.repair_dataset(
            self.root / "data",
            self.audit,
            self.root / name,
            decisions=self.audit / "review.db",
            allow_removal=True,
            rare=0,
            jobs=1,
            **more,
        )
        return self.root / name


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("once")
    picture_set(root, n=N, size=24, every=4)
    debride.audit_dataset(root / "data", root / "audit", predictions=root / "probability", **QUICK)
    return root


@pytest.fixture
def reviewed(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Round:
    """A copy of a data set and its audit, with a count of the labels that are looked at from now on."""
    read, done = one_case.agreement, Round(shutil.copytree(once, tmp_path / "round"))

    def counted(*arrays: Any) -> float:
        done.looked.append("")
        return read(*arrays)

    monkeypatch.setattr(one_case, "agreement", counted)
    return done


def told(folder: Path) -> Any:
    return about(folder)["since"]["review"]


def test_after_a_repair_nothing_decided_returns_and_little_is_done_again(reviewed: Round) -> None:
    many = len(reviewed.findings)
    assert many >= 3
    reviewed.decide(["accept", "reject", *["accept"] * (many - 2)])
    one_each = {f.case for f in reviewed.findings}
    verified = next(case.id for case in open_dataset(reviewed.root / "data").cases if case.id not in one_each)
    decide(reviewed.audit, [("ada", verified, 0, "verified")])
    out = reviewed.repair("out")
    result = reviewed.again(out, "second")
    changed = {
        line["case"]
        for line in map(json.loads, (out / "repairs.jsonl").read_text().splitlines())
        if line["status"] == "applied"
    }
    assert len(changed) == many - 1 and result.summary["since"]["unchanged"] == N - len(changed)
    assert set(told(reviewed.root / "second")["trusted"]) == one_each | {verified}
    assert {row["case"] for row in result.ranking if row["trusted"]} == one_each | {verified}
    assert not {f.case for f in result.findings} & one_each
    # the first look reads the labels that changed, and the planted errors that they are in
    assert len(reviewed.looked) <= len(changed)
    assert told(reviewed.root / "second")["decided"] == many and not told(reviewed.root / "second")["not_yet"]
    assert f"{many} findings were decided" in str(result.said()) and "labels are trusted" in str(result.said())


def test_a_label_that_was_not_repaired_is_not_trusted(reviewed: Round) -> None:
    reviewed.decide(["accept", "reject"])
    first, second = reviewed.findings[:2]
    result = reviewed.again(reviewed.root / "data", "second")
    said = told(reviewed.root / "second")
    assert said["not_yet"] == [first.case] and said["trusted"] == [second.case]
    assert not {f.case for f in result.findings} & {first.case, second.case}
    assert said["dropped"] == 1 and "do not have yet what readers decided" in str(result.said())
    assert reviewed.looked == []  # nothing of the first look is done again


def test_a_label_that_was_changed_otherwise_is_audited_anew(reviewed: Round) -> None:
    reviewed.decide(["reject"])
    first = reviewed.findings[0]
    data = open_dataset(reviewed.root / "data")
    path = next(case.label for case in data.cases if case.id == first.case)
    assert path is not None
    values, _ = read_values(path)
    save_png(path, np.where(np.arange(values.shape[0])[:, None] == 0, values.max(), values).astype(np.uint8))
    reviewed.again(reviewed.root / "data", "second")
    said = told(reviewed.root / "second")
    assert (said["changed_otherwise"], said["trusted"], said["dropped"]) == ([first.case], [], 0)


@pytest.mark.parametrize("how", ["rule", "guarded", "edit"])
def test_only_what_readers_decided_makes_a_repaired_label_trusted(reviewed: Round, how: str) -> None:
    first = reviewed.findings[0]
    if how == "edit":
        given = given_label(open_dataset(reviewed.root / "data"), first.case)
        painted = given.copy()
        painted[8:12, 8:12] = np.where(given[8:12, 8:12] == 1, 0, 1)
        decide(
            reviewed.audit,
            [("ada", first.case, first.number, "edited")],
            label=write_edit(reviewed.audit, first.case, given, painted),
        )
    else:
        reviewed.decide(["reject" if how == "rule" else "accept"])
    if how == "rule":  # all are accepted but by no reader
        debride.repair_dataset(
            reviewed.root / "data", reviewed.audit, reviewed.root / "out", accept="all", allow_removal=True, rare=0
        )
    else:
        reviewed.repair("out")
    if how == "guarded":
        text = (reviewed.root / "out" / "repairs.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in text]
        rows.append({**rows[0], "number": 99, "case": first.case, "status": "applied"})
        (reviewed.root / "out" / "repairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reviewed.again(reviewed.root / "out", "second")
    assert (first.case in told(reviewed.root / "second")["trusted"]) == (how == "edit")


def test_a_review_after_a_review_goes_back_to_the_first(reviewed: Round) -> None:
    reviewed.decide(["reject", "accept"])
    out = reviewed.repair("out")
    second = reviewed.again(out, "second")
    left = list(second.findings)
    assert left and not {f.case for f in left} & {f.case for f in reviewed.findings[:2]}
    decide(reviewed.root / "second", [("ben", left[0].case, left[0].number, "accept")])
    debride.repair_dataset(out, second, reviewed.root / "out2", decisions=second.out / "review.db", allow_removal=True, rare=0)
    third = reviewed.again(reviewed.root / "out2", "third", since=reviewed.root / "second")
    done = {f.case for f in (*reviewed.findings[:2], left[0])}
    assert set(told(reviewed.root / "third")["trusted"]) == done
    assert not {f.case for f in third.findings} & done
    (second.out / "review.db").unlink()  # nobody reviewed it: what was decided before still holds
    fourth = reviewed.again(out, "fourth", since=reviewed.root / "second")
    assert set(told(reviewed.root / "fourth")["trusted"]) == {f.case for f in reviewed.findings[:2]}
    assert left[0].case in {f.case for f in fourth.findings}


def test_a_later_doubt_ends_the_trust_of_an_earlier_review(reviewed: Round) -> None:
    reviewed.decide(["reject"])
    case, data = reviewed.findings[0].case, open_dataset(reviewed.root / "data")
    second = reviewed.again(data.root, "second").out
    assert told(second)["trusted"] == [case]
    given = given_label(data, case)
    hash = write_edit(second, case, given, np.where(given == 0, 1, 0).astype(np.uint8))
    for word, label, not_yet in (("unsure", "", frozenset()), ("edited", hash, {case})):
        decide(second, [("ben", case, 0, word)], label=label)
        review = read_after_review(second, data)
        assert (review.trusted, review.not_yet) == (frozenset(), not_yet)


def test_what_a_guard_held_back_is_still_to_do(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    database = decide(audit, [("ada", "case002", number, "accept") for number in (1, 2)])
    decide(audit, [("ada", "case002", number, "reject") for number in (3, 4)])
    accept = parse_acceptance((), CLASSES, decisions=database, rare=9)
    assert (summary := repair(source, audit, tmp_path / "out", accept))["guarded"] == summary["applied"] == 1
    review = read_after_review(audit, open_dataset(tmp_path / "out"))
    assert (review.trusted, review.not_yet) == (frozenset(), {"case002"})


def test_a_damaged_record_of_repairs_is_refused(tmp_path: Path) -> None:
    source, audit = four_findings(tmp_path)
    decide(audit, [("ada", "case002", 1, "accept")])
    right = {"case": "case002", "number": 1, "status": "applied", "before": "a", "after": "b"}
    for wrong in ({"case": ["case002"]}, {"number": "1"}, {"region": {}}, {"after": None}, {"status": 1}):
        (source.root / "repairs.jsonl").write_text(json.dumps(right) + "\n" + json.dumps({**right, **wrong}) + "\n")
        with pytest.raises(DataError, match=r"repairs\.jsonl:2: is no line of a record of repairs"):
            read_after_review(audit, source)


def by_another_audit(reviewed: Round) -> Path:
    """The data set with the first finding's case changed at another place, by the finding of that number in another audit."""
    source, case = open_dataset(reviewed.root / "data"), reviewed.findings[0].case
    where = np.zeros((24, 24), bool)
    where[:3, :3] = True
    other = write_audit(reviewed.root / "other", source, {case: [(where, 1, {"kind": "missing"})]})
    debride.repair_dataset(source, other, reviewed.root / "changed", accept="all", allow_removal=True, rare=0, jobs=1)
    return reviewed.root / "changed"


def test_a_finding_of_another_audit_is_not_what_was_accepted(reviewed: Round) -> None:
    reviewed.decide(["accept"])
    assert reviewed.findings[0].number == 1
    review = read_after_review(reviewed.audit, open_dataset(by_another_audit(reviewed)))
    assert (review.trusted, review.not_yet) == (frozenset(), {reviewed.findings[0].case})


def test_a_verified_label_that_another_repair_changed_is_looked_at_again(reviewed: Round) -> None:
    case = reviewed.findings[0].case
    decide(reviewed.audit, [("ada", case, 0, "verified")])
    (before,) = read_after_review(reviewed.audit, open_dataset(reviewed.root / "data")).decided[case][""]
    review = read_after_review(reviewed.audit, open_dataset(by_another_audit(reviewed)))
    (after,) = review.decided[case][""]
    assert (before["whole"], after["whole"], after["numbers"]) == (
        True,
        False,
        [1],
    )  # what was decided alone is not asked again
    assert not review.trusted


def test_what_lies_mostly_in_decided_findings_is_dropped() -> None:
    numbers = np.zeros((6, 6), np.uint16)
    numbers[0, :4], numbers[2, :4], numbers[4, :3] = 1, 2, 3
    mask = np.zeros((6, 6), bool)
    mask[0, :3], mask[2, :2], mask[4, :2] = True, True, True  # 3 of 4, 2 of 4, 2 of 3
    common: dict[str, Any] = {"case": "c", "kind": "extra", "given": 1, "proposed": 0, "severity": 1.0, "confidence": 0.5}
    found = [Finding(number=at, box=((0, 6), (0, 6)), voxels=4, **common) for at in (1, 2, 3)]
    left, kept, proposed = without_decided(found, numbers, np.full((6, 6), 7, np.uint8), mask)
    assert [f.number for f in left] == [1]
    np.testing.assert_array_equal(kept, (numbers == 2).astype(np.uint16))
    np.testing.assert_array_equal(proposed, np.where(numbers == 2, 7, 0))


def test_an_edit_covers_what_was_painted(reviewed: Round) -> None:
    given = given_label(open_dataset(reviewed.root / "data"), reviewed.findings[0].case)
    case = reviewed.findings[0].case
    painted = np.where(np.arange(24)[:, None] < 2, (given + 1) % 2, given).astype(np.uint8)
    hash = write_edit(reviewed.audit, case, given, painted)
    common = {"folder": str(reviewed.audit), "audit": str(reviewed.audit), "findings": [], "numbers": [], "classes": 2}
    mask = covered([{**common, "edits": [hash], "whole": False}], case, given.shape)
    np.testing.assert_array_equal(mask, painted != given)
    assert covered([{**common, "edits": [], "whole": True}], case, given.shape).all()


def test_regions(tmp_path: Path) -> None:
    heart_set(tmp_path, 9, list(ERRORS), 3)
    how: dict[str, Any] = {"predictions": tmp_path / "maps", "planted": 2, "pictures": 0, "jobs": 1, "least": 0.01}
    first = debride.audit_dataset(tmp_path / "data", tmp_path / "audit", **how)
    regions: Any = first.regions  # type: ignore[attr-defined]
    name, finding = next((name, audit.findings[0]) for name, audit in regions.items() if audit.findings)
    decide(tmp_path / "audit", [("ada", finding.case, finding.number, "reject")], region=name)
    whole = next(f.case for f in first.findings if f.case != finding.case)
    decide(tmp_path / "audit", [("ada", whole, 0, "verified")])
    again: Any = debride.audit_dataset(tmp_path / "data", tmp_path / "second", since=tmp_path / "audit", review=True, **how)
    assert finding.number not in [
        f.number for f in again.regions[name].findings if f.case == finding.case and f.box == finding.box
    ]
    assert whole not in {f.case for f in again.findings}


def test_what_is_refused(reviewed: Round, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "audit",
        str(reviewed.root / "data"),
        "--predictions",
        str(reviewed.root / "probability"),
        "--out",
        str(reviewed.root / "x"),
    ]
    assert main([*words, "--review"]) == 2
    assert "--review" in (said := capsys.readouterr().err) and "Give that audit as --since" in said
    assert main([*words, "--review", "--since", str(reviewed.audit)]) == 2
    assert "nobody has reviewed this audit" in capsys.readouterr().err
    _, predictions = write_set(reviewed.root / "classes", 20)
    with pytest.raises(DataError, match="`since`: is for masks"):
        debride.audit_dataset(
            reviewed.root / "classes", reviewed.root / "y", predictions=predictions, review=True, since=reviewed.audit
        )
