"""What an audit wrote, read back with suspicion: its findings and its maps of proposals. Nothing is unpickled."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from debride.audit.findings.finding import Finding, FindingKind
from debride.audit.tasks import refuse_task
from debride.data.hashes import hashes_of
from debride.data.pixels.arrays import described
from debride.escapes import unshielded
from debride.files import read_json, read_text
from debride.strict import parse_json
from debride.types import IGNORE, DataError, Dataset
from debride.words import some

Numbers = npt.NDArray[np.uint16]
Label = npt.NDArray[np.uint8]

KINDS: tuple[FindingKind, ...] = get_args(FindingKind)

_AGAIN = "Run `debride audit` again: this folder is damaged or incomplete."


@dataclass(frozen=True)
class Record:
    """A folder of an audit: ``labels`` are the content hashes of the label files by case id, ``flagged`` the ids of flagged
    cases, ``findings`` in the order of the file, ``about`` all of audit.json."""

    folder: Path
    classes: tuple[str, ...]
    ndim: int
    labels: dict[str, str]
    findings: tuple[Finding, ...]
    flagged: frozenset[str]
    about: dict[str, Any] = field(repr=False)

    @property
    def proposes(self) -> bool:
        """Whether it had predictions, without which nothing is proposed."""
        predictions = self.about.get("predictions")
        return not isinstance(predictions, dict) or predictions.get("source") != "none"

    def by_case(self) -> dict[str, list[Finding]]:
        """The findings of each case that has any."""
        cases: dict[str, list[Finding]] = {}
        for finding in self.findings:
            cases.setdefault(finding.case, []).append(finding)
        return cases


def read_record(folder: Path) -> Record:
    """The audit in a folder, without its maps of proposals.

    Raises DataError for what is missing, cut off or contradicts itself: names that lead out of the folder, numbers or cases
    named twice, classes that the data set does not have, and findings that cases.csv counts and findings.jsonl does not hold.
    """
    path = folder / "audit.json"
    if not path.is_file():
        raise DataError(folder, "is not a folder of an audit: it has no audit.json", "Give what `debride audit --out` wrote.")
    about = read_json(path)
    dataset = about.get("dataset") if isinstance(about, dict) else None
    labels = about.get("labels") if isinstance(about, dict) else None
    classes = dataset.get("classes") if isinstance(dataset, dict) else None
    ndim = dataset.get("ndim") if isinstance(dataset, dict) else None
    if not isinstance(classes, list) or not 2 <= len(classes) < IGNORE or not all(isinstance(name, str) for name in classes):
        raise DataError(path, 'has no list "classes" of its data set', _AGAIN)
    if ndim not in (2, 3):
        raise DataError(path, f'says that its data set has {ndim!r} axes ("ndim")', _AGAIN)
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise DataError(path, 'has no "labels" with the hash of each case\'s label', _AGAIN)
    for case in labels:
        if not _may_be_file(case):
            raise DataError(path, f"names the case {case!r}, which cannot be a file name", _AGAIN)
    findings = read_findings(folder / "findings.jsonl", labels, len(classes), ndim)
    flagged, counts = _read_cases(folder / "cases.csv", labels)
    held = Counter(finding.case for finding in findings)
    for case in counts.keys() | held.keys():
        if counts.get(case, 0) != held[case]:
            problem = f"holds {held[case]} finding(s) of {case}, cases.csv counts {counts.get(case, 0)}"
            raise DataError(folder / "findings.jsonl", problem, _AGAIN)
    return Record(folder, tuple(classes), ndim, labels, findings, flagged, about)


def read_findings(path: Path, cases: Collection[str], classes: int, ndim: int) -> tuple[Finding, ...]:
    """The findings of a file of JSON lines, in its order; DataError naming the line that cannot be used."""
    text = read_text(path)
    lines = text.split("\n")
    if lines.pop():
        raise DataError(f"{path}:{len(lines) + 1}", "is cut off", _AGAIN)
    findings: list[Finding] = []
    keys: set[tuple[str, int]] = set()
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        row = parse_json(line, path, line=number)
        wrong = _wrong(row, cases, classes, ndim) if isinstance(row, dict) else "is not a JSON object"
        if wrong:
            raise DataError(where, wrong, _AGAIN)
        finding = finding_of(row)
        if (finding.case, finding.number) in keys:
            raise DataError(where, f"names finding {finding.number} of {finding.case} again", _AGAIN)
        keys.add((finding.case, finding.number))
        findings.append(finding)
    return tuple(findings)


def read_proposals(
    folder: Path, case: str, findings: Iterable[Finding], shape: tuple[int, ...], classes: int
) -> tuple[Numbers, Label]:
    """The maps (*S) of numbers and of proposed classes of one case, checked against its findings and its label's ``shape``.

    ``findings`` are all of the case. Raises DataError if the file cannot be read, has another shape, proposes a class that
    the data set does not have (or ``IGNORE``), lacks the voxels of a finding, has them outside its box, or has voxels of none.
    """
    path = folder / "proposals" / f"{case}.npz"
    if not path.is_file():
        raise DataError(path, "does not exist, though its case has findings", _AGAIN)
    for name, kind in (("number", np.uint16), ("proposed", np.uint8)):
        stored, dtype = described(path, name)  # before memory is taken
        if stored != shape:
            remedy = "Give the audit of this data set, or run `debride audit` again."
            raise DataError(path, f"holds {name} of shape {stored}, the label of {case} has {shape}", remedy)
        if dtype != kind:
            raise DataError(path, f"holds {dtype} in place of uint16 and uint8", _AGAIN)
    numbers, proposed = _arrays(path)
    if proposed.max(initial=0) >= classes:
        raise DataError(path, f"proposes the class {proposed.max()}, of {classes} classes", _AGAIN)
    counts = np.zeros(np.iinfo(np.uint16).max + 1, np.int64)
    for plane in numbers:
        of_plane = np.bincount(plane.ravel())
        counts[: len(of_plane)] += of_plane
    known = {finding.number for finding in findings}
    unknown = sorted(set(np.flatnonzero(counts).tolist()) - known - {0})
    if unknown:
        raise DataError(path, f"has voxels of the number {unknown[0]}, which no finding has", _AGAIN)
    for finding in findings:
        inside = tuple(slice(*ends) for ends in finding.box)
        count = int(counts[finding.number])
        if not count:
            raise DataError(path, f"has no voxel of finding {finding.number}", _AGAIN)
        if np.count_nonzero(numbers[inside] == finding.number) != count:
            raise DataError(path, f"has voxels of finding {finding.number} outside its box", _AGAIN)
    return numbers, proposed


def check_belongs(record: Record, dataset: Dataset, cases: Collection[str], jobs: int = 1) -> None:
    """Raises DataError unless the audit is of this data set, and the labels of ``cases``, which so many ``jobs`` read, are the
    files that it saw."""
    refuse_task(dataset.task, dataset.root)
    described = record.about["dataset"]
    legend = {"classes": list(dataset.classes), "ndim": dataset.ndim, "ignore": dataset.ignore}
    legend["values"] = {str(raw): id for raw, id in dataset.values.items()}
    for name, value in legend.items():
        if name in described and described[name] != value:
            problem = f"is of a data set with {name} {described[name]!r}, {dataset.root.name} has {value!r}"
            raise DataError(record.folder, problem, "Give the audit of this data set.")
    files = {case.id: case.label for case in dataset.cases if case.label}
    unknown = sorted(case for case in cases if case not in files)
    if unknown:
        problem = f"has accepted findings of {some(unknown)}, which {dataset.root.name} does not have with a label"
        raise DataError(record.folder, problem, "Give the audit of this data set, opened with the same options.")
    seen = sorted(cases)
    now = hashes_of((files[case] for case in seen), jobs)
    changed = [case for case, own in zip(seen, now, strict=True) if own != record.labels[case]]
    if changed:
        problem = f"{'has a label' if len(changed) == 1 else 'has labels'} changed since the audit: {some(changed)}"
        raise DataError(dataset.root, problem, "Run `debride audit` again, or accept none of their findings.")


def _arrays(path: Path) -> tuple[Numbers, Label]:
    """``number`` and ``proposed`` of a .npz file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            numbers, proposed = archive["number"], archive["proposed"]
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen unrelated kinds for damaged files
        raise DataError(path, f"cannot be read ({error or type(error).__name__})", _AGAIN) from error
    return numbers, proposed


def _read_cases(path: Path, labels: Collection[str]) -> tuple[frozenset[str], dict[str, int]]:
    """The flagged cases, and the number of findings of each."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    flagged: set[str] = set()
    counts: dict[str, int] = {}
    try:
        missing = {"case", "flagged", "findings"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{path}:1", f"has no column {', '.join(sorted(missing))}", _AGAIN)
        for row in reader:
            case, flag, count = unshielded(row["case"] or ""), row["flagged"], row["findings"]
            where = f"{path}:{reader.line_num}"
            if case not in labels or case in counts:
                raise DataError(where, f"names {case!r}, which audit.json does not name, or for a second time", _AGAIN)
            if flag not in ("0", "1") or not (count or "").isdecimal():
                raise DataError(where, f"has flagged {flag!r} and findings {count!r}", _AGAIN)
            counts[case] = int(count)
            if flag == "1":
                flagged.add(case)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.reader.line_num}", f"is not valid CSV ({error})", _AGAIN) from None
    return frozenset(flagged), counts


def _wrong(row: dict[str, Any], cases: Collection[str], classes: int, ndim: int) -> str:
    """What makes a row no finding; empty if nothing does."""
    missing = sorted(
        {"case", "number", "kind", "given", "proposed", "box", "voxels", "severity", "confidence", "volume", "displacement"}
        - row.keys()
    )
    if missing:
        return f"has no {', '.join(missing)}"
    if not isinstance(row["case"], str) or row["case"] not in cases:
        return f"names the case {row['case']!r}, which audit.json does not name"
    if not _whole(row["number"], 1, np.iinfo(np.uint16).max):
        return f"has the number {row['number']!r}"
    if row["kind"] not in KINDS:
        return f"has the kind {row['kind']!r}"
    for name in ("given", "proposed"):
        if not _whole(row[name], 0, classes - 1):
            return f"has {name} {row[name]!r}, of {classes} classes"
    if not _whole(row["voxels"], 1):
        return f"has voxels {row['voxels']!r}"
    box = row["box"]
    if not isinstance(box, list) or len(box) != ndim or not all(_range(ends) for ends in box):
        return f"has the box {box!r}"
    for name in ("severity", "confidence"):
        if not _number(row[name]) or not 0 <= row[name] <= 1:
            return f"has {name} {row[name]!r}, outside 0 to 1"
    for name in ("volume", "area", "displacement", "distance"):
        value = row.get(name)
        if value is not None and not (_number(value) and (name == "displacement" or value >= 0)):
            return f"has {name} {value!r}"
    return ""


def finding_of(row: dict[str, Any]) -> Finding:
    """A finding of plain JSON, as ``asdict`` gives it; nothing is checked. Older ones have no ``area`` and ``distance``."""
    return Finding(
        case=row["case"],
        number=row["number"],
        kind=row["kind"],
        given=row["given"],
        proposed=row["proposed"],
        box=tuple((start, stop) for start, stop in row["box"]),
        voxels=row["voxels"],
        volume=row["volume"],
        area=row.get("area"),
        displacement=row["displacement"],
        distance=row.get("distance"),
        severity=row["severity"],
        confidence=row["confidence"],
    )


def _may_be_file(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not set(name) & set("/\\\0\n\r")


def _whole(value: object, least: int, most: int | None = None) -> bool:
    return type(value) is int and value >= least and (most is None or value <= most)


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _range(ends: object) -> bool:
    return isinstance(ends, list) and len(ends) == 2 and _whole(ends[0], 0) and _whole(ends[1], ends[0] + 1)
