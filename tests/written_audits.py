"""Audits written by hand, what a repair by them left, and labels of squares."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.findings.finding import Finding
from debride.audit.repair import RECORD, repair
from debride.audit.repair.decisions import parse_acceptance
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.files import content_hash
from debride.types import Dataset
from tests.datasets import build_folder, build_nnunet_2d, save_json, save_png

Label = npt.NDArray[np.uint8]
Change = tuple[npt.NDArray[np.bool_], Any, dict[str, Any]]
"""Where a finding is (*S), the class or classes (*S) proposed there, and what of the finding is not the default."""
CLASSES = ("background", "a", "b", "c")
ALL = parse_acceptance(["all"], CLASSES)


def given_label(dataset: Dataset, id: str) -> Label:
    path = next(case.label for case in dataset.cases if case.id == id)
    assert path is not None
    return read_label(path, dataset)[0]


def write_audit(folder: Path, dataset: Dataset, changes: Mapping[str, Sequence[Change]], flagged: Sequence[str] = ()) -> Path:
    """A folder of an audit that finds ``changes`` in the cases named."""
    folder.mkdir(parents=True)
    (folder / "proposals").mkdir()
    findings: list[Finding] = []
    for id, found in changes.items():
        label = given_label(dataset, id)
        numbers, proposed = np.zeros(label.shape, np.uint16), np.zeros(label.shape, np.uint8)
        for number, (where, value, other) in enumerate(found, start=1):
            numbers[where] = number
            proposed[where] = np.broadcast_to(np.asarray(value, np.uint8), label.shape)[where]
            places = np.argwhere(where)
            box = tuple((int(low), int(high) + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
            values = {"kind": "boundary", "given": int(label[where][0]), "proposed": int(proposed[where][0])}
            values |= {"severity": 0.5, "confidence": 0.9, **other}
            findings.append(Finding(case=id, number=number, box=box, voxels=int(where.sum()), **values))
        np.savez_compressed(folder / "proposals" / f"{id}.npz", number=numbers, proposed=proposed)
    labelled = {case.id: content_hash([case.label]) for case in dataset.cases if case.label}
    about = {
        "version": "0",
        "dataset": {
            "root": str(dataset.root),
            "format": dataset.format,
            "classes": list(dataset.classes),
            "ignore": dataset.ignore,
            "values": {str(raw): id for raw, id in dataset.values.items()},
            "ndim": dataset.ndim,
        },
        "labels": labelled,
    }
    (folder / "audit.json").write_text(json.dumps(about))
    (folder / "findings.jsonl").write_text("".join(json.dumps(asdict(finding)) + "\n" for finding in findings))
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("rank", "case", "flagged", "findings"))
        for rank, id in enumerate(labelled, start=1):
            writer.writerow((rank, id, int(id in flagged), len(changes.get(id, ()))))
    return folder


def box(shape: Sequence[int], *ends: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A mask (*S) of a box."""
    mask = np.zeros(tuple(shape), bool)
    mask[tuple(slice(*pair) for pair in ends)] = True
    return mask


def two_findings(tmp_path: Path) -> tuple[Dataset, Path]:
    """A data set of three classes, and an audit with two findings in p00_s0 and one in p01_s1."""
    dataset = open_dataset(build_nnunet_2d(tmp_path / "source", classes=3))
    corner, edge = box((32, 32), (0, 3), (0, 4)), box((32, 32), (28, 32), (0, 9))
    changes = {
        "p00_s0": [(corner, 2, {"kind": "missing"}), (edge, 1, {"kind": "missing", "confidence": 0.25})],
        "p01_s1": [(corner, 1, {"kind": "missing", "volume": 0.5, "displacement": -2.0})],
    }
    return dataset, write_audit(tmp_path / "audit", dataset, changes, flagged=["p01_s1"])


def label_files(dataset: Dataset) -> dict[str, tuple[str, bytes]]:
    return {
        case.id: (str(case.label.relative_to(dataset.root)), case.label.read_bytes()) for case in dataset.cases if case.label
    }


def lines_of(root: Path) -> dict[tuple[str, int], dict[str, Any]]:
    rows = [json.loads(line) for line in (root / RECORD).read_text().splitlines()]
    return {(row["case"], row["number"]): row for row in rows}


def squares(*places: tuple[int, int, int], shape: tuple[int, ...] = (24, 24)) -> Label:
    """A label of squares, each (class, row, column), of 4 x 4 pixels; in a volume they fill slices 1 and 2."""
    label = np.zeros(shape, np.uint8)
    for value, row, column in places:
        label[(slice(1, 3),) * (len(shape) - 2) + (slice(row, row + 4), slice(column, column + 4))] = value
    return label


def square(row: int, column: int, rows: int = 4, shape: tuple[int, ...] = (24, 24)) -> npt.NDArray[np.bool_]:
    return box(shape, *([(1, 3)] * (len(shape) - 2)), (row, row + rows), (column, column + 4))


def four_findings(tmp_path: Path, flagged: Sequence[str] = ()) -> tuple[Dataset, Path]:
    """A data set with two squares of each of a and b in every label, and four findings in case002."""
    root = build_folder(tmp_path / "source", classes=3)
    for path in (root / "masks").iterdir():
        save_png(path, squares((1, 2, 2), (1, 12, 12), (2, 18, 2), (2, 2, 18), shape=(32, 32)))
    save_json(root / "dataset.json", {"classes": ["background", "a", "b"]})
    source = open_dataset(root)
    proposed = np.zeros((32, 32), np.uint8)
    proposed[26:30, 26:30], proposed[12:16, 12:16] = 1, 1
    found: list[Any] = [
        (square(26, 26, shape=(32, 32)), proposed, {"kind": "missing", "confidence": 0.25}),
        (square(18, 2, shape=(32, 32)), 0, {"kind": "extra", "confidence": 0.5, "volume": 1.0}),
        (square(2, 18, rows=1, shape=(32, 32)), 0, {"kind": "boundary", "severity": 0.75, "distance": 3.0}),
        (square(12, 12, rows=1, shape=(32, 32)), 0, {"kind": "boundary", "severity": 0.75, "volume": 2.5, "distance": 2.0}),
    ]
    return source, write_audit(tmp_path / "audit", source, {"case002": found}, flagged)


def repaired_folder(tmp_path: Path) -> Path:
    source, audit = four_findings(tmp_path)
    repair(source, audit, tmp_path / "out", ALL)
    return tmp_path / "out"
