"""Repair as a user meets it: by a rule and by decisions, back bit for bit, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tests.audits import Audited, contents, refused, truncate
from tests.datasets import build_folder, save_png, save_rows
from tests.e2e.conftest import Command

from debride.audit.findings.record import read_record
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label


def test_repair_and_back_bit_for_bit(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["repair", audited.data, audited.audit, "--out", tmp_path / "fixed", "--accept", "all"]
    answer = debride(*words, "--flagged", "--allow-removal", "--trusted", audited.trusted, "--trusted-too")
    assert answer.code == 0, answer.err
    fixed, given = open_dataset(tmp_path / "fixed"), audited.dataset()
    for old, new in zip(given.cases, fixed.cases, strict=True):
        assert old.label is not None and new.label is not None
        predicted = np.load(audited.root / "probability" / f"{old.id}.npy").argmax(axis=0)
        before, after = (read_label(path, given)[0] for path in (old.label, new.label))
        if old.id in read_record(audited.audit).flagged:
            assert (after != predicted).mean() < 0.5 * (before != predicted).mean() and (after != predicted).mean() < 0.03
        else:
            assert old.label.read_bytes() == new.label.read_bytes()
    back = debride("repair", tmp_path / "fixed", "--reverse", "--out", tmp_path / "given")
    assert back.code == 0, back.err
    restored = contents(tmp_path / "given")
    assert {name: restored[name] for name in audited.before if name.startswith(("masks", "images"))} == {
        name: value for name, value in audited.before.items() if name.startswith(("masks", "images"))
    }
    assert contents(audited.data) == audited.before
    refused(debride(*words), "")


def test_trusted_cases_are_left_alone(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["repair", audited.data, audited.audit, "--out", tmp_path / "f", "--accept", "all", "--allow-removal"]
    assert "p04_9" in read_record(audited.audit).by_case() and debride(*words, "--trusted", audited.trusted).code == 0
    assert (tmp_path / "f" / "masks" / "p04_9.png").read_bytes() == (audited.data / "masks" / "p04_9.png").read_bytes()
    changed = [name for name, value in contents(tmp_path / "f" / "masks").items() if audited.before[f"masks/{name}"] != value]
    assert {f"{case}.png" for case in read_record(audited.audit).flagged} - {"p04_9.png"} <= set(changed)


def test_decisions_overrule(audited: Audited, debride: Command, tmp_path: Path) -> None:
    record = read_record(audited.audit)
    chosen = next(case for case, kind in audited.errors.items() if kind == "swap")
    (finding, *_) = record.by_case()[chosen]
    save_rows(tmp_path / "d.csv", [{"case": chosen, "number": str(finding.number), "decision": "accept"}])
    words = ["repair", audited.data, audited.audit, "--decisions", tmp_path / "d.csv", "--out"]
    assert debride(*words, tmp_path / "one").code == 0
    changed = [name for name, value in contents(tmp_path / "one" / "masks").items() if audited.before[f"masks/{name}"] != value]
    assert changed == [f"{chosen}.png"]
    save_rows(tmp_path / "d.csv", [{"case": chosen, "number": str(finding.number), "decision": "reject"}])
    assert debride(*words, tmp_path / "rest", "--accept", "all", "--allow-removal").code == 0
    assert (tmp_path / "rest" / "masks" / f"{chosen}.png").read_bytes() == audited.before[f"masks/{chosen}.png"]


def test_one_large_finding_a_case(audited: Audited, debride: Command, tmp_path: Path) -> None:
    words = ["repair", audited.data, audited.audit, "--out", tmp_path / "f", "--accept", "all", "--but", "boundary"]
    answer = debride(*words, "--one-per-case", "--voxels", 20, "--distance", 3, "--allow-removal")
    assert answer.code == 0, answer.err
    lines = [json.loads(line) for line in (tmp_path / "f" / "repairs.jsonl").read_text().splitlines()]
    applied = [line["case"] for line in lines if line["status"] == "applied"]
    assert applied and len(applied) == len(set(applied))
    for line in lines:
        if line["status"] == "applied":
            assert line["kind"] != "boundary" and line["voxels"] >= 20 and line["distance"] >= 3


def test_repair_refusals(audited: Audited, debride: Command, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("case,number,decision\nnobody,1,accept\n")

    def repair(*words: object) -> Any:
        return debride("repair", *words, "--out", tmp_path / "f")

    refused(repair(audited.data), "AUDIT", "is missing")
    refused(repair(audited.data, audited.audit), "--accept")
    refused(repair(audited.data, audited.audit, "--accept", "mising"), "Did you mean missing?")
    refused(repair(audited.data, audited.audit, "--accept", "all", "--class", "square"), "--class")
    refused(repair(audited.data, audited.audit, "--accept", "all", "--confidence", 2), "--confidence")
    refused(repair(audited.data, audited.audit, "--accept", "all", "--volume", 1), "--volume", "Give --voxels")
    refused(repair(audited.data, audited.audit, "--accept", "swap", "--but", "swap"), "--but")
    refused(repair(audited.data, audited.audit, "--one-per-case"), "--one-per-case restricts")
    refused(repair(audited.data, audited.audit, "--decisions", tmp_path / "d.csv"), "nobody")
    refused(repair(audited.data, audited.root / "probability", "--accept", "all"), "no audit.json")
    refused(repair(audited.data, "--reverse"), "")
    refused(repair(audited.data, audited.audit, "--reverse"), "--reverse")
    refused(repair(build_folder(tmp_path / "other", classes=3), audited.audit, "--accept", "all"), "")
    shutil.copytree(audited.data, tmp_path / "changed")
    case = min(read_record(audited.audit).by_case().keys() - {"p04_9"})
    save_png(tmp_path / "changed" / "masks" / f"{case}.png", np.zeros((40, 40), np.uint8))
    refused(repair(tmp_path / "changed", audited.audit, "--accept", "all"), "changed since the audit", case)
    shutil.copytree(audited.audit, tmp_path / "damaged")
    truncate(tmp_path / "damaged" / "proposals" / f"{case}.npz")
    refused(repair(audited.data, tmp_path / "damaged", "--accept", "all"), f"{case}.npz")
    (tmp_path / "damaged" / "findings.jsonl").write_text("{")
    refused(repair(audited.data, tmp_path / "damaged", "--accept", "all"), "findings.jsonl")
    assert not (tmp_path / "f").exists()
