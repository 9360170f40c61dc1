"""Data sets for classification: a .npz file as MedMNIST's, a folder for each class, or labels.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from debride.data.formats.layout import (
    SPLIT_NAMES,
    Layout,
    Legend,
    Report,
    read_legend,
    read_object,
    read_people,
    read_split_name,
    read_splits,
)
from debride.data.formats.manifest import FLAGS, inside
from debride.data.pixels import arrays
from debride.data.pixels.images import endings, is_image, suffix
from debride.files import read_text
from debride.types import Case, DataError, Dataset, Format, Split
from debride.words import some

SPLITS: tuple[Split, ...] = ("train", "val", "test")
MAX_CLASSES = 255
"""Class ids fit in ``uint8`` beside ``IGNORE``."""

_NPZ_REMEDY = "Give train_images (N, H, W) or (N, H, W, 3) uint8 and train_labels (N,) or (N, 1), and val_ and test_ alike."


def classification_format(path: Path) -> Format | None:
    """The format of a data set for classification by the files that it has; None if it is for segmentation."""
    if path.is_file() and path.suffix == ".npz":
        return "npz"
    if not path.is_dir():
        return None
    if (path / "labels.csv").exists():
        return "table"
    if any((path / name).exists() for name in ("manifest.csv", "imagesTr", "imagesTs", "images", "masks")):
        return None
    if len(_npz_files(path)) == 1:
        return "npz"
    return "classes" if _class_folders(path) else None


def read_classes(root: Path, format: Format, report: Report) -> Layout:
    """The cases of a data set for classification; their classes are ``legend.classes``."""
    if format == "npz":
        return _read_npz(root, report)
    if not root.is_dir():
        raise DataError(root, "is not a folder", "Give the folder, or leave `format` out.")
    return _read_table(root, report) if format == "table" else _read_folders(root, report)


def _read_npz(root: Path, report: Report) -> Layout:
    """One file with the arrays {train,val,test}_{images,labels}. In a folder of it, dataset.json may name classes, patients and
    trusted cases, and splits.json the cases of each split: those that it leaves out are not used.

    Cases are named by split and row. A split without arrays is drawn from the training cases, as for other formats. Images
    without an array of labels are cases without a class.
    """
    files = [root] if root.is_file() else _npz_files(root)
    if len(files) != 1:
        raise several_arrays(root) or DataError(root, "holds no .npz file", "Give the file of the images and classes.")
    file = files[0]
    present = arrays.names(file)
    cases: list[Case] = []
    splits: dict[str, Split] = {}
    if "train_images" not in present and ("train_labels" in present or not {"val_images", "test_images"} & set(present)):
        raise DataError(file, f"holds no train_images, but {', '.join(present[:6])}", _NPZ_REMEDY)
    for split in SPLITS:
        if f"{split}_images" not in present:
            continue
        targets = _npz_targets(file, split, f"{split}_labels" in present, report)
        for row, target in enumerate(targets):
            id = f"{split}_{row:05d}"
            cases.append(Case(id, (file,), None, id, target=target, row=row))
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
    return Layout("npz", tuple(cases), splits, listed, patients, trusted, legend)


def several_arrays(folder: Path) -> DataError | None:
    """That a folder holds several .npz files, and which of them have images; None if it does not."""
    files = _npz_files(folder)
    if len(files) < 2:
        return None
    problem = f"holds {len(files)} .npz files: {some([file.name for file in files], 6)}"
    fit = [file for file in files[:6] if _has_images(file)]
    if not fit:
        return DataError(folder, problem, f"None of them has images to learn from. {_NPZ_REMEDY}")
    which = "the one that has images" if len(fit) == 1 else "one of those that have images"
    return DataError(folder, problem, f"Give {which}: {', '.join(map(str, fit))}.")


def missing_labels(dataset: Dataset, split: Split) -> DataError | None:
    """What is missing where no case of a split has a class, by the name of the array where it is one; None where one has."""
    cases = dataset.of(split)
    if not cases or any(case.target is not None for case in cases):
        return None
    held = cases[0].id.rpartition("_")[0]  # of a .npz file the array, which may be that of another split
    if dataset.format == "npz" and f"{held}_labels" not in arrays.names(cases[0].image[0]):
        problem = f"has no array {held}_labels: no case of the split {split} has a class"
        return DataError(cases[0].image[0], problem, f"Save the class ids of {held}_images as {held}_labels.")
    return DataError(dataset.root, f"gives no case of the split {split} a class", "Give each of them one.")


def _npz_targets(file: Path, split: Split, labelled: bool, report: Report) -> list[int | None]:
    """The class id of every image of a split, None where it has no labels; reports what is unfit."""
    shape, dtype = arrays.header(file, f"{split}_images")
    if dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] <= 4)) or 0 in shape[1:]:
        problem = f"holds {split}_images as {dtype} of shape {shape}"
        raise DataError(file, problem, "Give 2D images (N, H, W) or (N, H, W, 3) of uint8; volumes are not classified.")
    if not labelled:
        return [None] * shape[0]
    labels = arrays.array(file, f"{split}_labels")
    if labels.ndim == 2 and labels.shape[1] > 1:
        problem = f"holds {labels.shape[1]} labels for each image in {split}_labels"
        raise DataError(file, problem, "Give one class per image; several at once (as ChestMNIST) are not learnt.")
    if labels.shape[0] != shape[0] or labels.size != shape[0]:
        raise DataError(file, f"has {shape[0]} {split}_images and labels of shape {labels.shape}", _NPZ_REMEDY)
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(file, f"holds {split}_labels as {labels.dtype}", "Give class ids as integers from 0.")
    flat = labels.reshape(-1).astype(np.int64)
    wrong = (flat < 0) | (flat >= MAX_CLASSES)
    if wrong.any():
        row = int(wrong.argmax())
        report(DataError(file, f"has the class {flat[row]} in {split}_labels, row {row}", "Give class ids from 0 to 254."))
    return [None if bad else int(value) for value, bad in zip(flat, wrong, strict=True)]


def _read_folders(root: Path, report: Report) -> Layout:
    """CLASS/image or SPLIT/CLASS/image. A case is named by its path without the file's ending.

    Folders named as splits are splits where all are, or where they hold folders and no images.
    """
    tops = _folders_in(root)
    named = {top: SPLIT_NAMES[top.name.lower()] for top in tops if top.name.lower() in SPLIT_NAMES}
    sure = len(named) == len(tops)
    of_splits = {top: split for top, split in named.items() if sure or (_folders_in(top) and not _has_pictures(top))}
    others = [top.name for top in tops if top not in of_splits]
    if of_splits and others:
        beside = f"has folders of splits ({', '.join(top.name for top in of_splits)}) beside others ({', '.join(others[:6])})"
        report(DataError(root, beside, f"Move those away, or name them as splits: {', '.join(SPLIT_NAMES)}."))
    by_split = [(split, sub) for top, split in of_splits.items() for sub in _folders_in(top)]
    found: list[tuple[Split | None, Path]] = [*by_split] if of_splits else [(None, top) for top in tops]
    classes = tuple(sorted({folder.name for _, folder in found}))
    cases: dict[str, Case] = {}
    splits: dict[str, Split] = {}
    for split, folder in found:
        for image in sorted(folder.iterdir()):
            if not is_image(image) or image.is_dir():
                if not image.name.startswith("."):
                    report(_unread(image))
                continue
            id = str(image.relative_to(root))[: -len(suffix(image))]
            if id in cases:
                report(DataError(image, f"has the same name as {cases[id].image[0].name}", "Keep one of them, or rename one."))
                continue
            cases[id] = Case(id, (image,), None, id, target=classes.index(folder.name))
            if split:
                splits[id] = split
    description = read_object(root / "dataset.json", report)
    patients, trusted = read_people(root / "dataset.json", description, cases.values(), report)
    listed = set(splits.values()) >= {"train", "val"}
    if not listed:
        splits = {id: split for id, split in splits.items() if split != "train"}
    if not 2 <= len(classes) <= MAX_CLASSES:
        report(DataError(root, f"has {len(classes)} folders of classes", f"Give 2 to {MAX_CLASSES}."))
    return Layout("classes", tuple(cases.values()), splits, listed, patients, trusted, Legend(classes))


def _unread(path: Path) -> DataError:
    if path.is_dir():
        remedy = "Move its images into the folder of their class, or take it away: images lie in CLASS/ or SPLIT/CLASS/."
        return DataError(path, "is a folder in the folder of a class", remedy)
    return DataError(path, "is of a kind that is not read", f"Convert it to {', '.join(endings())}.")


def _read_table(root: Path, report: Report) -> Layout:
    """labels.csv with the columns image and class, perhaps case, split, patient, trusted; dataset.json may order the classes.

    Paths are relative to the table and stay in its folder. A case is named by its ``case``, else by its image's path without
    ending. A row without a class is for prediction only and belongs to the split test.
    """
    path = root / "labels.csv"
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    rows: dict[str, tuple[Case, str, Split | None]] = {}
    patients: dict[str, str] = {}
    try:
        missing = {"image", "class"} - set(reader.fieldnames or ())
        if missing:
            problem = f"has no column {', '.join(sorted(missing))}"
            raise DataError(f"{path}:1", problem, "Give at least the columns image and class, separated by commas.")
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if None in fields or None in fields.values():
                report(DataError(where, "has not as many fields as there are columns", "Give every row one field per column."))
                continue
            problems: list[DataError] = []
            image = inside(root, where, fields["image"].strip(), problems.append)
            id = fields.get("case") or fields["image"].strip()[: -len(suffix(image)) or None]
            split = read_split_name(where, fields["split"], problems.append) if "split" in fields else None
            flag = fields.get("trusted", "").strip().lower()
            if flag not in FLAGS:
                problems.append(DataError(where, f"has trusted {flag!r}", "Write 1 or 0."))
            if id in rows:
                problems.append(DataError(where, f"names the case {id} again", "Give each row its own case."))
            if not fields["class"].strip() and split != "test":
                problems.append(DataError(where, "has no class", "Give one, or put the case in the split test."))
            for each in problems:
                report(each)
            if not problems:
                rows[id] = Case(id, (image,), None, id, trusted=FLAGS[flag]), fields["class"].strip(), split
                if fields.get("patient"):
                    patients[id] = fields["patient"]
    except csv.Error as error:
        report(DataError(f"{path}:{reader.reader.line_num}", f"is not valid CSV ({error})", "Correct this line."))
    description = read_object(root / "dataset.json", report)
    classes = read_legend(root / "dataset.json", description, report).classes or tuple(
        sorted({name for _, name, _ in rows.values() if name})
    )
    cases = tuple(_with_class(case, name, classes, path, report) for case, name, _ in rows.values())
    if not 2 <= len(classes) <= MAX_CLASSES:
        report(DataError(path, f"names {len(classes)} classes", f"Give 2 to {MAX_CLASSES}."))
    return Layout(
        "table",
        cases,
        {id: split for id, (_, _, split) in rows.items() if split},
        "split" in (reader.fieldnames or ()),
        patients,
        frozenset(case.id for case in cases if case.trusted),
        Legend(classes),
    )


def _with_class(case: Case, name: str, classes: Sequence[str], path: Path, report: Report) -> Case:
    if not name:
        return case
    if name not in classes:
        report(DataError(path, f"gives {case.id} the class {name!r}", f"dataset.json knows {', '.join(classes[:10])}."))
        return case
    return Case(case.id, case.image, None, case.patient, trusted=case.trusted, target=classes.index(name))


def _legend(where: Path, description: dict[str, object], number: int, trainable: bool, report: Report) -> Legend:
    """The named classes, or as many numbered ones as there are, of which ``trainable`` asks for two."""
    named = read_legend(where, description, report).classes
    if named and len(named) < number:
        report(DataError(where, f"names {len(named)} classes, the labels have {number}", "Name each, in order of its id."))
        named = ()
    if not named and number < 2 and trainable:
        report(DataError(where, "has one class only", "Give images of at least two classes."))
    return Legend(named or tuple(f"class_{id}" for id in range(max(2, number))))


def _npz_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix == ".npz" and not file.name.startswith("."))


def _has_images(file: Path) -> bool:
    try:
        return bool({f"{split}_images" for split in SPLITS} & set(arrays.names(file)))
    except DataError:
        return False


def _class_folders(path: Path) -> bool:
    """Whether a folder holds folders of images, or folders of splits with such; images and masks are no classes."""
    splits = [folder for folder in _folders_in(path) if folder.name.lower() in SPLIT_NAMES]
    if any(_is_masks(top) for top in (path, *splits)):
        return False
    classes = [folder for folder in _folders_in(path) if folder not in splits]
    return any(_has_pictures(folder) for folder in (*classes, *(sub for top in splits for sub in _folders_in(top))))


def _is_masks(folder: Path) -> bool:
    return {"images", "masks"} <= {inside.name for inside in folder.iterdir()}


def _has_pictures(folder: Path) -> bool:
    return any(is_image(file) and file.is_file() for file in folder.iterdir())


def _folders_in(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
