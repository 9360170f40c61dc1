"""The database of decisions: nothing changes them, what stands is what rules say, and files that cannot be used are refused."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.review_folders import decided, masks_audit

from debride.audit.decided import DATABASE, Decision, Key, ReviewDb, standing_of
from debride.review.worklist_index import Filters, Worklist
from debride.types import DataError

KEYS = (("", "p00_s0", 1), ("", "p00_s0", 2), ("", "p00_s0", 0), ("core", "p00_s0", 1))


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return masks_audit(tmp_path)


def random_decisions(rng: random.Random, many: int, keys: Sequence[Key] = KEYS) -> list[Decision]:
    made = []
    for _ in range(many):
        region, case, number = rng.choice(keys)
        words = ["unsure", "edited", "withdrawn", *(["accept", "reject"] if number else ["verified"])]
        word: Any = rng.choice(words)
        label = rng.choice("xy") if word == "edited" else ""
        adjudicates, reader = rng.random() < 0.15, rng.choice(["ann", "ben", "eve"])
        others: Any = {"region": region, "label": label, "round": rng.randint(1, 3), "adjudicates": adjudicates}
        made.append(decided(reader, case, number, word, **others))
    return made


def slow_standing(decisions: Sequence[Decision]) -> dict[Key, tuple[str, str, set[int]]]:
    """State, label, and the places of the decisions that count, of each finding; by the rules as they are written down."""
    found: dict[Key, tuple[str, str, set[int]]] = {}
    for key in {decision.key for decision in decisions}:
        last: dict[tuple[str, bool, int], int] = {}
        for place, decision in enumerate(decisions):
            if decision.key == key:
                last[decision.reader, decision.adjudicates, decision.round] = place
        own = {place for place in last.values() if decisions[place].decision != "withdrawn"}
        judges = {place for place in own if decisions[place].adjudicates}
        if judges:
            own = {max(judges)}
        elif own:
            rounds = max(decisions[place].round for place in own)
            own = {place for place in own if decisions[place].round == rounds}
        votes = {(decisions[place].decision, decisions[place].label) for place in own if decisions[place].decision != "unsure"}
        if own and not votes:
            found[key] = "unsure", "", own
        elif len(votes) == 1:
            ((word, label),) = votes
            found[key] = word, label, own
        elif votes:
            found[key] = "conflict", "", own
    return found


def test_what_stands_is_what_the_rules_say() -> None:
    rng, states = random.Random(0), set()
    for many in range(1, 120):
        made = random_decisions(rng, many % 30 + 1)
        said = {
            key: (standing.state, standing.label, {decision.id - 1 for decision in standing.decisions})
            for key, standing in standing_of(made).items()
        }
        assert said == slow_standing(made)
        states |= {state for state, _, _ in said.values()}
    assert states == {"accept", "reject", "unsure", "edited", "verified", "conflict"}


def test_items_follow_what_stands(audit: Path) -> None:
    rng = random.Random(1)
    with ReviewDb(audit) as db:
        worklist, made = Worklist(db, "ann", round=2), []
        for at, decision in enumerate(random_decisions(rng, 150, KEYS[:3])):
            made.append(decision)
            db.append(decision, str(at))
            if at % 10 == 0:
                compare_items(worklist, made)


def compare_items(worklist: Worklist, made: Sequence[Decision]) -> None:
    """What ann sees in round 2, beside what the rules say of the decisions made."""
    slow = {key: state for key, (state, _, _) in slow_standing(made).items()}

    def mine(key: Key) -> str | None:
        own = [each for each in made if (each.key, each.reader, each.round) == (key, "ann", 2) and not each.adjudicates]
        return own[-1].decision if own and own[-1].decision != "withdrawn" else None

    for view in ("findings", "cases"):
        items = worklist.page(Filters(view=view)).items  # type: ignore[arg-type]
        keys = [(item["region"], item["case"], item["number"]) for item in items]
        assert [item["state"] for item in items] == [slow.get(key, "") for key in keys]
        assert [(item["mine"] or {}).get("decision") for item in items] == [mine(key) for key in keys]
        counts = worklist.counts(Filters(view=view))  # type: ignore[arg-type]
        done = [key for key in keys if mine(key) or mine(("", key[1], 0)) in ("verified", "edited")]
        assert (counts["all"], counts["decided"], counts["left"]) == (len(keys), len(done), len(keys) - len(done))
        assert counts["by"] == {word: sum(mine(key) == word for key in keys) for word in counts["by"]}
        assert counts["disagreed"] == sum(slow.get(key) == "conflict" for key in keys)
        for state, count in (("decided", len(done)), ("undecided", len(keys) - len(done)), ("disagreed", counts["disagreed"])):
            page = worklist.page(Filters(view=view, state=state))  # type: ignore[arg-type]
            assert page.total == len(page.items) == count


def test_nothing_changes_a_decision(audit: Path) -> None:
    with ReviewDb(audit) as db:
        db.append(decided("ann", "p00_s0", 1, "accept"), "1")
        for statement in ("UPDATE decisions SET decision = 'reject'", "DELETE FROM decisions"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                db.connection.execute(statement)
        assert [decision.decision for decision in db.decisions()] == ["accept"]


def test_a_decision_that_is_sent_twice_is_one(audit: Path) -> None:
    with ReviewDb(audit) as db:
        first = db.append(decided("ann", "p00_s0", 1, "accept", comment=" so\0 "), "1")
        assert db.append(decided("ann", "p00_s0", 1, "accept"), "1") == first
        assert db.append(decided("ann", "p00_s0", 1, "accept"), "2") > first
        (decision, _) = db.decisions()
    assert decision.comment == "so" and decision.time.endswith("+00:00") and decision.audit == db.audit


@pytest.mark.parametrize(
    "change", [{"decision": "verified"}, {"decision": "maybe"}, {"decision": "edited"}, {"label": "x"}, {"number": 0}]
)
def test_what_is_no_decision_is_refused(audit: Path, change: dict[str, Any]) -> None:
    with ReviewDb(audit) as db:
        with pytest.raises(DataError):
            db.append(replace(decided("ann", "p00_s0", 1, "accept"), **change), "1")
        assert list(db.decisions()) == []


def test_a_transaction_is_whole_or_nothing(audit: Path) -> None:
    with ReviewDb(audit) as db:
        with pytest.raises(KeyError), db.writing():
            db.append(decided("ann", "p00_s0", 1, "accept"), "1")
            raise KeyError
        assert list(db.decisions()) == []


def test_decisions_on_another_audit_are_refused(audit: Path) -> None:
    with ReviewDb(audit) as db:
        db.append(decided("ann", "p00_s0", 1, "accept"), "1")
    (audit / "cases.csv").write_text((audit / "cases.csv").read_text() + "\n")
    with pytest.raises(DataError, match="another audit"):
        ReviewDb(audit)


def test_a_review_that_nobody_began_is_not_read(audit: Path) -> None:
    with pytest.raises(DataError, match="nobody has reviewed"):
        ReviewDb(audit, may_write=False)
    assert not (audit / DATABASE).exists()


def test_files_that_are_no_review_stay_as_they_are(audit: Path) -> None:
    path = audit / DATABASE
    path.write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="cannot be used"):
        ReviewDb(audit)
    assert path.read_bytes() == b"no database" * 100
    path.unlink()
    with sqlite3.connect(path) as stranger:
        stranger.execute("CREATE TABLE mine (x)")
    stranger.close()
    before = path.read_bytes()
    for may_write in (True, False):
        with pytest.raises(DataError, match="no database of a review"):
            ReviewDb(audit, may_write=may_write)
    assert path.read_bytes() == before


def test_another_version_and_a_damaged_file_are_refused(audit: Path) -> None:
    with ReviewDb(audit) as db:
        with db.writing():
            for number in range(300):
                db.append(decided("ann", "p00_s0", 1, "accept", comment="x" * 100), str(number))
        db.connection.execute("PRAGMA user_version = 7")
    with pytest.raises(DataError, match="version 7"):
        ReviewDb(audit)
    with sqlite3.connect(audit / DATABASE) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    content = bytearray((audit / DATABASE).read_bytes())
    content[-6000:] = bytes(6000)
    (audit / DATABASE).write_bytes(content)
    with pytest.raises(DataError, match=r"damaged|cannot be used"):
        ReviewDb(audit)


def test_a_full_disk_is_said_and_loses_nothing(audit: Path) -> None:
    with ReviewDb(audit) as db:
        db.append(decided("ann", "p00_s0", 1, "accept"), "1")
        pages = db.connection.execute("PRAGMA page_count").fetchone()[0]
        db.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(DataError, match="full") as raised:
            for number in range(1000):
                db.append(decided("ann", "p00_s0", 1, "reject", comment="x" * 1000), f"more{number}")
        assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    with ReviewDb(audit) as db:
        assert len(list(db.decisions())) == number + 1


@pytest.mark.parametrize("writable", [True, False])
def test_reading_leaves_nothing_behind(audit: Path, writable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with ReviewDb(audit) as db:
        db.append(decided("ann", "p00_s0", 1, "accept"), "1")
    before = {path.name: path.read_bytes() for path in audit.iterdir() if path.is_file()}
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    with ReviewDb(audit, may_write=False) as db:
        assert db.standing()["", "p00_s0", 1].state == "accept"
        with pytest.raises(DataError, match="readonly"):
            db.append(decided("ann", "p00_s0", 1, "reject"), "2")
    assert {path.name: path.read_bytes() for path in audit.iterdir() if path.is_file()} == before


KILLED = """
import sys
from pathlib import Path
from debride.audit.decided import Decision, ReviewDb
db = ReviewDb(Path(sys.argv[1]))
for number in range(100000):
    db.append(Decision(reader="ann", case="p00_s0", number=1, decision="accept"), str(number))
    print(number, flush=True)
"""


def test_what_a_killed_process_acknowledged_is_there(audit: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(audit)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [process.stdout.readline() for _ in range(25)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    told = [int(line) for line in said if line.endswith("\n")]
    with ReviewDb(audit, may_write=False) as db:
        assert 0 <= len(list(db.decisions())) - len(told) <= 1
        assert db.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert sorted(path.name for path in audit.glob(f"{DATABASE}*")) == [DATABASE]
