"""The given labels that a repair changed, kept in the repaired data set, and taken from there when it is reversed."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from debride.data.hashes import hashes_of
from debride.data.open import open_dataset
from debride.data.pixels import is_hidden
from debride.data.pixels.images import copy_ending, copy_image, files_of
from debride.files import read_text
from debride.strict import parse_json
from debride.types import DataError, Dataset

RECORD = "repairs.jsonl"
"""The file in a repaired data set that says what was done with every finding."""

FOLDER = "repairs"
"""The folder in a repaired data set with ``given/``, the label files that were changed, and ``before/``, the record of the
repairs that its source had seen already."""


def keep_given(dataset: Dataset, folder: Path, changed: Collection[str], jobs: int = 1) -> dict[str, dict[str, str]]:
    """Copies the given labels of the changed cases into a new data set, with the record of earlier repairs; says what became of
    each file: "label" before and after, its "given" copy, and the hashes "before" and "after"."""
    place = folder / FOLDER
    if place.exists() or (folder / RECORD).exists():
        remedy = f"Rename what is named {FOLDER} or {RECORD} there."
        raise DataError(dataset.root, "has a file of a case where the record of repairs goes", remedy)
    carry(dataset.root, place / "before")
    copy = open_dataset(folder, format=dataset.format, fold=dataset.fold, labels=False)  # the meaning of labels is not needed
    now = {case.id: case.label for case in copy.cases if case.label}
    files = {}
    for case in dataset.cases:
        if case.id in changed and case.label:
            kept = place / "given" / f"{case.id}{copy_ending(case.label)}"
            copy_image(case.label, kept)
            files[case.id] = now[case.id], kept
    hashes = iter(hashes_of((file for pair in files.values() for file in pair), jobs))
    return {
        case: {
            "label": label.relative_to(folder.resolve()).as_posix(),
            "given_label": kept.relative_to(folder).as_posix(),
            "after": next(hashes),
            "before": next(hashes),
        }
        for case, (label, kept) in files.items()
    }


def carry(source: Path, target: Path) -> None:
    """Copies the record of a repair from one folder to another; nothing if there is none."""
    if (source / RECORD).is_file():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / RECORD, target / RECORD)
        if (source / FOLDER).is_dir():
            shutil.copytree(source / FOLDER, target / FOLDER)


def given_files(dataset: Dataset, jobs: int = 1) -> dict[str, Path]:
    """The copies of the given labels by case, after the files were compared with the record of the repair."""
    root = dataset.root
    if not (root / RECORD).is_file():
        raise DataError(root, f"has no {RECORD}", "Give a data set that `debride repair` wrote.")
    lines: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(read_text(root / RECORD).split("\n"), start=1):
        try:
            line = parse_json(text, root / RECORD, line=number) if text else {}
            if line.get("status") == "applied" and line.get("to") != "weights":
                case, expected = line["case"], {name: line[name] for name in ("label", "given_label", "before", "after")}
                if lines.setdefault(case, expected) != expected or not _is_kept(root, expected["given_label"]):
                    raise ValueError("its files cannot be these")
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Restore this file: without it the repair cannot be reversed."
            raise DataError(f"{root / RECORD}:{number}", f"is no line of a record of repairs ({error})", remedy) from None
    kept_files = {path.relative_to(root).as_posix() for path in (root / FOLDER / "given").glob("*") if not is_hidden(path)}
    named = files_of(root / line["given_label"] for line in lines.values())
    unnamed = sorted(kept_files - {path.relative_to(root).as_posix() for path in named})
    if unnamed:
        remedy = "Restore this file: without it the repair cannot be reversed."
        raise DataError(root / RECORD, f"does not name {unnamed[0]}: it is cut off", remedy)
    labels = {case.id: case.label for case in dataset.cases if case.label}
    if lost := [case for case in lines if case not in labels]:
        raise DataError(root, f"has no label of {lost[0]} any more, which was repaired", "Restore it.")
    pairs = {case: (labels[case], root / line["given_label"]) for case, line in lines.items()}
    hashes = iter(hashes_of((file for pair in pairs.values() for file in pair), jobs))
    for case, (label, kept) in pairs.items():
        if next(hashes) != lines[case]["after"]:
            remedy = "Take this change back, or go on from this data set without reversing."
            raise DataError(label, "has changed since the repair", remedy)
        if next(hashes) != lines[case]["before"]:
            raise DataError(kept, "is not the label that was given", "Restore it from the source data set.")
    return {case: root / line["given_label"] for case, line in lines.items()}


def _is_kept(root: Path, text: str) -> bool:
    """Whether a path names a file directly in the folder of given labels."""
    return Path(text).parent == Path(FOLDER) / "given" and (root / text).resolve().parent == root / FOLDER / "given"
