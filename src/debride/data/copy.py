"""``copy_dataset``: a complete data set in the same format with other labels."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.formats.manifest import COLUMNS
from debride.data.pixels.images import copy_image, read_label, stem, write_label_like
from debride.data.rater_choice import image_id
from debride.files import atomic_folder, new_folder, read_json, write_json
from debride.types import Case, DataError, Dataset, Geometry

Label = npt.NDArray[np.uint8]
Change = Callable[[Case, Label, Geometry], Label | Path]


def copy_dataset(
    dataset: Dataset,
    out: Path,
    change: Change,
    progress: Callable[[int, int], None] | None = None,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Write the data set's cases to the folder ``out`` in the same format, with each label as ``change`` returns it.

    ``change`` receives a case, its label (*S) of class ids, and its geometry; where it returns that same array, the file is
    copied byte for byte, as images are, and where it returns a path, that file is copied in its place, under its own suffix.
    Splits, patients, trust and the meaning of the labels are written as they are in ``dataset``, so that ``out`` opens as the
    same cases; nnU-Net data sets get them as fold 0, with test cases in imagesTs. JPEG labels that change become PNG. Files
    that are not part of a case are not copied. ``out`` appears when it is complete. ``progress`` receives the number of cases
    done and their total; ``finish`` the complete folder, before it appears under its name, to add a record. Raises DataError if
    ``out`` has content or lies in the source, if a file cannot be read, and if the disk is full.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root})
    labels: dict[str, Path] = {}
    with atomic_folder(out) as folder:
        for number, case in enumerate(dataset.cases, start=1):
            for file in case.image:
                copy_image(file, folder / _place(dataset, case, file, "images"))
            if case.label:
                target = folder / _place(dataset, case, case.label, "labels")
                labels[case.id] = _write_label(dataset, case, case.label, target, change).relative_to(folder)
            if progress:
                progress(number, len(dataset.cases))
        if len(set(labels.values())) < len(labels):
            raise DataError(
                out, "would hold two labels of one name: JPEG becomes PNG", "Rename labels that differ in suffix only."
            )
        _DESCRIBE[dataset.format](dataset, labels, folder)
        if finish:
            finish(folder)


def _write_label(dataset: Dataset, case: Case, source: Path, target: Path, change: Change) -> Path:
    ids, geometry = read_label(source, dataset)
    changed = change(case, ids, geometry)
    if isinstance(changed, Path):
        return copy_image(changed, target.with_name(stem(target) + changed.name[len(stem(changed)) :]))
    if changed is ids:
        return copy_image(source, target)
    assert changed.shape == ids.shape and changed.dtype == np.uint8, (case.id, changed.shape, changed.dtype)
    return write_label_like(source, changed, dataset, target)


def _place(dataset: Dataset, case: Case, file: Path, kind: str) -> Path:
    """Where a file of a case goes, relative to the new folder."""
    if dataset.format == "nnunet":
        return Path(f"{kind}{'Ts' if case.split == 'test' else 'Tr'}") / file.name
    return file.relative_to(dataset.root)


def _describe_folder(dataset: Dataset, labels: Mapping[str, Path], folder: Path) -> None:
    ids = {split: [case.id for case in dataset.of(split)] for split in ("train", "val", "test")}
    write_json(folder / "splits.json", ids)
    write_json(folder / "dataset.json", {**_source_description(dataset), **_legend(dataset), **_people(dataset)})


def _describe_nnunet(dataset: Dataset, labels: Mapping[str, Path], folder: Path) -> None:
    fold = {split: [case.id for case in dataset.of(split)] for split in ("train", "val")}
    write_json(folder / "splits_final.json", [fold])
    count = len(dataset.of("train", "val"))
    write_json(folder / "dataset.json", {**_source_description(dataset), "numTraining": count, **_people(dataset)})


def _describe_manifest(dataset: Dataset, labels: Mapping[str, Path], folder: Path) -> None:
    write_json(folder / "dataset.json", {**_source_description(dataset), **_legend(dataset)})
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for case in dataset.cases:
            writer.writerow(
                {
                    "case": image_id(case),
                    "patient": case.patient,
                    "image": ";".join(path.relative_to(dataset.root).as_posix() for path in case.image),
                    "label": labels[case.id].as_posix() if case.label else "",
                    "rater": case.rater or "",
                    "split": case.split,
                    "trusted": int(case.trusted),
                }
            )


_DESCRIBE = {"folder": _describe_folder, "nnunet": _describe_nnunet, "manifest": _describe_manifest}


def _source_description(dataset: Dataset) -> dict[str, Any]:
    """The source's dataset.json without what is written anew."""
    path = dataset.root / "dataset.json"
    description = read_json(path) if path.exists() else {}
    return {name: value for name, value in description.items() if name not in ("patients", "trusted", "values", "ignore")}


def _legend(dataset: Dataset) -> dict[str, Any]:
    legend: dict[str, Any] = {"classes": list(dataset.classes)}
    if dataset.values:
        legend["values"] = {str(raw): id for raw, id in dataset.values.items()}
    if dataset.ignore is not None:
        legend["ignore"] = dataset.ignore
    return legend


def _people(dataset: Dataset) -> dict[str, Any]:
    """Patients other than the case itself, and trusted cases, as ``layouts.read_people`` reads them."""
    patients = {case.id: case.patient for case in dataset.cases if case.patient != case.id}
    trusted = [case.id for case in dataset.cases if case.trusted]
    return {**({"patients": patients} if patients else {}), **({"trusted": trusted} if trusted else {})}
