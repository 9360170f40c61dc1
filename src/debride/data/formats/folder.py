"""Folders of images and masks with equal names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from debride.data.formats.about_cases import read_about_cases
from debride.data.formats.carried import write_description, write_split_lists
from debride.data.formats.dataset_json import (
    quoted,
    read_legend,
    read_object,
    read_people,
    read_splits,
)
from debride.data.formats.image_folders import by_stem, images_and_masks, report_unpaired
from debride.data.formats.layout import Format, Layout, NewLabels, Report, case_folders, copy_cases, free_value
from debride.data.formats.patterns import files_by_pattern, matches, of_any_kind
from debride.data.links import is_named, is_there
from debride.data.pixels import is_hidden
from debride.files import read_json
from debride.types import Case, DataError, Dataset, TaskName
from debride.words import some

IMAGES, MASKS = "images/{case}.*", "masks/{case}.*"
"""Where images and masks lie unless patterns say otherwise."""


class Folder(Format):
    """images/ and masks/ matched by stem, with splits.json and dataset.json if they exist.

    Files that lie or are named otherwise are found by two patterns: those given, or else "image_pattern" and "mask_pattern" of
    dataset.json.
    """

    name = "folder"
    task: TaskName = "segmentation"
    about = "images/ and masks/ (or other places, said by `image_pattern` and `mask_pattern`)"

    def __init__(self, image: str | None = None, mask: str | None = None) -> None:
        self._image, self._mask = image, mask

    def with_patterns(self, image: str | None, mask: str | None) -> Format:
        """As for all layouts."""
        return Folder(image, mask)

    def detects(self, root: Path) -> bool:
        """By either folder, or by patterns in dataset.json."""
        return is_named(root / "images") or is_named(root / "masks") or bool(_patterns(root / "dataset.json"))

    def near_miss(self, root: Path) -> DataError | None:
        """That the folders have other names, or lie deeper."""
        if not root.is_dir():
            return None
        if (found := images_and_masks(root)) and [path.name for path in found] != ["images", "masks"]:
            image, mask = (f"{path.name}/{{case}}.*" for path in found)
            problem = f"has images and masks in folders of other names ({found[0].name}, {found[1].name})"
            return DataError(root, problem, f"Give `image_pattern` {image!r} and `mask_pattern` {mask!r}, or rename them.")
        inside = [path for path in sorted(root.iterdir()) if path.is_dir() and not is_hidden(path) and images_and_masks(path)]
        if not inside:
            return None
        problem = f"has images and masks one folder deeper ({some([path.name for path in inside], 3)})"
        remedy = f"Give one of them: {inside[0]}. Or put all into one, and name the splits in splits.json."
        return DataError(root, problem, remedy)

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts."""
        description = read_object(root / "dataset.json", report)
        own = _patterns(root / "dataset.json")
        patterns = None
        if self._image or self._mask or own:
            patterns = self._image or own.get("image_pattern", IMAGES), self._mask or own.get("mask_pattern", MASKS)
            images = files_by_pattern(root, patterns[0], "`image_pattern`", report, apart_from=patterns[1])
            masks = files_by_pattern(root, patterns[1], "`mask_pattern`", report)
        elif (nearly := self.near_miss(root)) and not is_named(root / "masks"):
            raise nearly
        else:
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
        patients, trusted = read_people(root / "dataset.json", description, cases, report)
        legend = read_legend(root / "dataset.json", description, report)
        about = read_about_cases(root / "dataset.json", description, {case.id for case in cases}, report)
        return Layout(cases, splits, bool(lists), patients, trusted, legend, about.annotated, about.groups, patterns)

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts; files keep their places."""
        written = copy_cases(dataset, folder, labels, lambda case, file, kind: file.relative_to(dataset.root))
        write_split_lists(dataset, folder)
        entries = {}
        if dataset.patterns:
            image, mask = dataset.patterns
            fits = all(matches(mask, PurePosixPath(path)) for path in written.values())
            entries = {"image_pattern": image, "mask_pattern": mask if fits else of_any_kind(mask)}
        write_description(dataset, folder, entries=entries)

    def new_ignore(self, dataset: Dataset) -> int:
        """As for all layouts: dataset.json names it."""
        return free_value(dataset)

    def labelled(self, root: Path) -> bool:
        """Whether there are masks."""
        return is_there(root / "masks") or bool(_patterns(root / "dataset.json"))

    def images(self, root: Path) -> Path | None:
        """images/ where it exists."""
        return root / "images" if is_there(root / "images") else None

    def folders(self, dataset: Dataset) -> Collection[Path]:
        """images/ and masks/, but not the folder that holds all."""
        return case_folders(dataset) - {dataset.root}


def _patterns(path: Path) -> dict[str, str]:
    """The patterns that a dataset.json has; none where it cannot be read, which is reported elsewhere."""
    try:
        description = read_json(path) if path.is_file() else {}
    except DataError:
        return {}
    said = description if isinstance(description, dict) else {}
    return {name: said[name] for name in ("image_pattern", "mask_pattern") if isinstance(said.get(name), str)}
