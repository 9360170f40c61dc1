"""Data sets in the raw layout of nnU-Net v2 (Isensee et al., Nature Methods 2021; documentation/dataset_format.md there)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from debride.data.formats.about_cases import read_about_cases
from debride.data.formats.carried import write_description, write_folds
from debride.data.formats.dataset_json import read_people, read_splits
from debride.data.formats.image_folders import by_stem, image_files, report_unpaired
from debride.data.formats.layout import Format, Layout, NewLabels, Report, case_folders, copy_cases
from debride.data.formats.names import plain
from debride.data.formats.nnunet_folders import not_raw
from debride.data.formats.nnunet_folds import folds_without
from debride.data.formats.nnunet_json import listed_cases, read_files, read_fold, read_nnunet_json, read_nnunet_legend
from debride.data.links import is_named, is_there
from debride.data.pixels.images import MAX_VALUE, read_header, stem, suffix
from debride.files import read_json
from debride.types import Case, DataError, Dataset, Split, TaskName


class NnUNet(Format):
    """dataset.json, imagesTr, labelsTr, optionally imagesTs with or without labelsTs, and one fold of splits_final.json.

    Training cases may be listed in dataset.json ("dataset") in place of imagesTr and labelsTr. Cases of imagesTs are test
    cases.
    """

    name = "nnunet"
    task: TaskName = "segmentation"
    about = "imagesTr/ and labelsTr/ (nnU-Net v2)"
    weights = "weightsTr"

    def detects(self, root: Path) -> bool:
        """By either folder of images, by a dataset.json that lists the training cases, and by what else nnU-Net makes."""
        own = is_named(root / "imagesTr") or is_named(root / "imagesTs") or _lists_cases(root / "dataset.json")
        return own or not_raw(root) is not None

    def near_miss(self, root: Path) -> DataError | None:
        """That a folder is a part of such a data set."""
        if root.name not in ("imagesTr", "labelsTr", "imagesTs", "labelsTs") or not (root.parent / "dataset.json").exists():
            return None
        return DataError(root, "is a part of a data set of nnU-Net", f"Give the whole: {root.parent}.")

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts. Raises DataError where dataset.json cannot be used."""
        path = root / "dataset.json"
        if problem := not_raw(root):
            raise problem
        description = read_nnunet_json(path)
        ending, channels = read_files(path, description)
        legend = read_nnunet_legend(path, description)
        listed_in = listed_cases(path, description, len(channels), report)
        cases = _find_cases(root, "Tr", ending, channels, report) if listed_in is None else listed_in
        known = {case.id for case in cases}
        test = _find_cases(root, "Ts", ending, channels, report) if is_there(root / "imagesTs") else ()
        for case in test:
            if case.id in known:
                report(DataError(case.image[0], "has the name of a case of imagesTr", "Give every case its own name."))
        test = tuple(case for case in test if case.id not in known)
        split_file = root / "splits_final.json"
        splits: dict[str, Split] = {}
        listed = is_there(split_file)
        if listed:
            splits = read_splits(split_file, read_fold(split_file, fold), known, report)
        elif fold:
            report(DataError(split_file, f"does not exist, and fold {fold} is asked for", "Add it, or leave the fold out."))
        patients, trusted = read_people(path, description, cases + test, report)
        splits = {**splits, **{case.id: "test" for case in test}}
        about = read_about_cases(path, description, {case.id for case in cases + test}, report)
        return Layout(cases + test, splits, listed, patients, trusted, legend, about.annotated, about.groups)

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts: all folds, with the cases that this one leaves out; test cases go to imagesTs."""
        said = read_json(dataset.root / "dataset.json")
        lists = said.get("dataset")

        def place(case: Case, file: Path, kind: str) -> Path:
            own = file.relative_to(dataset.root)
            if case.split != "test":
                return own if lists is not None else Path(f"{kind}Tr", file.name)
            return own if own.parts[0] == f"{kind}Ts" else Path(f"{kind}Ts", _test_name(case, file, kind))

        copy_cases(dataset, folder, labels, place)
        write_folds(dataset, folder)
        trained = [*dataset.of("train", "val"), *(dataset.rest or ())]
        moved = any(case.image[0].parent.name != "imagesTs" for case in dataset.of("test"))
        entries: dict[str, Any] = {"numTraining": len(trained)} if moved or dataset.rest is None else {}
        if lists is not None:
            entries["dataset"] = {case.id: _entry(case, dataset.root) for case in trained}
        if dataset.ignore is not None and "ignore" not in said["labels"]:
            entries["labels"] = {**said["labels"], "ignore": dataset.ignore}
        write_description(dataset, folder, legend=False, entries=entries)

    def new_ignore(self, dataset: Dataset) -> int:
        """As nnU-Net asks for it: the value after the highest of all classes."""
        value = max(dataset.values, default=len(dataset.classes) - 1) + 1
        if value > MAX_VALUE:
            raise DataError(dataset.root, f"has the label value {value - 1}, above which none is read", "Use lower values.")
        return value

    def lists_without(self, dataset: Dataset, cases: Collection[str]) -> tuple[str, Any]:
        """As for all layouts: the folds of splits_final.json, or those that nnU-Net itself would draw."""
        trained = [case.id for case in (*dataset.of("train", "val"), *(dataset.rest or ()))]
        return "splits_final.json", folds_without(dataset.root / "splits_final.json", trained, cases)

    def labelled(self, root: Path) -> bool:
        """Whether there are labels to train on, or there is something to say of the folder."""
        return is_there(root / "labelsTr") or _lists_cases(root / "dataset.json") or not_raw(root) is not None

    def images(self, root: Path) -> Path | None:
        """imagesTs where it exists."""
        return root / "imagesTs" if is_there(root / "imagesTs") else None

    def folders(self, dataset: Dataset) -> Collection[Path]:
        """The folders of images and labels."""
        return case_folders(dataset)


def _lists_cases(path: Path) -> bool:
    """Whether a dataset.json lists the files of cases."""
    try:
        description = read_json(path) if path.is_file() else {}
    except DataError:
        return False
    return isinstance(description, dict) and {"dataset", "channel_names"} <= description.keys()


def _entry(case: Case, root: Path) -> dict[str, Any]:
    """A case as "dataset" lists it."""
    assert case.label is not None, case.id
    images = [path.relative_to(root).as_posix() for path in case.image]
    return {"images": images, "label": case.label.relative_to(root).as_posix()}


def _test_name(case: Case, file: Path, kind: str) -> str:
    """What a file of a training case is named among the test cases."""
    return f"{case.id}_{case.image.index(file):04d}{suffix(file)}" if kind == "images" else f"{case.id}{suffix(file)}"


def _find_cases(root: Path, part: str, ending: str, channels: tuple[int, ...], report: Report) -> tuple[Case, ...]:
    """The cases of imagesTr or imagesTs with their labels; test cases without one if there is no labelsTs."""
    files: dict[str, dict[int, Path]] = {}
    for path in image_files(root / f"images{part}", report):
        match = re.fullmatch(r"(.+)_(\d{4})", stem(path))
        if match is None or suffix(path) != ending:
            report(
                DataError(path, "is not named as nnU-Net names images", f"Name it CASE_0000{ending}, 0000 being its channel.")
            )
        else:
            files.setdefault(plain(match[1], path), {})[int(match[2])] = path
    images = {name: tuple(path for _, path in sorted(numbered.items())) for name, numbered in files.items()}
    labels: dict[str, Path] = {}
    if part == "Tr" or is_there(root / f"labels{part}"):
        labels = by_stem(root / f"labels{part}", report)
        report_unpaired({name: paths[0] for name, paths in images.items()}, labels, report)
    wanted = _usual(files.values(), channels)
    for name, numbered in files.items():
        if tuple(sorted(numbered)) != wanted and not _holds_all(images[name], len(channels)):
            problem = f"stands with the channels {sorted(numbered)}, dataset.json names {len(channels)}"
            names = ", ".join(f"_{number:04d}" for number in wanted)
            report(DataError(images[name][0], problem, f"Give each case the files {names}, or take this one away."))
            del images[name]
    unlabelled = part == "Ts" and not labels
    return tuple(Case(name, images[name], labels.get(name), name) for name in sorted(images) if unlabelled or name in labels)


def _usual(files: Collection[dict[int, Path]], channels: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of the channels of each case: as dataset.json names them, or as many others that all cases have, as nnU-Net
    takes them in their order."""
    counts = Counter(tuple(sorted(numbered)) for numbered in files)
    return next(iter(counts)) if len(counts) == 1 and len(next(iter(counts))) == len(channels) else channels


def _holds_all(image: tuple[Path, ...], channels: int) -> bool:
    """Whether one file holds all channels: nnU-Net keeps an RGB image in one file and names three channels."""
    try:
        return len(image) == 1 and read_header(image[0]).channels == channels
    except DataError:
        return False
