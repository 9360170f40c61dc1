"""Audits of volumes and pictures, exported for other programs, and plain readers of what was written."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from debride.audit.decided import Decision, ReviewDb
from debride.data.open import open_dataset
from debride.types import Dataset
from tests.datasets import build_folder, build_nnunet_3d
from tests.written_audits import box, write_audit

SHAPE = (6, 16, 20)

OBLIQUE = np.array(
    [
        [-1.0 * np.cos(0.2), np.sin(0.2) * 1.5, 0.0, 31.25],
        [-np.sin(0.2), -1.5 * np.cos(0.2), 0.0, -7.5],
        [0, 0, 2.0, 3.0],
        [0, 0, 0, 1],
    ]
)
"""From voxel to RAS: turned by 0.2 about the long axis of the body, spacing 1, 1.5 and 2 mm."""


def volumes(root: Path, affine: npt.NDArray[np.float64] = OBLIQUE) -> tuple[Dataset, Path]:
    """A data set of volumes of two classes at a place, and an audit with two findings in vol00 and one in vol02."""
    source = build_nnunet_3d(root / "source", n=4, channels=1)
    for path in source.rglob("*.nii.gz"):
        stored: Any = nib.load(path)
        volume: Any = nib.Nifti1Image(np.asarray(stored.dataobj), affine)
        nib.save(volume, path)
    dataset = open_dataset(source)
    corner, edge = box(SHAPE, (0, 2), (0, 3), (0, 4)), box(SHAPE, (4, 6), (13, 16), (2, 9))
    changes = {
        "vol00": [(corner, 2, {"kind": "missing"}), (edge, 1, {"kind": "missing", "confidence": 0.25})],
        "vol02": [(corner, 1, {"kind": "missing"})],
    }
    return dataset, write_audit(root / "audit", dataset, changes)


def pictures(root: Path, classes: int = 3) -> tuple[Dataset, Path]:
    """A data set of pictures, and an audit with two findings in case000 and one in case003."""
    dataset = open_dataset(build_folder(root / "source", classes=classes))
    corner, edge = box((32, 32), (0, 3), (0, 4)), box((32, 32), (28, 32), (0, 9))
    changes = {
        "case000": [(corner, 1, {"kind": "missing"}), (edge, 1, {"kind": "extra", "confidence": 0.25})],
        "case003": [(corner, 1, {"kind": "missing"})],
    }
    return dataset, write_audit(root / "audit", dataset, changes)


def header_of(path: Path) -> tuple[dict[str, str], dict[str, str], bytes]:
    """The fields and notes of an NRRD file's header, and its numbers as bytes: as the format says, line by line."""
    head, _, packed = path.read_bytes().partition(b"\n\n")
    first, *lines = head.decode().split("\n")
    assert first == "NRRD0004"
    fields: dict[str, str] = {}
    notes: dict[str, str] = {}
    for line in lines:
        if line.startswith("#"):
            continue
        if ":=" in line:
            name, _, text = line.partition(":=")
            notes[name] = text
        else:
            name, _, text = line.partition(": ")
            fields[name] = text
    return fields, notes, gzip.decompress(packed)


def decisions_in(audit: Path) -> list[Decision]:
    if not (audit / "review.db").exists():
        return []
    with ReviewDb(audit, may_write=False) as db:
        return list(db.decisions())
