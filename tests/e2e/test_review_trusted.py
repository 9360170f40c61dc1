"""Labels that a reader verified are trusted cases at once: `debride calibrate --trusted` takes the audit's file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.audits import Audited
from tests.e2e.conftest import Command

from debride.audit.decided import ReviewDb
from debride.review.worklist_index import Filters, Worklist


def test_verified_labels_calibrate(audited: Audited, debride: Command, tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    shutil.copytree(audited.audit, audit)
    words = ["calibrate", audited.data, "--predictions", audited.root / "probability", "--jobs", "1"]
    with ReviewDb(audit) as db:
        worklist = Worklist(db, "ann")
        unsuspicious = worklist.page(Filters(view="cases")).items[-4:]
        for item in unsuspicious:
            worklist.decide(item["place"], "verified", sent=item["case"])
    answer = debride(*words, "--trusted", audit / "trusted.txt", "--out", tmp_path / "out")
    assert answer.code == 0 and "4 verified cases" in answer.out + answer.err
    calibrated = json.loads((tmp_path / "out" / "calibration.json").read_text())["cases"]
    assert sorted(calibrated) == sorted(item["case"] for item in unsuspicious)
