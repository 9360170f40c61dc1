"""``debride corrupt`` for classification: a copy of a data set with other classes, simulated or from a file of human labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.copy import copy_by, copying_images
from debride.data.formats.layout import VERIFIED
from debride.data.pixels import arrays
from debride.data.plain import plain_dataset
from debride.escapes import unshielded
from debride.execute import Work
from debride.files import read_text, write_json
from debride.folders import new_folder
from debride.noise import ClassNoise, name_of, parameters
from debride.noise.class_noises import FromFile
from debride.settings import check_bounds
from debride.types import IGNORE, Case, DataError, Dataset, Split
from debride.words import some


@dataclass(frozen=True)
class FileLabels:
    """Classes that a file gives, such as those of human annotators: class id by case id."""

    source: FromFile
    labels: Mapping[str, int] = field(repr=False)


def corrupt_classes(
    dataset: Dataset,
    out: Path,
    noise: ClassNoise | FileLabels,
    *,
    seed: int,
    splits: Collection[Split] = ("train", "val"),
    features: Callable[[], npt.NDArray[Any]] | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes ``dataset`` to the folder ``out`` with noisy classes and ``noise.json``, and returns what that file holds.

    Changed are cases of ``splits`` that have a class, are not trusted, and that the labels of a file name; the noise sees each
    split on its own, so that exact rates are those of each split. ``features`` gives the images (N, D) of
    ``dataset.of(*splits)``, in that order, which ``Instance`` needs. A .npz file is copied with noisy labels in their dtype
    and shape, beside dataset.json (classes, patients, trusted), trusted.txt where cases are trusted, and splits.json where
    cases have been left out or have another split than their array's. The other formats become a folder ``images`` with
    labels.csv and dataset.json. Images are copied by so many ``jobs``. ``out`` appears when it is complete; ``progress``
    receives the number of arrays or images done and their total. Raises DataError if ``out`` has content or lies in the source,
    if no case can be changed, and for files that cannot be read or written.
    """
    if not isinstance(noise, FileLabels):
        check_bounds(noise)
    new_folder(out, apart_from={"the data set": dataset.root})
    among = dataset.of(*splits)
    source = noise
    if not isinstance(noise, FileLabels) and noise.source is not None:
        source = labels_from_file(dataset, Path(noise.source.file), noise.source.key)
    named = source.labels if isinstance(source, FileLabels) else {case.id for case in among}
    candidates = [case for case in among if case.target is not None and not case.trusted and case.id in named]
    if not candidates:
        raise DataError(dataset.root, "has no case to corrupt", "Check `splits`, `trusted` and the file of labels.")
    noisy = _noisy(dataset, among, candidates, source, seed, features)
    said = source.source if isinstance(source, FileLabels) else source
    report = _report(dataset, candidates, noisy, said, seed, splits)
    copy_by(
        dataset,
        out,
        Work(copying_images, plain_dataset(dataset)),
        jobs=jobs,
        classes={case.id: noisy.get(case.id, case.target) for case in dataset.cases},
        progress=progress,
        finish=lambda folder: write_json(folder / "noise.json", report),
        besides=[VERIFIED],
    )
    return report


def labels_from_file(dataset: Dataset, file: Path, key: str | None = None) -> FileLabels:
    """The classes that a file gives to cases of the data set; cases that it does not name keep theirs.

    A .csv file has the columns ``case`` and ``class`` (a name, or a class id where no class is named so). A .npy file, or the
    array ``key`` of a .npz file (needed where it has several), holds one class id for each training case in order: (N,) or
    (N, 1), integer. For a data set of arrays that is each row of train_images, or each case of the split, where both differ in
    number. Nothing is unpickled. Raises DataError for a file that does not fit.
    """
    source, kind = FromFile(str(file), key), file.suffix.lower()
    if kind == ".csv":
        return FileLabels(source, _read_csv(dataset, file))
    if kind not in (".npy", ".npz"):
        raise DataError(file, "is of a kind that is not read", "Give a .csv, .npy or .npz file.")
    values = _read_array(file, key)
    rows = _rows(dataset, file, values.size)
    wrong = (values < 0) | (values >= len(dataset.classes))
    if wrong.any():
        problem = f"holds the class {values[wrong][0]} at place {int(wrong.argmax())}"
        raise DataError(file, problem, f"Give class ids from 0 to {len(dataset.classes) - 1}.")
    return FileLabels(source, {id: int(values[row]) for id, row in rows.items()})


def _noisy(
    dataset: Dataset,
    among: tuple[Case, ...],
    candidates: list[Case],
    noise: ClassNoise | FileLabels,
    seed: int,
    features: Callable[[], npt.NDArray[Any]] | None,
) -> dict[str, int]:
    """The new class id of every candidate, by its id."""
    if isinstance(noise, FileLabels):
        return {case.id: noise.labels[case.id] for case in candidates}
    images = features() if features and noise.needs_images else None
    ids = [case.id for case in among]
    noisy: dict[str, int] = {}
    for split in sorted({case.split for case in candidates}):
        chosen = {case.id: case.target for case in candidates if case.split == split}
        labels = np.array([chosen.get(id, IGNORE) for id in ids], np.int64)
        given = noise(labels, len(dataset.classes), ids, seed, images)
        noisy.update((id, int(value)) for id, value in zip(ids, given, strict=True) if id in chosen)
    return noisy


def _report(
    dataset: Dataset,
    candidates: list[Case],
    noisy: Mapping[str, int],
    noise: ClassNoise,
    seed: int,
    splits: Collection[Split],
) -> dict[str, Any]:
    """What was done: ``matrix[i][j]`` counts candidates of true class i that are given class j; ``cases`` has those changed."""
    matrix = np.zeros((len(dataset.classes), len(dataset.classes)), np.int64)
    changed: dict[str, list[str]] = {}
    for case in sorted(candidates, key=lambda case: case.id):
        assert case.target is not None, case.id
        matrix[case.target, noisy[case.id]] += 1
        if noisy[case.id] != case.target:
            changed[case.id] = [dataset.classes[case.target], dataset.classes[noisy[case.id]]]
    return {
        "noise": name_of(noise),
        "parameters": parameters(noise),
        "seed": seed,
        "splits": sorted(splits),
        "count": len(dataset.cases),
        "candidates": len(candidates),
        "rate_wrong": len(changed) / len(candidates),
        "classes": list(dataset.classes),
        "matrix": matrix.tolist(),
        "trusted": sorted(case.id for case in dataset.cases if case.trusted),
        "cases": changed,
    }


def _read_csv(dataset: Dataset, file: Path) -> dict[str, int]:
    ids, classes = {case.id for case in dataset.cases}, {name: number for number, name in enumerate(dataset.classes)}
    numbers = {str(number): number for number in classes.values()}
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
    missing = {"case", "class"} - set(reader.fieldnames or ())
    if missing:
        problem = f"has no column {', '.join(sorted(missing))}"
        raise DataError(f"{file}:1", problem, "Give the columns case and class, separated by commas.")
    labels: dict[str, int] = {}
    try:
        for fields in reader:
            where, id, name = (
                f"{file}:{reader.line_num}",
                unshielded(fields["case"] or ""),
                unshielded((fields["class"] or "").strip()),
            )
            if id not in ids:
                raise DataError(where, f"names the case {id}, unknown in this data set", "Use the ids of the data set's cases.")
            if id in labels:
                raise DataError(where, f"names the case {id} again", "Give each case one class.")
            if name not in classes and name not in numbers:
                raise DataError(where, f"gives {id} the class {name!r}", f"Known classes: {', '.join(dataset.classes[:10])}.")
            labels[id] = classes[name] if name in classes else numbers[name]
    except csv.Error as error:
        raise DataError(f"{file}:{reader.reader.line_num}", f"is not valid CSV ({error})", "Correct this line.") from None
    return labels


def _read_array(file: Path, key: str | None) -> npt.NDArray[np.int64]:
    """The integers (N,) of a .npy file, or of an array of a .npz file."""
    if file.suffix.lower() == ".npz":
        names = arrays.names(file)
        if key is None and len(names) != 1:
            raise DataError(file, f"holds several arrays: {some(names, 10)}", "Name the one of labels: key=NAME.")
        if key is not None and key not in names:
            raise DataError(file, f"has no array {key}, but {some(names, 10)}", "Name the one of labels: key=NAME.")
        values = arrays.array(file, key or names[0])
    else:
        values = arrays.load(file)
    if not np.issubdtype(values.dtype, np.integer) or not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise DataError(file, f"holds {values.dtype} of shape {values.shape}", "Give one integer class id for each case, (N,).")
    return values.reshape(-1).astype(np.int64)


def _rows(dataset: Dataset, file: Path, count: int) -> dict[str, int]:
    """Which of ``count`` labels in a file is that of a case, by the case's id."""
    train = dataset.of("train")
    held = [case for case in dataset.cases if case.row is not None and case.array == "train_images"]
    if held and arrays.header(held[0].image[0], "train_images")[0][0] == count:
        return {case.id: case.row for case in held if case.row is not None}
    if count != len(train):
        raise DataError(file, f"holds {count} labels for {len(train)} training cases", "Give one for each, in their order.")
    return {case.id: row for row, case in enumerate(train)}
