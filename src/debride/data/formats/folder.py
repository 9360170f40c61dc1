"""Folders of images and masks with equal names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from debride.data.formats.about_cases import read_about_cases
from debride.data.formats.carried import write_description, write_split_lists
from debride.data.formats.dataset_json import (
    quoted,
    read_legend,
    read_object,
    read_people,
    read_splits,
)
from debride.data.formats.image_folders import by_stem, report_unpaired
from debride.data.formats.layout import Format, Layout, NewLabels, Report, case_folders, copy_cases
from debride.data.links import is_named, is_there
from debride.types import Case, DataError, Dataset, TaskName


class Folder(Format):
    """images/ and masks/ matched by stem, with splits.json and dataset.json if they exist."""

    name = "folder"
    task: TaskName = "segmentation"
    about = "images/ and masks/"

    def detects(self, root: Path) -> bool:
        """By either folder."""
        return is_named(root / "images") or is_named(root / "masks")

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts."""
        images = by_stem(root / "images", report)
        masks = by_stem(root / "masks", report)
        report_unpaired(images, masks, report)
        cases = tuple(Case(name, (images[name],), masks[name], name) for name in sorted(images.keys() & masks.keys()))
        lists = read_object(root / "splits.json", report)
        splits = read_splits(root / "splits.json", lists, images, report)
        left_out = [case.id for case in cases if case.id not in splits]
        if lists and left_out:
            problem = f"does not name {quoted(left_out)}"
            report(DataError(root / "splits.json", problem, "Put every case in one of its lists."))
        description = read_object(root / "dataset.json", report)
        patients, trusted = read_people(root / "dataset.json", description, cases, report)
        legend = read_legend(root / "dataset.json", description, report)
        about = read_about_cases(root / "dataset.json", description, {case.id for case in cases}, report)
        return Layout(cases, splits, bool(lists), patients, trusted, legend, about.annotated, about.groups)

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts; files keep their places."""
        copy_cases(dataset, folder, labels, lambda case, file, kind: file.relative_to(dataset.root))
        write_split_lists(dataset, folder)
        write_description(dataset, folder)

    def labelled(self, root: Path) -> bool:
        """Whether there are masks."""
        return is_there(root / "masks")

    def images(self, root: Path) -> Path | None:
        """images/ where it exists."""
        return root / "images" if is_there(root / "images") else None

    def folders(self, dataset: Dataset) -> Collection[Path]:
        """images/ and masks/."""
        return case_folders(dataset)
