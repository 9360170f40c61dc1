"""Audits that are cut off, done in parts, by other settings, or since an earlier one: what is kept, and what it comes to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.audits import about, contents, picture_set, table

from debride.audit import AuditConfig, one_case
from debride.audit.audit_folder import Part
from debride.audit.case_results import CaseResults
from debride.audit.passes import audit_dataset, audit_part
from debride.audit.predictions import open_predictions
from debride.data.open import open_dataset
from debride.types import Case, DataError, Dataset

CONFIG = AuditConfig(planted=4, pictures=2, least=0.01)
N = 12


class Cut(BaseException):
    """Ends an audit, as a signal does."""


class Pictures:
    """Twelve pictures, four of them with an error, and audits of them; ``looked`` counts the cases that are looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        picture_set(root, n=N, size=24, every=3)
        self.dataset = open_dataset(root / "data")
        self.looked: list[str] = []

    def audit(self, name: str, cases: Sequence[Case] | None = None, config: AuditConfig = CONFIG, **more: Any) -> Path:
        dataset, cases = self.of(cases)
        audit_dataset(dataset, cases, self.predictions(), self.root / name, config, **more)
        return self.root / name

    def part(self, name: str, part: Part, **more: Any) -> Any:
        dataset, cases = self.of(None)
        return audit_part(dataset, cases, self.predictions(), self.root / name, CONFIG, part, **more)

    def of(self, cases: Sequence[Case] | None) -> tuple[Dataset, Sequence[Case]]:
        cases = self.dataset.cases if cases is None else tuple(cases)
        return replace(self.dataset, cases=cases), cases

    def predictions(self) -> Any:
        return open_predictions(self.root / "probability", self.dataset, self.dataset.cases)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Pictures and an audit that no test changes."""
    done = Pictures(tmp_path_factory.mktemp("pictures"))
    done.audit("whole")
    return done


@pytest.fixture
def pictures(shared: Pictures, monkeypatch: pytest.MonkeyPatch) -> Pictures:
    """The same with a count of the cases that are looked at from now on."""
    shared.looked.clear()
    read = one_case.agreement

    def counted(*arrays: Any) -> float:
        shared.looked.append("")
        return read(*arrays)

    monkeypatch.setattr(one_case, "agreement", counted)
    for path in shared.root.iterdir():
        if path.name not in ("data", "probability", "whole"):
            shutil.rmtree(path)
    return shared


def cut_after(monkeypatch: pytest.MonkeyPatch, results: int) -> None:
    """Ends the next audit when it has so many results more."""
    left = results
    put = CaseResults.put

    def counted(self: CaseResults, *result: Any) -> None:
        nonlocal left
        if not left:
            raise Cut
        left -= 1
        put(self, *result)

    monkeypatch.setattr(CaseResults, "put", counted)


def test_an_audit_that_is_cut_off_again_and_again_ends_as_if_it_had_not_been(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, proposals = 0, pictures.root / "cut" / "proposals"
    damaged: set[str] = set()
    while True:
        with monkeypatch.context() as patch:
            cut_after(patch, 5 + (cuts > 0))  # the last cut is between what was found and its picture
            try:
                pictures.audit("cut")
                break
            except Cut:
                cuts += 1
        with (pictures.root / "cut" / "work" / "whole" / "results.jsonl").open("ab") as file:
            file.write(b'{"case": "torn')
        proposals.mkdir(exist_ok=True)
        for path in proposals.iterdir():
            if path.name not in damaged:
                path.write_bytes(b"of an audit by other settings")
            damaged.add(path.name)
        (proposals / ".tmp-left.npz").write_bytes(b"half")
    assert cuts > 3 and damaged
    assert len(pictures.looked) <= N + cuts
    assert contents(pictures.root / "cut") == contents(pictures.root / "whole")


def test_parts_in_any_order_come_to_the_whole(pictures: Pictures) -> None:
    assert pictures.part("parts", Part(2, 2)).looked == N // 2
    with pytest.raises(DataError, match=f"has not looked at {N // 2} of {N} cases"):
        pictures.audit("parts", merge=True)
    progress = pictures.part("parts", Part(1, 2))
    assert (progress.looked, progress.judged) == (N, N // 2)
    assert pictures.part("parts", Part(2, 2)).judged == N
    assert len(pictures.looked) == N
    pictures.audit("parts", merge=True)
    assert len(pictures.looked) == N
    assert contents(pictures.root / "parts") == contents(pictures.root / "whole")
    with pytest.raises(DataError, match="holds an audit already"):
        pictures.part("parts", Part(1, 2))


def test_other_settings_find_anew_what_depends_on_them(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Cut):
        cut_after(patch, 30)
        pictures.audit("cut")
    assert len(pictures.looked) == N
    pictures.audit("cut", config=replace(CONFIG, least=0.2, pictures=9))
    assert len(pictures.looked) == N
    pictures.audit("other", config=replace(CONFIG, least=0.2, pictures=9))
    assert contents(pictures.root / "cut") == contents(pictures.root / "other")
    pictures.looked.clear()
    pictures.audit("since", config=replace(CONFIG, seed=1), since=pictures.root / "whole")
    assert len(pictures.looked) == N


def test_since_an_audit_only_new_and_changed_cases_are_looked_at(pictures: Pictures) -> None:
    cases, all_planted = pictures.dataset.cases, replace(CONFIG, planted=N)
    masks = [pictures.root / "data" / "masks" / f"{case.id}.png" for case in cases]
    old, times = masks[3].read_bytes(), masks[3].stat()
    first = pictures.audit("first", cases[:-1], all_planted)
    pictures.looked.clear()
    os.utime(masks[1])  # its content is the same
    masks[3].write_bytes(masks[1].read_bytes())
    try:
        since = pictures.audit("since", cases[1:], all_planted, since=first)
        assert len(pictures.looked) == 2
        anew = pictures.audit("anew", cases[1:], all_planted)
    finally:
        masks[3].write_bytes(old)
        os.utime(masks[3], ns=(times.st_atime_ns, times.st_mtime_ns))
    told = about(since)["since"]
    assert (told["new"], told["changed"]) == ([cases[-1].id], [cases[3].id])
    assert (told["gone"], told["unchanged"]) == ([cases[0].id], N - 3)
    flagged = {name: {row["case"] for row in table(name / "cases.csv") if row["flagged"] == "1"} for name in (first, since)}
    assert set(told["newly_flagged"]) == flagged[since] - flagged[first]
    assert set(told["no_longer_flagged"]) == flagged[first] - flagged[since]
    rows = {row["case"]: row for row in table(since / "cases.csv")}
    marks = ["", "", "changed", *[""] * (N - 5), "new"]
    assert [rows[case.id].pop("since") for case in cases[1:]] == marks
    assert list(rows.values()) == table(anew / "cases.csv")
    assert about(since)["thresholds"] == about(first)["thresholds"] != about(anew)["thresholds"]
    scores, others = (table(folder / "scores.csv") for folder in (since, anew))
    for row in (*scores, *others):
        del row["confident"]
    assert scores == others
    own, other = contents(since), contents(anew)
    assert own.keys() == other.keys()
    differ = {name for name in own if own[name] != other[name]}
    assert differ <= {"audit.json", "cases.csv", "report.html", "results.jsonl", "scores.csv"}


def test_what_no_audit_can_go_on_from_is_refused(pictures: Pictures) -> None:
    old = shutil.copytree(pictures.root / "whole", pictures.root / "old")
    with pytest.raises(DataError, match="is not a folder of an audit"):
        pictures.audit("a", since=pictures.root / "data")
    lines = (old / "results.jsonl").read_text()
    for damaged, words in (
        ("3\n", "what it holds is 3"),
        (lines.replace('"piece": ', '"piece": 1'), "was changed"),
    ):
        (old / "results.jsonl").write_text(damaged)
        with pytest.raises(DataError, match=rf"results\.jsonl:\d+: {words}"):
            pictures.audit("b", since=old)
    (old / "results.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no results\.jsonl to go on from"):
        pictures.audit("c", since=old)
    told = about(old)
    told["dataset"]["classes"] = ["background", "round", "oval"]
    (old / "audit.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="is of the classes background, round, oval"):
        pictures.audit("d", since=old)


def test_a_case_that_cannot_be_read_does_not_keep_the_others(pictures: Pictures, tmp_path: Path) -> None:
    other = Pictures(tmp_path)
    first = tmp_path / "probability" / f"{other.dataset.cases[0].id}.npy"
    whole = first.read_bytes()
    first.write_bytes(b"cut off")
    with pytest.raises(DataError, match=first.name):
        other.audit("a")
    assert len(pictures.looked) == N - 1
    first.write_bytes(whole)
    other.audit("a")
    assert len(pictures.looked) == N
