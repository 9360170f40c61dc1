"""The folder of an audit: where it may lie, what is kept of one that was cut off, and how its files are written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.evidence import CaseScore, ClassScore
from debride.audit.findings import Finding, Label, Numbers
from debride.files import atomic_path, write_csv, write_text
from debride.folders import new_folder
from debride.temporaries import TEMPORARY
from debride.types import Case, DataError, Dataset

MARKER = ".debride-audit"
"""Marks a folder as that of an audit, from the start: only in such a folder is anything replaced."""

PARTS = ("audit.json", "proposals", "pictures", "worklist", "findings.jsonl", "cases.csv", "scores.csv", "report.html")
"""What an audit writes; the report is the last."""


def check_output(dataset: Dataset, out: Path, predictions: Path | None = None) -> None:
    """Raises DataError as ``new_folder`` does, with the folder of ``predictions`` as a source, if one is given. An audit that
    was cut off may go on."""
    sources = {"the data set": dataset.root, **({"the folder of predictions": predictions} if predictions else {})}
    new_folder(out, apart_from=sources, may_go_on=(out / MARKER).exists())
    if (out / "audit.json").exists() and (out / "report.html").exists():
        raise DataError(out, "holds an audit already", "Choose another `out`, or remove this folder.")


def claim_output(dataset: Dataset, out: Path) -> None:
    """Makes the folder of an audit, if ``check_output`` allows it, and marks it as such."""
    check_output(dataset, out)
    write_text(out / MARKER, "")


def make_room(out: Path) -> None:
    """Removes what an audit left that was cut off."""
    for name in PARTS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink(missing_ok=True)
    for folder in (out, out / "predictions"):
        for unfinished in folder.glob(f"{TEMPORARY}*"):
            if unfinished.is_file():
                unfinished.unlink()


def write_proposals(path: Path, numbers: Numbers, proposed: Label) -> None:
    """What is proposed for a case: the map (*S) of its findings' numbers, and the classes proposed (*S)."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, number=numbers, proposed=proposed)


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """findings.jsonl, a line for each finding, in the order given."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(asdict(finding), ensure_ascii=False) + "\n" for finding in findings)


def write_scores(path: Path, cases: Sequence[Case], scores: Mapping[str, CaseScore], dataset: Dataset) -> None:
    """scores.csv, a line for each case and foreground class that was drawn in it."""
    names = [field.name for field in fields(ClassScore)]
    rows = (
        [case.id, dataset.classes[score.class_id], *(cell(getattr(score, name)) for name in names[1:])]
        for case in cases
        for score in scores[case.id].classes
        if case.drew(score.class_id)
    )
    write_csv(path, ["case", "class", *names[1:]], rows)


def cell(value: float) -> str:
    """A number, empty where it is not defined."""
    return "" if value != value else str(value) if isinstance(value, int) else f"{value:.6g}"


def described(dataset: Dataset) -> dict[str, Any]:
    """What audit.json says of the data set: enough to tell whether it is still the same."""
    return {
        "root": str(dataset.root),
        "format": dataset.format,
        "classes": list(dataset.classes),
        "ignore": dataset.ignore,
        "values": {str(raw): id for raw, id in dataset.values.items()},
        "ndim": dataset.ndim,
    }
