"""One .npz file of images and classes, as MedMNIST's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.formats.about_cases import read_about_cases
from debride.data.formats.carried import write_description, write_split_lists
from debride.data.formats.dataset_json import (
    SPLITS,
    read_legend,
    read_object,
    read_people,
    read_splits,
)
from debride.data.formats.layout import Format, Layout, Legend, NewLabels, Report
from debride.data.pixels import arrays, is_hidden
from debride.data.pixels.arrays import labels_of
from debride.files import write_text
from debride.types import IGNORE, Case, DataError, Dataset, Split, TaskName
from debride.words import some

_REMEDY = "Give train_images (N, H, W) or (N, H, W, 3) uint8 and train_labels (N,) or (N, 1), and val_ and test_ alike."


class Npz(Format):
    """One file with the arrays {train,val,test}_{images,labels}. In a folder of it, dataset.json may name classes, patients,
    groups and trusted cases, and splits.json the cases of each split: those that it leaves out are not used.

    Cases are named by split and row. A split without arrays is drawn from the training cases, as for other formats. Images
    without an array of labels are cases without a class.
    """

    name = "npz"
    task: TaskName = "classification"
    about = "a .npz file"

    def detects(self, root: Path) -> bool:
        """A file, or a folder with one such file."""
        return root.suffix == ".npz" if root.is_file() else root.is_dir() and len(_files(root)) == 1

    def near_miss(self, root: Path) -> DataError | None:
        """That a folder holds several files, and which of them have images."""
        return _several(root) if root.is_dir() else None

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts."""
        files = [root] if root.is_file() else _files(root)
        if len(files) != 1:
            raise _several(root) or DataError(root, "holds no .npz file", "Give the file of the images and classes.")
        file = files[0]
        present = arrays.names(file)
        cases: list[Case] = []
        splits: dict[str, Split] = {}
        if "train_images" not in present and ("train_labels" in present or not {"val_images", "test_images"} & set(present)):
            raise DataError(file, f"holds no train_images, but {', '.join(present[:6])}", _REMEDY)
        for split in SPLITS:
            name = f"{split}_images"
            if name not in present:
                continue
            for row, target in enumerate(_targets(file, name, labels_of(name) in present, report)):
                id = f"{split}_{row:05d}"
                cases.append(Case(id, (file,), None, id, target=target, row=row, array=name))
                splits[id] = split
        listed = set(splits.values()) >= {"train", "val"}
        if not listed:
            splits = {id: split for id, split in splits.items() if split != "train"}
        if root.is_dir() and (lists := read_object(root / "splits.json", report)):
            splits, listed = read_splits(root / "splits.json", lists, {case.id for case in cases}, report), True
        beside = root / "dataset.json"  # of a folder
        description = read_object(beside, report) if root.is_dir() else {}
        patients, trusted = read_people(beside, description, cases, report)
        number = 1 + max((case.target for case in cases if case.target is not None), default=0)
        legend = _legend(file if root.is_file() else beside, description, number, "train_labels" in present, report)
        groups = read_about_cases(beside, description, {case.id for case in cases}, report).groups
        return Layout(tuple(cases), splits, listed, patients, trusted, legend, groups=groups)

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """The file with other labels in their type and shape; all else in it is copied as it is compressed.

        Beside it lie dataset.json (classes, patients, groups, trusted), trusted.txt where cases are trusted, and splits.json
        where cases have been left out or have another split than their array's.
        """
        file = dataset.cases[0].image[0]
        touched = {case.array: None for case in dataset.cases if labels.classes[case.id] != case.target}
        changed = {labels_of(name): _relabelled(dataset, labels.classes, file, name) for name in touched if name}
        arrays.copy(file, folder / file.name, changed, labels.done)
        write_description(dataset, folder)
        trusted = [case.id for case in dataset.cases if case.trusted]
        if trusted:
            write_text(folder / "trusted.txt", "".join(f"{id}\n" for id in trusted))
        whole = {
            (f"{split}_images", row, split)
            for split in SPLITS
            if f"{split}_images" in arrays.names(file)
            for row in range(arrays.header(file, f"{split}_images")[0][0])
        }
        if {(case.array, case.row, case.split) for case in dataset.cases} != whole:
            write_split_lists(dataset, folder)


def _relabelled(dataset: Dataset, classes: Mapping[str, int | None], file: Path, images: str) -> npt.NDArray[np.generic]:
    """The labels of an array's rows, in their dtype and shape, with the classes given."""
    name = labels_of(images)
    shape, dtype = arrays.header(file, name)
    labels = arrays.array(file, name).reshape(-1).astype(dtype)
    for case in dataset.cases:
        target = classes[case.id]
        if case.array == images and target is not None:
            if target > np.iinfo(str(dtype)).max:
                problem = f"holds {name} as {dtype}, too small for the class {target}"
                raise DataError(file, problem, "Save the labels as uint8 or int64.")
            labels[case.row] = target
    return labels.reshape(shape)


def _several(folder: Path) -> DataError | None:
    """That a folder holds several .npz files, and which of them have images; None if it does not."""
    files = _files(folder)
    if len(files) < 2:
        return None
    problem = f"holds {len(files)} .npz files: {some([file.name for file in files], 6)}"
    fit = [file for file in files[:6] if _has_images(file)]
    if not fit:
        return DataError(folder, problem, f"None of them has images to learn from. {_REMEDY}")
    which = "the one that has images" if len(fit) == 1 else "one of those that have images"
    return DataError(folder, problem, f"Give {which}: {', '.join(map(str, fit))}.")


def _targets(file: Path, images: str, labelled: bool, report: Report) -> list[int | None]:
    """The class id of every row of an array of images, None where it has no labels; reports what is unfit."""
    shape, dtype = arrays.header(file, images)
    if dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] <= 4)) or 0 in shape[1:]:
        problem = f"holds {images} as {dtype} of shape {shape}"
        raise DataError(file, problem, "Give 2D images (N, H, W) or (N, H, W, 3) of uint8; volumes are not classified.")
    if not labelled:
        return [None] * shape[0]
    name = labels_of(images)
    labels = arrays.array(file, name)
    if labels.ndim == 2 and labels.shape[1] > 1:
        problem = f"holds {labels.shape[1]} labels for each image in {name}"
        raise DataError(file, problem, "Give one class per image; several at once (as ChestMNIST) are not learnt.")
    if labels.shape[0] != shape[0] or labels.size != shape[0]:
        raise DataError(file, f"has {shape[0]} {images} and labels of shape {labels.shape}", _REMEDY)
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(file, f"holds {name} as {labels.dtype}", "Give class ids as integers from 0.")
    flat = labels.reshape(-1).astype(np.int64)
    wrong = (flat < 0) | (flat >= IGNORE)
    if wrong.any():
        row = int(wrong.argmax())
        report(DataError(file, f"has the class {flat[row]} in {name}, row {row}", "Give class ids from 0 to 254."))
    return [None if bad else int(value) for value, bad in zip(flat, wrong, strict=True)]


def _legend(where: Path, description: dict[str, object], number: int, trainable: bool, report: Report) -> Legend:
    """The named classes, or as many numbered ones as there are, of which ``trainable`` asks for two."""
    named = read_legend(where, description, report).classes
    if named and len(named) < number:
        report(DataError(where, f"names {len(named)} classes, the labels have {number}", "Name each, in order of its id."))
        named = ()
    if not named and number < 2 and trainable:
        report(DataError(where, "has one class only", "Give images of at least two classes."))
    return Legend(named or tuple(f"class_{id}" for id in range(max(2, number))))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix == ".npz" and not is_hidden(file))


def _has_images(file: Path) -> bool:
    try:
        return bool({f"{split}_images" for split in SPLITS} & set(arrays.names(file)))
    except DataError:
        return False
