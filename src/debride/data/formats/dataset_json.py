"""dataset.json and lists of splits beside it: read with every problem reported, and written.

Readers hand each problem to ``report`` and go on without the entry concerned, so that one pass finds all of them; a ``report``
that raises stops at the first.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from debride.data.formats.layout import Legend, Report
from debride.data.formats.names import plain
from debride.data.links import is_there
from debride.data.pixels.images import MAX_VALUE
from debride.files import read_json
from debride.records import not_decimal
from debride.types import Case, DataError, Dataset, Split
from debride.words import some

MAX_CLASSES = 254
"""Class ids fit in ``uint8`` beside ``IGNORE`` and the mark of values without a class."""

ENTRIES = ("classes", "values", "ignore", "patients", "trusted", "annotated", "groups", "image_pattern", "mask_pattern")
"""Entries of a dataset.json that are read whatever the layout."""

SPLITS: tuple[Split, ...] = ("train", "val", "test")

SPLIT_NAMES: dict[str, Split] = {
    **{"train": "train", "val": "val", "validation": "val", "test": "test"},
    **{"training": "train", "valid": "val", "testing": "test"},
}
"""What splits are called, in folders, tables and lists; in any case of letters."""


def read_object(path: Path, report: Report) -> dict[str, Any]:
    """A JSON object; empty if there is no such file or, reported, no such object in it."""
    try:
        value = read_json(path) if is_there(path) else {}
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
    elif not isinstance(raw, dict) or not all(not not_decimal(key) and int(key) <= MAX_VALUE for key in raw):
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
    patients = {plain(id, path): plain(patient, path) for id, patient in patients.items()}
    trusted = [plain(id, path) for id in trusted]
    report_unknown(path, [*patients, *trusted], {case.id for case in cases}, report)
    return patients, frozenset(trusted)


def read_splits(path: Path, lists: dict[str, Any], known: Collection[str], report: Report) -> dict[str, Split]:
    """Split by case id from lists of ids; reports unknown splits, unknown ids, and ids that stand twice."""
    splits: dict[str, Split] = {}
    for name, ids in lists.items():
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            report(DataError(path, f"{name!r} is not a list of case ids", 'Write {"train": ["case1"], "val": [], "test": []}.'))
            continue
        split = read_split_name(path, name, report)
        ids = [plain(id, path) for id in ids]
        report_unknown(path, ids, known, report)
        again = sorted(id for id, number in Counter(ids).items() if number > 1)
        twice = [id for id in ids if splits.setdefault(id, split) != split]
        for some_ids, problem in ((again, f"more than once in {split}"), (twice, f"in {split} and in another split")):
            if some_ids:
                report(DataError(path, f"puts {quoted(some_ids)} {problem}", "List every case once, in one split."))
    return splits


def read_split_name(where: object, name: str | None, report: Report) -> Split:
    """The split of that name; reports an unknown one, and takes it as "train"."""
    split = SPLIT_NAMES.get((name or "").strip().lower())
    if split is None:
        report(DataError(where, f"has the split {name!r}", f"Use one of {', '.join(SPLIT_NAMES)}."))
    return split or "train"


def report_unknown(where: object, names: Iterable[str], known: Collection[str], report: Report) -> None:
    """Report the names that are no case's id, with the ids nearest to the first of them."""
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.5)
        remedy = f"For {unknown[0]!r}, did you mean {', '.join(near)}?" if near else "Use the ids of the data set's cases."
        report(DataError(where, f"names {quoted(unknown)}, unknown in this data set", remedy))


def legend_entries(dataset: Dataset) -> dict[str, Any]:
    """What labels mean, as ``read_legend`` reads it."""
    legend: dict[str, Any] = {"classes": list(dataset.classes)}
    if dataset.values:
        legend["values"] = {str(raw): id for raw, id in dataset.values.items()}
    if dataset.ignore is not None:
        legend["ignore"] = dataset.ignore
    return legend


def people_entries(dataset: Dataset) -> dict[str, Any]:
    """Patients other than the case itself, and trusted cases, as ``read_people`` reads them."""
    patients = {case.id: case.patient for case in dataset.cases if case.patient != case.id}
    trusted = [case.id for case in dataset.cases if case.trusted]
    return {**({"patients": patients} if patients else {}), **({"trusted": trusted} if trusted else {})}


def split_lists(dataset: Dataset) -> dict[str, list[str]]:
    """The case ids of each split, as ``read_splits`` reads them."""
    return {split: [case.id for case in dataset.of(split)] for split in SPLITS}


def quoted(names: Iterable[str]) -> str:
    """Some of many names, in quotation marks."""
    return some([repr(name) for name in names], 3)


def _may_be_ignore(value: Any, taken: Collection[int]) -> bool:
    return type(value) is int and 0 <= value <= MAX_VALUE and value not in taken
