"""Classes repaired by the database of a review: another class than proposed, cases without a finding, and verified ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.e2e.test_audit_classes import classes_of, contents, write_set
from tests.reviews import decide
from tests.written_audits import lines_of

from debride.api.auditing import audit_dataset
from debride.api.repairing import repair_dataset
from debride.audit.wrong_classes.class_record import read_class_record
from debride.types import DataError


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    _, predictions = write_set(tmp_path / "data", 60)
    audit_dataset(tmp_path / "data", tmp_path / "audit", predictions=predictions, jobs=1, pictures=0)
    return tmp_path


def test_readers_decide_on_classes(audited: Path) -> None:
    data, audit = audited / "data", audited / "audit"
    given = classes_of(data)
    record = read_class_record(audit)
    found = [finding for finding in record.findings if finding.case != "c5"][:5]
    free = [case for case in given if case not in {finding.case for finding in record.findings} and case != "c5"]
    other = next(name for name in ("cat", "dog", "hen") if name not in (found[1].given, found[1].proposed))
    changed = next(name for name in ("cat", "dog", "hen") if name != given[free[0]])
    decide(audit, [("ada", found[0].case, 1, "accept"), ("ada", free[1], 0, "verified"), ("ada", found[4].case, 0, "verified")])
    decide(audit, [("ada", found[1].case, 1, "edited"), ("ben", found[1].case, 1, "edited")], label=other)
    decide(
        audit, [("ada", found[2].case, 1, "accept"), ("ben", found[2].case, 1, "reject"), ("ben", found[3].case, 1, "unsure")]
    )
    decide(audit, [("ada", free[0], 0, "edited")], label=changed, comment="seen")
    result = repair_dataset(data, audit, audited / "out", decisions=audit / "review.db")
    expected = {**given, found[0].case: found[0].proposed, found[1].case: other, free[0]: changed}
    assert classes_of(audited / "out") == expected
    lines = lines_of(audited / "out")
    assert lines[found[1].case, 1]["proposed"] == other and lines[found[1].case, 1]["proposed_by_audit"] == found[1].proposed
    assert lines[found[1].case, 1]["readers"] == ["ada", "ben"] and lines[free[0], 0]["comment"] == "seen"
    assert lines[found[2].case, 1]["why"] == "readers disagree: accept (ada), reject (ben)"
    assert lines[found[4].case, 1]["why"] == "the label as a whole was verified by ada"
    assert (audited / "out" / "trusted.txt").read_text().split() == sorted([*free[:2], *(found[at].case for at in (0, 1, 4))])
    assert result.summary["applied"] == 3 and result.summary["stays"] == [f"{found[2].case} 1", f"{found[3].case} 1"]
    assert "2 stay as given" in str(result.said())
    ruled = repair_dataset(data, audit, audited / "ruled", decisions=audit / "review.db", accept="all")
    assert ruled.summary["applied"] > 3
    now = classes_of(audited / "ruled")
    assert all(now[finding.case] == given[finding.case] for finding in found[2:5])
    repair_dataset(audited / "out", None, audited / "back", reverse=True)
    back = contents(audited / "back")
    assert {name: back[name] for name in back if name != "dataset.json"} == contents(data)  # which a copy has


def test_a_class_that_changed_since_is_not_verified(audited: Path) -> None:
    data, audit = audited / "data", audited / "audit"
    one, other = [finding for finding in read_class_record(audit).findings if finding.case != "c5"][:2]
    decide(audit, [("ada", one.case, 1, "reject"), ("ada", other.case, 1, "reject")])
    table = (data / "labels.csv").read_text()
    line = next(line for line in table.splitlines() if one.case in re.split(r"\W", line))
    (data / "labels.csv").write_text(table.replace(line, line.replace(one.given, one.proposed)))
    assert classes_of(data)[one.case] == one.proposed  # nobody has seen it with this class
    repair_dataset(data, audit, audited / "out", decisions=audit / "review.db")
    assert (audited / "out" / "trusted.txt").read_text().split() == [other.case]


def test_a_class_that_is_none_is_refused(audited: Path) -> None:
    finding = read_class_record(audited / "audit").findings[0]
    decide(audited / "audit", [("ada", finding.case, 1, "edited")], label="cow")
    with pytest.raises(DataError, match="is said to be 'cow', which is no class"):
        repair_dataset(audited / "data", audited / "audit", audited / "out", decisions=audited / "audit" / "review.db")
