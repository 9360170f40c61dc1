"""Folders of studies of DICOM, with ``segments.json``; ``dicom_archive`` reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from debride.data.dicom.handles import FOLDER
from debride.data.dicom.index import holds_dicom
from debride.data.dicom.pseudonyms import KEY
from debride.data.dicom.segments_file import FILE
from debride.data.formats.carried import write_split_lists
from debride.data.formats.dataset_json import read_object, read_splits
from debride.data.formats.dicom_archive import read_archive
from debride.data.formats.layout import VERIFIED, Format, Layout, NewLabels, Report, copy_cases
from debride.files import read_json, write_json
from debride.types import Case, DataError, Dataset, TaskName

_LOOKED_AT = 50
"""Files whose first bytes say whether a folder without ``segments.json`` holds DICOM."""


class Dicom(Format):
    """Studies of CT, MR and others, found by their tags, with labels of DICOM SEG or RT-STRUCT, and perhaps splits.json."""

    name = "dicom"
    task: TaskName = "segmentation"
    headers_only = True
    lists_files = False
    about = f"a folder of DICOM studies with {FILE}"

    def detects(self, root: Path) -> bool:
        """By segments.json, or by the first files of a folder that is none of images and masks."""
        if not root.is_dir():
            return False
        if (root / FILE).is_file():
            try:
                said = read_json(root / FILE)
            except DataError:
                return True  # reading it says what is wrong
            return isinstance(said, dict) and said.get("format") == self.name
        if (root / "images").is_dir() or (root / "masks").is_dir():
            return False
        try:
            return holds_dicom(root, _LOOKED_AT)
        except DataError:  # of a folder that cannot be read
            return False

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts. Handles are written into ``pseudonyms/``."""
        layout = read_archive(root, report)
        lists = read_object(root / "splits.json", report)
        splits = read_splits(root / "splits.json", lists, {case.id for case in layout.cases}, report)
        return Layout(
            layout.cases,
            {**splits, **layout.splits},
            bool(lists),
            layout.patients,
            layout.trusted,
            layout.legend,
            layout.annotated,
            layout.groups,
        )

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts: series as images/CASE/00001.dcm and so on, labels as labels/CASE.dcm, and the same key."""

        def place(case: Case, file: Path, kind: Literal["images", "labels"]) -> Path:
            return Path("images", file.stem, "00001.dcm") if kind == "images" else Path("labels", f"{case.id}.dcm")

        copy_cases(dataset, folder, labels, place)
        said = read_json(dataset.root / FILE)
        known = {case.id for case in dataset.rest or ()}
        trusted = [case.id for case in dataset.cases if case.trusted]
        trusted += [id for id in said.get("trusted", ()) if id in known]
        of_readers = any(case.rater for case in (*dataset.cases, *(dataset.rest or ())))
        write_json(folder / FILE, _as_copied(said, trusted, of_readers))
        write_split_lists(dataset, folder)
        _copy_key(dataset.root / FOLDER / KEY, folder / FOLDER / KEY)

    def carries(self, path: Path) -> bool:
        """The list of verified labels alone: names and contents of other files beside an archive may be of persons."""
        return path.name == VERIFIED


def _as_copied(said: dict[str, Any], trusted: list[str], of_readers: bool) -> dict[str, Any]:
    """What segments.json says of a copy, whose studies lie beside it, and whose labels may be a consensus of readers."""
    copied = {name: value for name, value in said.items() if name not in ("studies", "trusted")}
    if copied.get("objects") == "readers" and not of_readers:
        copied["objects"] = "merge"
    if trusted:
        copied["trusted"] = trusted if set(trusted) != set(said.get("trusted", ())) else said["trusted"]
    return copied


def _copy_key(key: Path, target: Path) -> None:
    """Copies the key of pseudonyms, for its owner alone to read."""
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.read_bytes())
