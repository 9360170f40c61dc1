"""The dataset.json and splits_final.json of nnU-Net v2: what it says of files, channels, labels and folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from debride.data.formats.csv_rows import inside
from debride.data.formats.dataset_json import MAX_CLASSES
from debride.data.formats.layout import Legend, Report
from debride.data.formats.names import plain
from debride.data.formats.nnunet_regions import are_regions, read_regions
from debride.data.links import is_there
from debride.data.pixels import PIXELS
from debride.data.pixels.images import MAX_VALUE
from debride.files import read_json
from debride.types import Case, DataError

_LABELS = '{"labels": {"background": 0, "lesion": 1}}'


def read_nnunet_json(path: Path) -> dict[str, Any]:
    """The object of a dataset.json; DataError if there is none."""
    if not is_there(path):
        raise DataError(path, "is missing", "Write it as nnU-Net v2 documents it: channel_names, labels, file_ending.")
    description = read_json(path)
    if not isinstance(description, dict):
        raise DataError(path, "is not a JSON object", "Write it as nnU-Net v2 documents it.")
    return description


def read_files(path: Path, description: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    """File ending and the numbers of the channels: 0 and up, unless the names say otherwise."""
    ending, channels = description.get("file_ending"), description.get("channel_names")
    fit = [known for kind in PIXELS.values() if not kind.lossy for known in kind.endings]
    if ending not in fit:
        raise DataError(path, f'"file_ending" is {ending!r}', f"Convert the files to one of {', '.join(fit)}.")
    if not isinstance(channels, dict) or not channels:
        raise DataError(path, 'has no "channel_names"', 'Write {"channel_names": {"0": "MRI"}} as nnU-Net v2 does.')
    if all(name.isascii() and name.isdecimal() for name in channels):
        return ending, tuple(sorted(int(name) for name in channels))
    return ending, tuple(range(len(channels)))


def read_nnunet_legend(path: Path, description: dict[str, Any]) -> Legend:
    """Classes in the order of their values, which may be texts of numbers; "ignore" is the label of that name.

    A list of several values is a region (``nnunet_regions``); one of a single value is that value.
    """
    labels: Any = description.get("labels")
    if not isinstance(labels, dict) or "background" not in labels:
        raise DataError(path, 'has no "labels" with a background', _how_to_label(labels))
    listed = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    read = {name: [number for value in own if (number := _number(value)) is not None] for name, own in listed.items()}
    fit = all(
        len(read[name]) == len(own) and all(0 <= number <= MAX_VALUE for number in read[name]) for name, own in listed.items()
    )
    if fit and are_regions(labels):
        return read_regions(path, labels, description.get("regions_class_order"), read)
    values = {name: own[0] for name, own in read.items() if own}
    numbers = [*values.values()]
    problem = ""
    if not fit or len(values) < len(labels):
        problem, remedy = f'"labels" has values that are not whole numbers from 0 to {MAX_VALUE}', f"Write {_LABELS}."
    elif len(set(numbers)) < len(values) or values["background"] != 0:
        problem, remedy = '"labels" has a value twice, or a background other than 0', "Give each class its own value."
    elif not 2 <= len(values) - ("ignore" in values) <= MAX_CLASSES:
        problem, remedy = "names no class beside the background, or too many", f"Name 2 to {MAX_CLASSES} classes."
    if problem:
        raise DataError(path, problem, remedy)
    classes = sorted(values.keys() - {"ignore"}, key=values.__getitem__)
    ids = {values[name]: id for id, name in enumerate(classes)}
    return Legend(tuple(classes), values.get("ignore"), {} if list(ids) == list(range(len(classes))) else ids)


def listed_cases(path: Path, description: dict[str, Any], channels: int, report: Report) -> tuple[Case, ...] | None:
    """The training cases that "dataset" lists with their files, by paths in the folder; None where there is no such list."""
    lists = description.get("dataset")
    if lists is None:
        return None
    form = '{"dataset": {"case1": {"images": ["a_0000.nii.gz"], "label": "a.nii.gz"}}}'
    if not isinstance(lists, dict) or not all(_is_entry(entry) for entry in lists.values()):
        report(DataError(path, '"dataset" does not list images and a label of each case', f"Write {form}, or leave it out."))
        return ()
    cases = []
    for name, entry in lists.items():
        problems: list[DataError] = []
        image = tuple(inside(path.parent, f"{path}:1", text, problems.append) for text in entry["images"])
        label = inside(path.parent, f"{path}:1", entry["label"], problems.append)
        if len(image) != channels:
            problem = f"lists {len(image)} images of {name!r}, and names {channels} channels"
            problems.append(DataError(path, problem, "Give a file for each channel."))
        for problem_of_case in problems:
            report(DataError(path, problem_of_case.problem, problem_of_case.remedy))
        if not problems:
            cases.append(Case(plain(name, path), image, label, plain(name, path)))
    return tuple(sorted(cases, key=lambda case: case.id))


def read_fold(path: Path, fold: int) -> dict[str, Any]:
    """The lists of one fold of splits_final.json."""
    folds = read_json(path)
    if not isinstance(folds, list) or not all(isinstance(lists, dict) and set(lists) == {"train", "val"} for lists in folds):
        raise DataError(path, "is not a list of folds", 'Write [{"train": ["case1"], "val": ["case2"]}].')
    if not 0 <= fold < len(folds):
        raise DataError(path, f"has no fold {fold}", f"Give a fold from 0 to {len(folds) - 1}.")
    return dict(folds[fold])


def _is_entry(entry: Any) -> bool:
    images = entry.get("images") if isinstance(entry, dict) else None
    return isinstance(images, list) and all(isinstance(text, str) for text in (*images, entry.get("label")))


def _number(value: Any) -> int | None:
    """A whole number, also as text, as nnU-Net reads it."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal() else None


def _how_to_label(labels: Any) -> str:
    """What to write in place of labels without a background, from what they are."""
    if isinstance(labels, dict) and all(isinstance(name, str) for name in labels.values()):
        values = {name: _number(value) for value, name in labels.items()}
        if values and None not in values.values() and len(values) == len(labels):
            first = {"background" if number == 0 else name: number for name, number in values.items()}
            return f"It has values to names, as version 1. Write {_shown(first)}."
    nearly = next((name for name in labels if name.strip().lower() == "background"), None) if isinstance(labels, dict) else None
    if nearly is not None:
        return f'Write "background" in place of {nearly!r}.'
    return f"Write {_LABELS}."


def _shown(labels: dict[str, Any]) -> str:
    return '{"labels": {' + ", ".join(f'"{name}": {value}' for name, value in labels.items()) + "}}"
