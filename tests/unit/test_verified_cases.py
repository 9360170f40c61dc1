"""trusted.txt: the cases whose given label stands as verified."""

from __future__ import annotations

from pathlib import Path

from tests.review_folders import classes_audit, decided, masks_audit

from debride.audit.decided import ReviewDb
from debride.review.worklist_index import Filters, Worklist


def test_it_follows_decisions(tmp_path: Path) -> None:
    audit = masks_audit(tmp_path)
    trusted = audit / "trusted.txt"
    with ReviewDb(audit) as db:
        ann, ben = Worklist(db, "ann"), Worklist(db, "ben")
        place = {item["case"]: item["place"] for item in ann.page(Filters(view="cases")).items}
        assert not trusted.exists()
        ann.decide(place["p02_s0"], "verified", sent="1")
        ann.decide(place["p00_s0"], "verified", sent="2")
        assert trusted.read_text() == "p00_s0\np02_s0\n"
        ann.decide(1, "reject", sent="3")
        assert trusted.read_text() == "p00_s0\np02_s0\n"
        ben.decide(1, "accept", sent="4")
        assert trusted.read_text() == "p02_s0\n"
        ben.decide(1, "withdrawn", sent="5")
        assert trusted.read_text() == "p00_s0\np02_s0\n"
        for at, (where, word) in enumerate(((2, "unsure"), (2, "accept"), (place["p00_s0"], "unsure"))):
            ben.decide(where, word, sent=f"6{at}")  # type: ignore[arg-type]
        assert trusted.read_text() == "p02_s0\n"
        ann.decide(place["p02_s0"], "withdrawn", sent="7")
        assert not trusted.exists()


def test_what_a_killed_process_left_is_mended_by_the_next(tmp_path: Path) -> None:
    audit = masks_audit(tmp_path)
    with ReviewDb(audit) as db:
        Worklist(db, "ann")
        db.append(decided("ann", "p02_s0", 0, "verified"), "1")
        assert not (audit / "trusted.txt").exists()
        Worklist(db, "ann")
        assert (audit / "trusted.txt").read_text() == "p02_s0\n"


def test_of_classes_a_rejected_proposal_is_a_verified_label(tmp_path: Path) -> None:
    with ReviewDb(classes_audit(tmp_path / "audit")) as db:
        worklist = Worklist(db, "ann")
        for place, word, label in ((1, "reject", ""), (2, "edited", "hen"), (3, "verified", "")):
            worklist.decide(place, word, label=label, sent=str(place))  # type: ignore[arg-type]
        assert db.path.with_name("trusted.txt").read_text() == "a\nb\n"
