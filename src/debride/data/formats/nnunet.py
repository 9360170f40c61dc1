"""Data sets in the raw layout of nnU-Net v2 (Isensee et al., Nature Methods 2021; documentation/dataset_format.md there)."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from debride.data.formats.about_cases import about_entries, read_about_cases
from debride.data.formats.dataset_json import (
    MAX_CLASSES,
    people_entries,
    read_people,
    read_splits,
    source_description,
)
from debride.data.formats.image_folders import by_stem, image_files, report_unpaired
from debride.data.formats.layout import Format, Layout, Legend, NewLabels, Report, case_folders, copy_cases
from debride.data.formats.names import plain
from debride.data.links import is_named, is_there
from debride.data.pixels import PIXELS
from debride.data.pixels.images import MAX_VALUE, read_header, stem, suffix
from debride.files import read_json, write_json
from debride.types import Case, DataError, Dataset, Split, TaskName


class NnUNet(Format):
    """dataset.json, imagesTr, labelsTr, optionally imagesTs with or without labelsTs, and one fold of splits_final.json.

    Cases of imagesTs are test cases. Labels that are regions are refused.
    """

    name = "nnunet"
    task: TaskName = "segmentation"
    about = "imagesTr/ and labelsTr/ (nnU-Net v2)"

    def detects(self, root: Path) -> bool:
        """By either folder of images."""
        return is_named(root / "imagesTr") or is_named(root / "imagesTs")

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts. Raises DataError where dataset.json cannot be used."""
        path = root / "dataset.json"
        if not is_there(path):
            raise DataError(path, "is missing", "Write it as nnU-Net v2 documents it: channel_names, labels, file_ending.")
        description = read_json(path)
        if not isinstance(description, dict):
            raise DataError(path, "is not a JSON object", "Write it as nnU-Net v2 documents it.")
        ending, channels = _read_files(path, description)
        legend = _read_legend(path, description)
        cases = _find_cases(root, "Tr", ending, channels, report)
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
            splits = read_splits(split_file, _read_fold(split_file, fold), known, report)
        patients, trusted = read_people(path, description, cases + test, report)
        splits = {**splits, **{case.id: "test" for case in test}}
        about = read_about_cases(path, description, {case.id for case in cases + test}, report)
        return Layout(cases + test, splits, listed, patients, trusted, legend, about.annotated, about.groups)

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts: the splits become fold 0, and test cases go to imagesTs."""
        copy_cases(
            dataset, folder, labels, lambda case, file, kind: Path(kind + ("Ts" if case.split == "test" else "Tr")) / file.name
        )
        write_json(
            folder / "splits_final.json",
            [{"train": [case.id for case in dataset.of("train")], "val": [case.id for case in dataset.of("val")]}],
        )
        count = len(dataset.of("train", "val"))
        about = {**people_entries(dataset), **about_entries(dataset)}
        write_json(folder / "dataset.json", {**source_description(dataset), "numTraining": count, **about})

    def labelled(self, root: Path) -> bool:
        """Whether there are labels to train on."""
        return is_there(root / "labelsTr")

    def images(self, root: Path) -> Path | None:
        """imagesTs where it exists."""
        return root / "imagesTs" if is_there(root / "imagesTs") else None

    def folders(self, dataset: Dataset) -> Collection[Path]:
        """The folders of images and labels."""
        return case_folders(dataset)


def _read_files(path: Path, description: dict[str, Any]) -> tuple[str, int]:
    """File ending and number of channels."""
    ending, channels = description.get("file_ending"), description.get("channel_names")
    fit = [known for kind in PIXELS.values() if not kind.lossy for known in kind.endings]
    if ending not in fit:
        raise DataError(path, f'"file_ending" is {ending!r}', f"Convert the files to one of {', '.join(fit)}.")
    if not isinstance(channels, dict) or not channels:
        raise DataError(path, 'has no "channel_names"', 'Write {"channel_names": {"0": "MRI"}} as nnU-Net v2 does.')
    return ending, len(channels)


def _read_legend(path: Path, description: dict[str, Any]) -> Legend:
    """Classes in the order of their values; "ignore" is the label of that name."""
    labels: Any = description.get("labels")
    problem = ""
    if not isinstance(labels, dict) or "background" not in labels:
        problem, remedy = 'has no "labels" with a background', "Write names to values as v2 does; v1 has values to names."
    elif any(isinstance(value, list) for value in labels.values()):
        problem, remedy = "defines regions (lists of label values)", "Give each class one value: regions are not supported."
    elif not all(type(value) is int and 0 <= value <= MAX_VALUE for value in labels.values()):
        problem, remedy = f'"labels" has values that are not whole numbers from 0 to {MAX_VALUE}', "Correct them."
    elif len(set(labels.values())) < len(labels) or labels["background"] != 0:
        problem, remedy = '"labels" has a value twice, or a background other than 0', "Give each class its own value."
    elif not 2 <= len(labels) - ("ignore" in labels) <= MAX_CLASSES:
        problem, remedy = "names no class beside the background, or too many", f"Name 2 to {MAX_CLASSES} classes."
    if problem:
        raise DataError(path, problem, remedy)
    classes = sorted(labels.keys() - {"ignore"}, key=labels.__getitem__)
    values = {labels[name]: id for id, name in enumerate(classes)}
    return Legend(tuple(classes), labels.get("ignore"), {} if list(values) == list(range(len(classes))) else values)


def _find_cases(root: Path, part: str, ending: str, channels: int, report: Report) -> tuple[Case, ...]:
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
    for name, numbered in files.items():
        if sorted(numbered) != list(range(channels)) and not _holds_all(images[name], channels):
            problem = f"stands with the channels {sorted(numbered)}, dataset.json names {channels}"
            report(DataError(images[name][0], problem, f"Give each case the files _0000 to _{channels - 1:04d}."))
            del images[name]
    unlabelled = part == "Ts" and not labels
    return tuple(Case(name, images[name], labels.get(name), name) for name in sorted(images) if unlabelled or name in labels)


def _holds_all(image: tuple[Path, ...], channels: int) -> bool:
    """Whether one file holds all channels: nnU-Net keeps an RGB image in one file and names three channels."""
    try:
        return len(image) == 1 and read_header(image[0]).channels == channels
    except DataError:
        return False


def _read_fold(path: Path, fold: int) -> dict[str, Any]:
    folds = read_json(path)
    if not isinstance(folds, list) or not all(
        isinstance(fold_lists, dict) and set(fold_lists) == {"train", "val"} for fold_lists in folds
    ):
        raise DataError(path, "is not a list of folds", 'Write [{"train": ["case1"], "val": ["case2"]}].')
    if not 0 <= fold < len(folds):
        raise DataError(path, f"has no fold {fold}", f"Give a fold from 0 to {len(folds) - 1}.")
    return dict(folds[fold])
