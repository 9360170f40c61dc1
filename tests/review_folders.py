"""Audits of masks, of regions and of classes to review, written by hand, and decisions on them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debride.audit.decided import Decision, Word
from debride.data.open import open_dataset
from tests.audited_regions import write_region_audit
from tests.datasets import save_json
from tests.region_sets import build_regions_2d
from tests.written_audits import box, two_findings

CLASSES = ("cat", "dog", "hen")


def masks_audit(tmp_path: Path) -> Path:
    """Two findings in p00_s0 and one in p01_s1; the second case is flagged."""
    return two_findings(tmp_path)[1]


def regions_audit(tmp_path: Path) -> Path:
    """A finding of the first region and one of the second in one case, and one of the first in another."""
    dataset = open_dataset(build_regions_2d(tmp_path / "source"))
    first, second = (region.name for region in dataset.regions[:2])
    ids = [case.id for case in dataset.cases]
    shape = (32, 32)
    corner, edge = box(shape, (0, 3), (0, 4)), box(shape, (28, 32), (0, 9))
    found = {
        first: {ids[0]: [(corner, 1, {"kind": "missing"})], ids[1]: [(corner, 1, {"kind": "missing"})]},
        second: {ids[0]: [(edge, 1, {"kind": "missing", "confidence": 0.25})]},
    }
    return write_region_audit(tmp_path / "audit", dataset, found, flagged=[ids[1]])


def classes_audit(folder: Path, wrong: Sequence[float] = (0.9, 0.05, 0.02), duplicates: Sequence[int] = (2,)) -> Path:
    """Images a, b, ... given as a cat and proposed as a dog, wrong with these probabilities; some are ``duplicates``."""
    folder.mkdir(parents=True)
    cases = [chr(ord("a") + at) for at in range(len(wrong))]
    about = {
        "task": "classification",
        "dataset": {"classes": list(CLASSES)},
        "settings": {"least": 0.1},
        "labels": dict.fromkeys(cases, "cat"),
    }
    save_json(folder / "audit.json", about)
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("case", "patient", "given", "proposed", "wrong", "flagged", "duplicates", "site"))
        for at, (case, odds) in enumerate(zip(cases, wrong, strict=True)):
            group = 1 if at in duplicates else ""
            writer.writerow((case, f"patient-{case}", "cat", "dog", odds, int(odds > 0.5), group, "north" if at else ""))
    return folder


def decided(reader: str, case: str, number: int, word: Word, **others: Any) -> Decision:
    """A decision."""
    return Decision(reader=reader, case=case, number=number, decision=word, **others)
