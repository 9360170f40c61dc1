"""``repair``: a copy of a data set with accepted proposals of an audit applied; ``reverse``: the given labels again.

Nothing disappears without being asked for. An *object* is a connected component of one class of the given label (8 neighbours
in 2D, 26 in 3D). It counts as removed where nothing is left of it, and by an *extra* or *stray* finding, which mean to take it
away, where less than half of it is left. Only those two may remove one, and not the last of its class in a case, nor one of a
class that few cases have. What a flip, shift or swap moves or renames is not removed, but no class may lose its last voxel.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from debride import __version__
from debride.audit.findings.finding import Finding, FindingKind
from debride.audit.findings.record import Label, Numbers, Record, check_belongs, read_proposals, read_record
from debride.audit.repair.decisions import Acceptance, Verdict, judge
from debride.data.copy import copy_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import copy_image, files_of, hash_of, read_label, stem
from debride.files import new_folder, read_text, write_text
from debride.types import IGNORE, Case, DataError, Dataset, Geometry

RECORD = "repairs.jsonl"
"""The file in a repaired data set that says what was done with every finding."""

FOLDER = "repairs"
"""The folder in a repaired data set with ``given/``, the label files that were changed, and ``before/``, the record of the
repairs that its source had seen already."""

REMOVES: frozenset[FindingKind] = frozenset({"extra", "stray"})
MOVES: frozenset[FindingKind] = frozenset({"flip", "shift"})

LEAST_CASES, LEAST_SHARE = 5, 0.02
"""A class that fewer cases have, or a smaller share of them, is rare."""

_ALLOW = "--allow-removal permits it"
_TRUSTED = "its label is trusted; --trusted-too permits it"


@dataclass(frozen=True)
class Outcome:
    """What became of an accepted finding: "applied" and how many voxels changed, or "guarded" or "declined" with why."""

    status: str
    voxels: int
    why: str = ""


def repair(
    dataset: Dataset,
    audit: Path,
    out: Path,
    accept: Acceptance,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes ``dataset`` to the new folder ``out`` with the accepted findings of an audit applied, and returns a summary.

    Format, geometry, splits and label values stay; labels without an applied finding are copied byte for byte. ``out`` also
    gets ``repairs.jsonl``, a line for each finding, and byte copies of the given files of changed labels. Trusted cases change
    only if ``accept`` says so. The summary counts findings by status and, where applied, by kind, changed cases and voxels, and
    the reasons of guards. Raises DataError if the audit is not of this data set or damaged, if an accepted finding's label
    changed since, and if ``out`` has content or lies in the data set or the audit.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root, "the folder of the audit": audit})
    record = read_record(audit)
    verdicts = judge(record, accept)
    trusted = frozenset(case.id for case in dataset.cases if case.trusted and not accept.trusted)
    check_belongs(record, dataset, {case for (case, _), verdict in verdicts.items() if verdict.accepted} - trusted)
    by_case = record.by_case()
    chosen = {
        case: [finding for finding in findings if verdicts[case, finding.number].accepted]
        for case, findings in by_case.items()
        if case not in trusted
    }
    rare = frozenset() if accept.allow_removal else _rare(dataset, accept.rare, chosen.values())
    outcomes: dict[tuple[str, int], Outcome] = {}

    def change(case: Case, label: Label, geometry: Geometry) -> Label:
        if not chosen.get(case.id):
            return label
        numbers, proposed = read_proposals(audit, case.id, by_case[case.id], label.shape, len(record.classes))
        repaired, told = apply_findings(label, numbers, proposed, chosen[case.id], record.classes, rare, accept.allow_removal)
        outcomes.update({(case.id, number): outcome for number, outcome in told.items()})
        return repaired if any(outcome.status == "applied" for outcome in told.values()) else label

    def finish(folder: Path) -> None:
        files = _keep_given(dataset, folder, {case for (case, _), told in outcomes.items() if told.status == "applied"})
        lines = [_line(finding, record, verdicts, outcomes, trusted, files) for finding in record.findings]
        write_text(folder / RECORD, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        summary.update(_summary(lines))

    summary: dict[str, Any] = {}
    copy_dataset(dataset, out, change, progress, finish)
    return summary


def reverse(
    repaired: Path,
    out: Path,
    *,
    format: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes a repaired data set to the new folder ``out`` with the labels it had before, byte for byte, and counts them.

    The record of earlier repairs, if its source had one, comes back too. ``format`` is that of ``open_dataset``. Raises
    DataError if the folder has no record of a repair, or not all that belongs to it, and if a repaired label, or the copy of a
    given one, changed since the repair.
    """
    dataset = open_dataset(repaired, format=format)
    new_folder(out, apart_from={"the data set": dataset.root})
    given = _given(dataset)

    def finish(folder: Path) -> None:
        _carry(dataset.root / FOLDER / "before", folder)

    copy_dataset(dataset, out, lambda case, label, geometry: given.get(case.id, label), progress, finish)
    return {"cases": len(given)}


def apply_findings(
    label: Label,
    numbers: Numbers,
    proposed: Label,
    findings: Iterable[Finding],
    classes: Sequence[str],
    rare: frozenset[int] = frozenset(),
    allow_removal: bool = False,
) -> tuple[Label, dict[int, Outcome]]:
    """A copy of a label (*S) with the findings applied that no guard holds back, and the outcome of each by its number.

    ``numbers`` and ``proposed`` (*S) are the case's maps of proposals. The surest finding comes first, so that of several that
    would together remove an object the surest ones are applied. ``IGNORE`` keeps its place. ``rare`` are ids of rare classes.
    """
    result = label.copy()
    guard = None if allow_removal else _Guard(label, classes, rare)
    outcomes: dict[int, Outcome] = {}
    for finding in sorted(findings, key=lambda finding: (-finding.confidence, finding.number)):
        inside = tuple(slice(*ends) for ends in finding.box)
        old, new = result[inside], proposed[inside]
        changed = (numbers[inside] == finding.number) & (old != IGNORE) & (old != new)
        count = int(np.count_nonzero(changed))
        why = guard.objection(finding.kind, result, inside, changed, new) if guard and count else ""
        if count and not why:
            old[changed] = new[changed]
        if why:
            outcome = Outcome("guarded", 0, why)
        else:
            outcome = Outcome("applied", count) if count else Outcome("declined", 0, "it would change nothing")
        outcomes[finding.number] = outcome
    return result, outcomes


class _Guard:
    """Keeps account of what is left of a label's objects and classes while findings are applied one by one."""

    def __init__(self, label: Label, classes: Sequence[str], rare: frozenset[int]) -> None:
        self.classes, self.rare = classes, rare
        self.regions, self.of_region, self.sizes = _objects(label)
        self.left = self.sizes.copy()
        self.gone = np.zeros(len(self.sizes), bool)
        self.gone[0] = True
        self.totals = _counts(label)

    def objection(
        self, kind: FindingKind, label: Label, inside: tuple[slice, ...], changed: npt.NDArray[np.bool_], new: Label
    ) -> str:
        """Why a change of the label as it stands may not be made; empty if it may, and then it is booked."""
        before, after = label[inside][changed], new[changed]
        totals = self.totals - _histogram(before) + _histogram(after)
        vanished = np.flatnonzero((self.totals[1:IGNORE] > 0) & (totals[1:IGNORE] == 0)) + 1
        if len(vanished):
            return f"the class {self.classes[int(vanished[0])]} would vanish from the case; {_ALLOW}"
        lost = np.bincount(self.regions[inside][changed], minlength=len(self.sizes))
        left = self.left - lost
        gone = self._removed(kind, lost, left, self.regions[inside][changed], after)
        why = self._moved(kind, label, inside, changed, new) if kind in MOVES or kind == "swap" else ""
        if kind not in MOVES:
            why = why or self._objection_to(kind, gone)
        if why:
            return why
        self.totals, self.left = totals, left
        self.gone |= gone | (left <= 0)
        return ""

    def _removed(
        self,
        kind: FindingKind,
        lost: npt.NDArray[np.intp],
        left: npt.NDArray[np.int64],
        regions: npt.NDArray[Any],
        after: Label,
    ) -> npt.NDArray[np.bool_]:
        """Which objects a change would remove; one that is renamed altogether is not removed."""
        gone = (lost > 0) & ~self.gone & (left <= 0)
        if kind in REMOVES:
            gone |= (lost > 0) & ~self.gone & (2 * left < self.sizes)
        if kind == "swap":
            gone &= np.bincount(regions[after != 0], minlength=len(self.sizes)) == 0
        return gone

    def _objection_to(self, kind: FindingKind, gone: npt.NDArray[np.bool_]) -> str:
        for region in np.flatnonzero(gone):
            value = int(self.of_region[region])
            name = self.classes[value]
            if kind not in REMOVES:
                return f"an object of {name} of {self.sizes[region]} voxels would be removed, which {kind} is not for; {_ALLOW}"
            if value in self.rare:
                return f"an object of {name} would be removed, a class that few cases have; {_ALLOW}"
            if not (~self.gone & ~gone & (self.of_region == value)).any():
                return f"the only object of {name} in the case would be removed; {_ALLOW}"
        return ""

    def _moved(
        self, kind: FindingKind, label: Label, inside: tuple[slice, ...], changed: npt.NDArray[np.bool_], new: Label
    ) -> str:
        """Whether a flip or shift loses an object of any class, or a swap one of a rare class."""
        if kind == "swap" and not self.rare:
            return ""
        moved = label.copy()
        moved[inside][changed] = new[changed]
        before, after = (np.bincount(_objects(one)[1], minlength=IGNORE) for one in (label, moved))
        for value in np.flatnonzero(after[1:] < before[1:]) + 1:
            if kind in MOVES or value in self.rare:
                return f"an object of {self.classes[int(value)]} would be lost in a {kind}; {_ALLOW}"
        return ""


def _objects(label: Label) -> tuple[npt.NDArray[Any], Label, npt.NDArray[np.int64]]:
    """The objects of a label: their numbers from 1 (*S), and by number their class and size, both 0 for number 0."""
    foreground = label.copy()
    foreground[label == IGNORE] = 0
    regions, count = cc3d.connected_components(foreground, connectivity=8 if label.ndim == 2 else 26, return_N=True)
    of_region = np.zeros(count + 1, np.uint8)
    sizes = np.zeros(count + 1, np.int64)
    for plane, values in zip(regions, foreground, strict=True):
        of_region[plane.ravel()] = values.ravel()
        some = np.bincount(plane.ravel())
        sizes[: len(some)] += some
    sizes[0] = 0
    return regions, of_region, sizes


def _counts(label: Label) -> npt.NDArray[np.int64]:
    """The number of voxels of each value 0 to 255, by slices: ``bincount`` needs eight bytes for each voxel it is given."""
    totals = np.zeros(256, np.int64)
    for plane in label:
        totals += _histogram(plane)
    return totals


def _histogram(values: Label) -> npt.NDArray[np.int64]:
    return np.bincount(values.ravel(), minlength=256)


def _rare(dataset: Dataset, least: int | None, chosen: Iterable[list[Finding]]) -> frozenset[int]:
    """The classes that fewer cases have than ``least``. Labels are read until all have enough, and only where it matters."""
    labelled = [case.label for case in dataset.cases if case.label]
    needed = max(LEAST_CASES, ceil(LEAST_SHARE * len(labelled))) if least is None else least
    matters = any(f.kind in REMOVES or f.kind == "swap" for findings in chosen for f in findings)
    having = np.zeros(256, np.int64)
    rare = frozenset(range(1, len(dataset.classes))) if matters and needed else frozenset()
    for path in labelled:
        if not rare:
            break
        having += _counts(read_label(path, dataset)[0]) > 0
        rare = frozenset(value for value in rare if having[value] < needed)
    return rare


def _keep_given(dataset: Dataset, folder: Path, changed: set[str]) -> dict[str, dict[str, str]]:
    """Copies the given labels of the changed cases into a new data set, with the record of earlier repairs; says what became of
    each file: "label" before and after, its "given" copy, and the hashes "before" and "after"."""
    place = folder / FOLDER
    if place.exists() or (folder / RECORD).exists():
        remedy = f"Rename what is named {FOLDER} or {RECORD} there."
        raise DataError(dataset.root, "has a file of a case where the record of repairs goes", remedy)
    _carry(dataset.root, place / "before")
    now = {case.id: case.label for case in open_dataset(folder, format=dataset.format).cases if case.label}
    files = {}
    for case in dataset.cases:
        if case.id in changed and case.label:
            kept = place / "given" / f"{case.id}{case.label.name[len(stem(case.label)) :]}"
            copy_image(case.label, kept)
            files[case.id] = {
                "label": now[case.id].relative_to(folder.resolve()).as_posix(),
                "given_label": kept.relative_to(folder).as_posix(),
                "before": hash_of([kept]),
                "after": hash_of([now[case.id]]),
            }
    return files


def _carry(source: Path, target: Path) -> None:
    """Copies the record of a repair from one folder to another; nothing if there is none."""
    if (source / RECORD).is_file():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / RECORD, target / RECORD)
        if (source / FOLDER).is_dir():
            shutil.copytree(source / FOLDER, target / FOLDER)


def _line(
    finding: Finding,
    record: Record,
    verdicts: Mapping[tuple[str, int], Verdict],
    outcomes: Mapping[tuple[str, int], Outcome],
    trusted: frozenset[str],
    files: Mapping[str, dict[str, str]],
) -> dict[str, Any]:
    """What repairs.jsonl says of a finding."""
    key = finding.case, finding.number
    verdict = verdicts[key]
    outcome = Outcome("declined", 0, verdict.reason)
    if verdict.accepted:
        outcome = Outcome("guarded", 0, _TRUSTED) if finding.case in trusted else outcomes[key]
    return {
        "case": finding.case,
        "number": finding.number,
        "kind": finding.kind,
        "given": finding.given,
        "proposed": finding.proposed,
        "given_class": record.classes[finding.given],
        "proposed_class": record.classes[finding.proposed],
        "box": [list(ends) for ends in finding.box],
        "status": outcome.status,
        "why": outcome.why,
        "voxels": outcome.voxels,
        "reason": f"{finding.kind} with confidence {finding.confidence:.3f}, {verdict.reason}",
        "version": __version__,
        **(files[finding.case] if outcome.status == "applied" else {}),
    }


def _summary(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    applied = [line for line in lines if line["status"] == "applied"]
    return {
        **{status: sum(line["status"] == status for line in lines) for status in ("applied", "declined", "guarded")},
        "cases": len({line["case"] for line in applied}),
        "voxels": sum(line["voxels"] for line in applied),
        "kinds": dict(Counter(line["kind"] for line in applied)),
        "guards": dict(Counter(line["why"] for line in lines if line["status"] == "guarded")),
    }


def _given(dataset: Dataset) -> dict[str, Path]:
    """The copies of the given labels by case, after the files were compared with the record of the repair."""
    root = dataset.root
    if not (root / RECORD).is_file():
        raise DataError(root, f"has no {RECORD}", "Give a data set that `debride repair` wrote.")
    lines: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(read_text(root / RECORD).split("\n"), start=1):
        try:
            line = json.loads(text) if text else {}
            if line.get("status") == "applied":
                case, expected = line["case"], {name: line[name] for name in ("label", "given_label", "before", "after")}
                if lines.setdefault(case, expected) != expected or not _is_kept(root, expected["given_label"]):
                    raise ValueError("its files cannot be these")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            remedy = "Restore this file: without it the repair cannot be reversed."
            raise DataError(f"{root / RECORD}:{number}", f"is no line of a record of repairs ({error})", remedy) from None
    kept_files = {path.relative_to(root).as_posix() for path in (root / FOLDER / "given").glob("*")}
    named = files_of(root / line["given_label"] for line in lines.values())
    unnamed = sorted(kept_files - {path.relative_to(root).as_posix() for path in named})
    if unnamed:
        remedy = "Restore this file: without it the repair cannot be reversed."
        raise DataError(root / RECORD, f"does not name {unnamed[0]}: it is cut off", remedy)
    labels = {case.id: case.label for case in dataset.cases}
    for case, line in lines.items():
        label, kept = labels.get(case), root / line["given_label"]
        if label is None:
            raise DataError(root, f"has no label of {case} any more, which was repaired", "Restore it.")
        if hash_of([label]) != line["after"]:
            remedy = "Take this change back, or go on from this data set without reversing."
            raise DataError(label, "has changed since the repair", remedy)
        if hash_of([kept]) != line["before"]:
            raise DataError(kept, "is not the label that was given", "Restore it from the source data set.")
    return {case: root / line["given_label"] for case, line in lines.items()}


def _is_kept(root: Path, text: str) -> bool:
    """Whether a path names a file directly in the folder of given labels."""
    return Path(text).parent == Path(FOLDER) / "given" and (root / text).resolve().parent == root / FOLDER / "given"
