from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder, build_nnunet_3d, save_png
from tests.written_audits import box, two_findings, write_audit

from debride.audit.findings.finding import Finding
from debride.audit.findings.record import check_belongs, read_proposals, read_record
from debride.data.open import open_dataset
from debride.types import DataError


def test_what_was_written_is_read(tmp_path: Path) -> None:
    dataset, audit = two_findings(tmp_path)
    record = read_record(audit)
    assert (record.classes, record.ndim, record.flagged) == (dataset.classes, 2, {"p01_s1"})
    assert [(finding.case, finding.number) for finding in record.findings] == [("p00_s0", 1), ("p00_s0", 2), ("p01_s1", 1)]
    expected = Finding(
        case="p01_s1",
        number=1,
        kind="missing",
        given=0,
        proposed=1,
        box=((0, 3), (0, 4)),
        voxels=12,
        volume=0.5,
        displacement=-2.0,
        severity=0.5,
        confidence=0.9,
    )
    assert record.findings[2] == expected
    assert record.by_case() == {"p00_s0": list(record.findings[:2]), "p01_s1": [expected]}
    numbers, proposed = read_proposals(audit, "p00_s0", record.findings[:2], (32, 32), 3)
    assert (numbers[1, 1], numbers[30, 2], proposed[1, 1], proposed[30, 2], np.count_nonzero(numbers)) == (1, 2, 2, 1, 12 + 36)
    check_belongs(record, dataset, {"p00_s0", "p01_s1"})


def edit_line(audit: Path, at: int, /, **values: Any) -> None:
    path = audit / "findings.jsonl"
    lines = path.read_text().splitlines()
    lines[at] = json.dumps({**json.loads(lines[at]), **values})
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"case": "../p00_s0"}, "names the case"),
        ({"case": "other"}, "names the case"),
        ({"case": 3}, "names the case"),
        ({"number": 1}, "again"),
        ({"number": 0}, "number 0"),
        ({"number": 65536}, "number 65536"),
        ({"number": True}, "number True"),
        ({"kind": "wrong"}, "kind"),
        ({"given": 3}, "given 3"),
        ({"proposed": 255}, "proposed 255"),
        ({"proposed": -1}, "proposed -1"),
        ({"voxels": 0}, "voxels 0"),
        ({"box": [[0, 3]]}, "box"),
        ({"box": [[0, 3], [4, 4]]}, "box"),
        ({"box": [[0, 3], [-1, 4]]}, "box"),
        ({"box": [[0, 3], [0.0, 4]]}, "box"),
        ({"severity": 1.5}, "severity 1.5"),
        ({"confidence": float("nan")}, "holds NaN"),
        ({"confidence": "1"}, "confidence '1'"),
        ({"volume": "much"}, "volume"),
        ({"displacement": float("inf")}, "holds Infinity"),
        ({"distance": "far"}, "distance 'far'"),
        ({"distance": -1.0}, "distance -1.0"),
        ({"area": -0.5}, "area -0.5"),
    ],
)
def test_findings_that_cannot_be(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    _, audit = two_findings(tmp_path)
    edit_line(audit, 1, **values)
    with pytest.raises(DataError, match=message) as raised:
        read_record(audit)
    assert raised.value.where == f"{audit / 'findings.jsonl'}:2"


def test_findings_of_older_audits_say_no_distance(tmp_path: Path) -> None:
    _, audit = two_findings(tmp_path)
    path = audit / "findings.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k not in ("area", "distance")}) + "\n" for row in rows))
    assert {(finding.area, finding.distance) for finding in read_record(audit).findings} == {(None, None)}


def cut_findings(audit: Path) -> None:
    path = audit / "findings.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def cut_findings_at_a_line(audit: Path) -> None:
    path = audit / "findings.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def no_field(audit: Path) -> None:
    path = audit / "findings.jsonl"
    path.write_text(path.read_text().replace('"confidence"', '"trust"', 1))


def no_json(audit: Path) -> None:
    path = audit / "findings.jsonl"
    path.write_text("[1]\n" + path.read_text())


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(audit: Path) -> None:
        text = (audit / name).read_text()
        assert old in text
        (audit / name).write_text(text.replace(old, new))

    return damage


@pytest.mark.parametrize(
    ("damage", "where", "message"),
    [
        (cut_findings, "findings.jsonl:3", "cut off"),
        (cut_findings_at_a_line, "findings.jsonl", r"holds 0 finding\(s\) of p01_s1, cases.csv counts 1"),
        (no_field, "findings.jsonl:1", "has no confidence"),
        (no_json, "findings.jsonl:1", "not a JSON object"),
        (lambda audit: (audit / "findings.jsonl").unlink(), "findings.jsonl", "cannot be read"),
        (lambda audit: (audit / "audit.json").unlink(), "", "not a folder of an audit"),
        (lambda audit: (audit / "audit.json").write_text("[]"), "audit.json", "classes"),
        (replaced("audit.json", '"ndim": 2', '"ndim": 4'), "audit.json", "4 axes"),
        (replaced("audit.json", '"labels"', '"marks"'), "audit.json", "labels"),
        (replaced("audit.json", '"p02_s0"', '"../p02"'), "audit.json", "cannot be a file name"),
        (lambda audit: (audit / "cases.csv").unlink(), "cases.csv", "cannot be read"),
        (replaced("cases.csv", "flagged", "marked"), "cases.csv:1", "no column flagged"),
        (replaced("cases.csv", "p02_s0,0", "p02_s0,maybe"), "cases.csv:6", "flagged 'maybe'"),
        (replaced("cases.csv", "p02_s0,0", "p01_s1,0"), "cases.csv:6", "second time"),
    ],
)
def test_audits_that_are_damaged(tmp_path: Path, damage: Callable[[Path], None], where: str, message: str) -> None:
    _, audit = two_findings(tmp_path)
    damage(audit)
    with pytest.raises(DataError, match=message) as raised:
        read_record(audit)
    assert raised.value.where == str(audit / where)


def save_proposals(audit: Path, **arrays: Any) -> None:
    path = audit / "proposals" / "p00_s0.npz"
    with np.load(path) as archive:
        kept = {name: archive[name] for name in archive.files}
    np.savez_compressed(path, **{name: array for name, array in {**kept, **arrays}.items() if array is not None})


NUMBERS = box((32, 32), (0, 3), (0, 4)).astype(np.uint16) + box((32, 32), (28, 32), (0, 9)).astype(np.uint16) * np.uint16(2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"number": np.zeros((16, 64), np.uint16)}, r"number of shape \(16, 64\)"),
        ({"proposed": np.zeros((32, 32, 1), np.uint8)}, "proposed of shape"),
        ({"number": np.zeros((32, 32), np.int64)}, "int64"),
        ({"proposed": np.zeros((32, 32), np.float32)}, "float32"),
        ({"number": None}, "has no array number"),
        ({"number": np.zeros((32, 32), object)}, "Python objects"),
        ({"proposed": np.full((32, 32), 3, np.uint8)}, "proposes the class 3"),
        ({"proposed": np.full((32, 32), 255, np.uint8)}, "proposes the class 255"),
        ({"number": np.where(NUMBERS == 2, 0, NUMBERS).astype(np.uint16)}, "no voxel of finding 2"),
        ({"number": np.where(NUMBERS == 2, 7, NUMBERS).astype(np.uint16)}, "of the number 7"),
        ({"number": np.roll(NUMBERS, 1, axis=1)}, "outside its box"),
    ],
)
def test_proposals_that_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    _, audit = two_findings(tmp_path)
    findings = read_record(audit).by_case()["p00_s0"]
    save_proposals(audit, **arrays)
    with pytest.raises(DataError, match=message) as raised:
        read_proposals(audit, "p00_s0", findings, (32, 32), 3)
    assert raised.value.where == str(audit / "proposals" / "p00_s0.npz")


def test_proposals_that_are_cut_off_anywhere(tmp_path: Path) -> None:
    _, audit = two_findings(tmp_path)
    findings = read_record(audit).by_case()["p00_s0"]
    path = audit / "proposals" / "p00_s0.npz"
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            read_proposals(audit, "p00_s0", findings, (32, 32), 3)
    for at in range(40, len(content), 11):  # a byte turned over is noticed, or changes nothing
        path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        try:
            numbers, _ = read_proposals(audit, "p00_s0", findings, (32, 32), 3)
        except DataError:
            continue
        np.testing.assert_array_equal(numbers, NUMBERS)
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_proposals(audit, "p00_s0", findings, (32, 32), 3)


def test_an_audit_of_another_data_set(tmp_path: Path) -> None:
    dataset, audit = two_findings(tmp_path)
    record = read_record(audit)
    for other, message in (
        (replace(dataset, classes=("background", "a", "b")), "classes"),
        (replace(dataset, ignore=9), "ignore"),
        (replace(dataset, values={0: 0, 5: 1, 6: 2}), "values"),
        (replace(dataset, ndim=3), "ndim"),
        (replace(dataset, task="classification"), "classification"),
    ):
        with pytest.raises(DataError, match=message):
            check_belongs(record, other, set())
    fewer = replace(dataset, cases=dataset.cases[3:])
    with pytest.raises(DataError, match="findings of p00_s0, which"):
        check_belongs(record, fewer, {"p00_s0", "p01_s1"})
    check_belongs(record, fewer, {"p01_s1"})


def test_values_of_binary_masks_are_compared_as_json_keeps_them(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "source"))
    assert dataset.values == {0: 0, 255: 1}
    record = read_record(write_audit(tmp_path / "audit", dataset, {}))
    check_belongs(record, dataset, {case.id for case in dataset.cases})


def test_labels_that_changed_since_are_named(tmp_path: Path) -> None:
    dataset, audit = two_findings(tmp_path)
    save_png(dataset.root / "labelsTr" / "p00_s0.png", np.zeros((32, 32), np.uint8))
    record = read_record(audit)
    check_belongs(record, dataset, {"p01_s1"})
    with pytest.raises(DataError, match="changed since the audit: p00_s0"):
        check_belongs(record, dataset, {"p01_s1", "p00_s0"})


def test_volumes(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path / "source"))
    where = box((6, 16, 20), (0, 2), (0, 3), (0, 4))
    audit = write_audit(tmp_path / "audit", dataset, {"vol02": [(where, 1, {"kind": "gap", "volume": 0.07})]})
    record = read_record(audit)
    numbers, proposed = read_proposals(audit, "vol02", record.findings, (6, 16, 20), 3)
    np.testing.assert_array_equal(numbers == 1, where)
    np.testing.assert_array_equal(proposed, where)
    assert record.findings[0].box == ((0, 2), (0, 3), (0, 4))
