"""What a data set's files say: the common ``Layout``, dataset.json, lists of splits, and the layout of image folders.

Readers hand each problem to ``report`` and go on without the entry concerned, so that one pass finds all of them; a ``report``
that raises stops at the first. Where there is nothing to go on with they raise DataError themselves.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debride.data.pixels.images import MAX_VALUE, is_image, stem
from debride.files import read_json
from debride.types import Case, DataError, Format, Split
from debride.words import some

Report = Callable[[DataError], None]

MAX_CLASSES = 254
"""Class ids fit in ``uint8`` beside ``IGNORE`` and the mark of values without a class."""

SPLIT_NAMES: dict[str, Split] = {
    **{"train": "train", "val": "val", "validation": "val", "test": "test"},
    **{"training": "train", "valid": "val", "testing": "test"},
}
"""What splits are called, in folders, tables and lists; in any case of letters."""


@dataclass(frozen=True)
class Legend:
    """What label values mean, as in ``Dataset``; ``classes`` is empty where nothing names them."""

    classes: tuple[str, ...] = ()
    ignore: int | None = None
    values: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """What the files of a data set say, before patients and splits are settled.

    Cases have their image's id as patient, and split "train". ``splits`` and ``patients`` go by case id. ``listed`` says that
    ``splits`` is complete: a case without an entry is left out; otherwise such cases are split by patient.
    """

    format: Format
    cases: tuple[Case, ...]
    splits: dict[str, Split]
    listed: bool
    patients: dict[str, str]
    trusted: frozenset[str]
    legend: Legend


def read_folder(root: Path, report: Report) -> Layout:
    """images/ and masks/ matched by stem, with splits.json and dataset.json if they exist."""
    images = by_stem(root / "images", report)
    masks = by_stem(root / "masks", report)
    report_unpaired(images, masks, report)
    cases = tuple(Case(name, (images[name],), masks[name], name) for name in sorted(images.keys() & masks.keys()))
    lists = read_object(root / "splits.json", report)
    splits = read_splits(root / "splits.json", lists, images, report)
    left_out = [case.id for case in cases if case.id not in splits]
    if lists and left_out:
        report(
            DataError(
                root / "splits.json",
                f"does not name {_quoted(left_out)}",
                "Put every case in one of its lists.",
            )
        )
    description = read_object(root / "dataset.json", report)
    patients, trusted = read_people(root / "dataset.json", description, cases, report)
    return Layout(
        format="folder",
        cases=cases,
        splits=splits,
        listed=bool(lists),
        patients=patients,
        trusted=trusted,
        legend=read_legend(root / "dataset.json", description, report),
    )


def read_object(path: Path, report: Report) -> dict[str, Any]:
    """A JSON object; empty if there is no such file or, reported, no such object in it."""
    try:
        value = read_json(path) if path.exists() else {}
    except DataError as problem:
        report(problem)
        return {}
    if isinstance(value, dict) and (value or not path.exists()):
        return value
    report(DataError(path, "is not a JSON object with entries", "Write names and values in braces, or remove the file."))
    return {}


def read_legend(path: Path, description: dict[str, Any], report: Report) -> Legend:
    """The ``classes``, ``ignore`` and ``values`` of the dataset.json of a folder or manifest; empty if they were reported."""
    classes, ignore, raw = description.get("classes", []), description.get("ignore"), description.get("values", {})
    problem, remedy = "", ""
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes) or len(set(classes)) < len(classes):
        problem, remedy = '"classes" is not a list of different names', 'Write {"classes": ["background", "lesion"]}.'
    elif classes and not 2 <= len(classes) <= MAX_CLASSES:
        problem, remedy = f"names {len(classes)} classes", f"Name the background and 1 to {MAX_CLASSES - 1} classes."
    elif not classes and (ignore is not None or raw):
        problem, remedy = 'gives "ignore" or "values" without "classes"', 'Add {"classes": ["background", "lesion"]}.'
    elif not isinstance(raw, dict) or not all(key.isdecimal() and int(key) <= MAX_VALUE for key in raw):
        problem, remedy = (
            f'"values" has a key that is no label value from 0 to {MAX_VALUE}',
            'Write {"values": {"0": 0, "255": 1}}.',
        )
    elif raw and ({type(id) for id in raw.values()} != {int} or set(raw.values()) != set(range(len(classes)))):
        problem, remedy = '"values" does not map to exactly the class ids', f"Give values for the ids 0 to {len(classes) - 1}."
    elif ignore is not None and not _may_be_ignore(ignore, [int(key) for key in raw] or range(len(classes))):
        problem, remedy = f'"ignore" is {ignore!r}', f"Give a number from 0 to {MAX_VALUE} that is not the value of a class."
    if problem:
        report(DataError(path, problem, remedy))
        return Legend()
    return Legend(tuple(classes), ignore, {int(key): id for key, id in raw.items()})


def read_people(
    path: Path, description: dict[str, Any], cases: Iterable[Case], report: Report
) -> tuple[dict[str, str], frozenset[str]]:
    """``patients`` (case id to patient) and ``trusted`` (case ids) of dataset.json; ``copy_dataset`` writes them."""
    patients, trusted = description.get("patients", {}), description.get("trusted", [])
    if not isinstance(patients, dict) or not all(isinstance(name, str) for name in patients.values()):
        report(DataError(path, '"patients" does not map case ids to patients', 'Write {"patients": {"case1": "patient1"}}.'))
        patients = {}
    if not isinstance(trusted, list) or not all(isinstance(name, str) for name in trusted):
        report(DataError(path, '"trusted" is not a list of case ids', 'Write {"trusted": ["case1", "case2"]}.'))
        trusted = []
    report_unknown(path, [*patients, *trusted], {case.id for case in cases}, report)
    return patients, frozenset(trusted)


def read_splits(path: Path, lists: dict[str, Any], known: Collection[str], report: Report) -> dict[str, Split]:
    """Split by case id from lists of ids; reports unknown splits, unknown ids and ids in two splits."""
    splits: dict[str, Split] = {}
    for name, ids in lists.items():
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            report(DataError(path, f"{name!r} is not a list of case ids", 'Write {"train": ["case1"], "val": [], "test": []}.'))
            continue
        split = read_split_name(path, name, report)
        report_unknown(path, ids, known, report)
        twice = [id for id in ids if splits.setdefault(id, split) != split]
        if twice:
            report(
                DataError(
                    path,
                    f"puts {_quoted(twice)} in {split} and in another split",
                    "List every case in one split.",
                )
            )
    return splits


def read_split_name(where: object, name: str | None, report: Report) -> Split:
    """The split of that name; reports an unknown one, and takes it as "train"."""
    split = SPLIT_NAMES.get((name or "").lower())
    if split is None:
        report(DataError(where, f"has the split {name!r}", f"Use one of {', '.join(SPLIT_NAMES)}."))
    return split or "train"


def report_unknown(where: object, names: Iterable[str], known: Collection[str], report: Report) -> None:
    """Report the names that are no case's id, with the ids nearest to the first of them."""
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.5)
        remedy = f"For {unknown[0]!r}, did you mean {', '.join(near)}?" if near else "Use the ids of the data set's cases."
        report(DataError(where, f"names {_quoted(unknown)}, unknown in this data set", remedy))


def report_unpaired(images: dict[str, Path], labels: dict[str, Path], report: Report) -> None:
    """Report each image without a label and each label without an image; of files without any counterpart only the first."""
    for files, others, what in ((images, labels, "label"), (labels, images, "image")):
        for name in sorted(files.keys() - others.keys())[: None if others else 1]:
            problem = f"has no {what}" if others else f"has no {what}, nor has any other file of its folder"
            report(DataError(files[name], problem, f"Add its {what} under the same name, or take the file away."))


def by_stem(folder: Path, report: Report) -> dict[str, Path]:
    """The image files of a folder by stem; reports a second file of one stem."""
    files: dict[str, Path] = {}
    for path in image_files(folder, report):
        other = files.setdefault(stem(path), path)
        if other != path:
            report(DataError(path, f"has the same name as {other.name}", "Keep one of them, or rename one."))
    return files


def image_files(folder: Path, report: Report) -> list[Path]:
    """The files of a folder that are images by their suffix, sorted; reports a folder that does not exist."""
    if not folder.is_dir():
        report(DataError(folder, "is no folder", "Make the folder, or check the path of the data set."))
        return []
    return [path for path in sorted(folder.iterdir()) if is_image(path)]


def _may_be_ignore(value: Any, taken: Collection[int]) -> bool:
    return type(value) is int and 0 <= value <= MAX_VALUE and value not in taken


def _quoted(names: Iterable[str]) -> str:
    return some([repr(name) for name in names], 3)
